/* thread.c: see thread.h. */
#include "thread.h"

#include <limits.h>
#include <pthread.h>

static void process_init_once(void)
{
    /* No lock: the second thread comes after the first block, as pthread_create allocates, or after thread_init (where
       pthread_create has another malloc to allocate from). */
    if (unlikely(process_key.encode == 0)) {
        link_key_init(&process_key, os_init());
        if (load_relaxed(hardened_features) != 0)
            hardening_init();
    }
}

static void thread_choose_paths(void)
{
    struct arena *none = (struct arena *)&arena_none, *home = thread_home ? thread_home : none;
    struct arena *supply = thread_heap ? none : home;
    uint32_t reasons = load_relaxed(slow_reasons);
    thread_supply = reasons == 0 ? supply : none;
    thread_arena = (reasons & ~(uint32_t)SLOW_ALLOCATION) == 0 ? home : none;
    thread_sample.supply = reasons == SLOW_SAMPLE ? supply : none;
    thread_hardened = reasons == SLOW_HARDENED ? supply : none;
}

static pthread_key_t exit_key;
static _Atomic bool exit_key_ready;
static _Thread_local bool exit_hooked;       /* exit_key has a value in this thread */
static _Thread_local unsigned char exit_round; /* destructor rounds that have come by */

/* The key's destructor lets go when it comes by the second time: after the first round of all other keys', and early
   enough for a thread whose first block is allocated by a destructor. */
enum { EXIT_ROUNDS = 2 };
static_assert(EXIT_ROUNDS < PTHREAD_DESTRUCTOR_ITERATIONS, "the last round comes after ours");

static void thread_exit(void *value)
{
    (void)value;
    if (++exit_round < EXIT_ROUNDS && pthread_setspecific(exit_key, &exit_key) == 0)
        return;
    struct arena *arena = thread_home;
    thread_supply = thread_arena = thread_sample.supply = thread_hardened = (struct arena *)&arena_none;
    thread_home = NULL;
    if (arena) {
        quarantine_flush(arena);
        arena_retire(arena);
    }
}

/* False if there is no memory for it (libc allocates the room for a thread's keys). */
static bool thread_hook_exit(void)
{
    if (exit_hooked || !load_acquire(exit_key_ready))
        return true;
    exit_hooked = true; /* first: setspecific may allocate */
    int saved_errno = errno;
    exit_hooked = pthread_setspecific(exit_key, &exit_key) == 0;
    errno = saved_errno;
    return exit_hooked;
}

static void thread_init(void)
{
    process_init_once();
    if (pthread_key_create(&exit_key, thread_exit) == 0)
        store_release(exit_key_ready, true);
    if (thread_home)
        thread_hook_exit();
}

COLD struct arena *thread_attach(void)
{
    process_init_once();
    struct arena *arena = arena_obtain();
    if (!arena || exit_round >= EXIT_ROUNDS)
        return arena; /* borrowed, see thread_leave */
    thread_home = arena;
    atomic_signal_fence(memory_order_seq_cst);
    arena_in_hand = NULL;
    thread_choose_paths();
    if (unlikely(!thread_hook_exit())) { /* its exit would not be noticed: the arena is only borrowed, too */
        arena_in_hand = arena;
        atomic_signal_fence(memory_order_seq_cst);
        thread_home = NULL;
        thread_choose_paths();
    }
    return arena;
}

static void thread_order(uint32_t order)
{
    atomic_fetch_add_explicit(&thread_orders, order, memory_order_release);
}

static void thread_slow(uint32_t reason, bool slow)
{
    if (slow)
        atomic_fetch_or_explicit(&slow_reasons, reason, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&slow_reasons, ~reason, memory_order_relaxed);
    thread_order(ORDER_LOOK);
    thread_choose_paths();
}

COLD void thread_attend(struct arena *arena)
{
    thread_hook_exit();
    uint32_t orders = load_acquire(thread_orders), unseen = orders ^ arena->orders_seen;
    arena->orders_seen = orders;
    thread_choose_paths();
    medium_renew(&arena->medium);
    if (unseen >= ORDER_TRIM)
        arena_trim(arena);
}

static inline struct arena *thread_enter(void)
{
    struct arena *arena = thread_home;
    if (unlikely(!arena))
        return thread_attach();
    if (unlikely(!exit_hooked || thread_has_orders(arena)))
        thread_attend(arena);
    return arena;
}

static inline void thread_leave(struct arena *arena)
{
    if (unlikely(arena != thread_home)) {
        quarantine_flush(arena);
        arena_retire(arena);
        arena_in_hand = NULL;
    }
}

static bool thread_trim(void)
{
    struct arena *arena = thread_enter();
    if (!arena)
        return false;
    thread_order(ORDER_TRIM);
    arena->orders_seen += ORDER_TRIM;
    bool any = arena_trim(arena);
    arenas_flush_medium(true);
    any |= arena_purge_orphans(arena, SIZE_MAX) != 0;
    thread_leave(arena);
    return any;
}
