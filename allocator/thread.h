/* thread.h: the thread's words of thread-local storage, and its exit.

   A thread starts on arena_none, so that its first malloc is the ordinary slow path; that attaches an arena. Exit: a
   pthread key's destructor re-arms itself for the second round, so that other keys' destructors, and C++ ones (which
   run before all keys), still allocate the ordinary way. What comes later borrows an arena for one operation at a
   time. */
#ifndef BRIM_THREAD_H
#define BRIM_THREAD_H

#include "quarantine.h"

/* What the fast paths use: each is the thread's arena, or arena_none when there is none or when every operation must
   take the slow path (see thread_slow). Whose open slabs allocation pops from, and whose slabs release pushes to. */
static _Thread_local struct arena *thread_supply = (struct arena *)&arena_none;
static _Thread_local struct arena *thread_arena = (struct arena *)&arena_none;
/* The same for the quick ways of the hardened mode: the thread's arena where that mode alone sends all operations to the
   slow paths, else arena_none. */
static _Thread_local struct arena *thread_hardened = (struct arena *)&arena_none;
/* The thread's arena, or NULL. */
static _Thread_local struct arena *thread_home;
/* The heap that allocation goes to in place of the arena (heap.h), or NULL. Releases are as always. */
static _Thread_local struct brim_heap *thread_heap;

/* What slow paths use where sampling alone sends allocation there: what thread_supply would be, else arena_none; how
   many small allocations it is to the thread's next sample: at 0 it is one's turn, below (it goes on counting) that
   has yet to be drawn. */
static _Thread_local struct {
    struct arena *supply;
    uint32_t left; /* as an int32_t; may wrap */
} thread_sample = {.supply = (struct arena *)&arena_none};

/* Why every allocation of every thread takes the slow path, and every release but for those reasons which
   SLOW_ALLOCATION names: bits. Changed by thread_slow. */
enum { SLOW_PERTURB = 1 << 0, SLOW_HARDENED = 1 << 1, SLOW_SAMPLE = 1 << 2, SLOW_ALLOCATION = SLOW_SAMPLE };
static _Atomic uint32_t slow_reasons = OPTION_DEFAULT(hardened) ? SLOW_HARDENED : 0;
/* Sets the two words by what holds for this thread now. */
static void thread_choose_paths(void);
/* Sets or clears a reason: for the calling thread now, for others by an order. */
static void thread_slow(uint32_t reason, bool slow);

/* What all threads must do, each when it next leaves the fast path: look at slow_reasons; give back what its arena's slabs
   hold, if it has not since the last ORDER_TRIM. The number of an order says which of the two it is. */
enum { ORDER_LOOK = 1, ORDER_TRIM = 1 << 16 };
static _Atomic uint32_t thread_orders;
INLINE bool thread_has_orders(const struct arena *arena) { return arena->orders_seen != load_relaxed(thread_orders); }
static void thread_order(uint32_t order);
/* malloc_trim's part for slabs: the calling thread's now, the others' by an order. True if anything went back. */
static bool thread_trim(void);

/* Process-wide set-up, on the way to the first block of any kind: page size, link key. No system call. */
static void process_init_once(void);
/* The arena to work with now; attaches one if there is none. NULL if there is no memory. Give it back with
   thread_leave. */
static struct arena *thread_enter(void);
static void thread_leave(struct arena *arena);
/* Prepares the exit hook. Called once by the library's constructor; threads that attached before are hooked later. */
static void thread_init(void);

#endif
