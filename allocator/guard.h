/* guard.h: sampled blocks, each on a page of its own with a guard page on either side.

   Of every so many allocations one goes to a slot of this pool, so that what a program does wrong to it faults where it
   is done: past its end or before its start, and after it was freed, until the slot's turn comes again. The report of
   the fault (guard_report.c) has the stacks of its allocation, its release and the access.

     base   + page   + 2 pages
      | guard | slot 0 | guard | slot 1 | guard | ... | guard |       slots * 2 + 1 pages

   A block lies at the start of its page, or as near to the end as its alignment allows. The rest of the page is filled
   with a byte of this process's choice, which release checks.

   States of a slot: free -> opening -> live -> closing -> freed -> opening ... The state, with its holder, is one word,
   the truth; release takes a block by compare-and-swap, so that of two that free it one is told. The queue of the
   slots that may be taken, longest freed first, is a cache of it: a forked child that finds its lock broken makes it
   anew. Who opens or closes a slot is its holder, and alone touches the rest of it.

   Closed pages, guards included, are marked by MADV_GUARD_INSTALL where the kernel has it (Linux 6.13): the pool is then
   one mapping for the kernel. Else they are PROT_NONE, which costs two mappings for each slot that is open. A fork
   copies either.

   Which block. A thread counts its small allocations down from a random number whose mean is the interval; sizes above a
   page are not sampled. Of a thread that allocates faster than a block in GUARD_PACE_NS, time decides: the next sample
   is not taken before interval * GUARD_PACE_NS have passed since the last, so that the price of sampling is bounded for
   it, too (GUARD_PACED is the least interval for which that is done).

   Invariants (guard_valid): every slot is free, live or freed, or has a holder; the queue holds each that was taken and is
   free or freed once, and no other. */
#ifndef BRIM_GUARD_H
#define BRIM_GUARD_H

#include "options.h"
#include "os.h"
#include "stack.h"
#include "sync.h"
#include "thread.h"

enum guard_state { SLOT_FREE, SLOT_OPENING, SLOT_LIVE, SLOT_CLOSING, SLOT_FREED };

enum { GUARD_PACE_NS = 5000, GUARD_PACED = 100 };

struct guard_slot {
    _Atomic uint64_t word;          /* enum guard_state, lock_self of the holder << 3; release store after the rest */
    uint32_t offset, size;          /* of the block in its page; the size that was asked for */
    int32_t allocated_by, freed_by; /* threads */
    bool used;                      /* ever; what follows is set then */
    bool marked, sealed;            /* closed by a marker; by mprotect */
    bool zero;                      /* its page is known to be zero */
    struct stack allocation, release;
};

static struct {
    _Atomic size_t bytes; /* 0: there is no pool. Release store after the next six, which are then constant */
    uintptr_t base;
    size_t slot_count;
    struct guard_slot *slots;
    uint32_t *queue;      /* slot_count places */
    bool marks;           /* closed pages have markers */
    unsigned char filler; /* what surrounds a block in its page; not 0 */
    _Atomic uint32_t interval;   /* one block in so many; 0: none. Stale is harmless */
    _Atomic size_t slots_wanted; /* the option, for when the pool is made */
    _Atomic size_t taken;        /* blocks since the start. Stale is harmless */
    struct lock lock;            /* RANK_GUARD: all below, and the making of the pool */
    size_t fresh;                /* slots from here on were never taken; they go first */
    size_t queue_first, queue_count;
    size_t open_peak; /* slots that were not to be had at a time */
} guard = {.lock = {.rank = RANK_GUARD}, .slots_wanted = OPTION_DEFAULT(sample_guard_slots)};

/* Samples one block in `interval` from now on, or none (0). Makes the pool and takes SIGSEGV when it is first asked for;
   without memory for it, nothing is sampled, and a line says so. */
RARE void guard_sample(uint32_t interval);

/* Is the next request of this thread to be sampled? Counts it. For allocations of at most CLASS_MAX. */
static bool guard_is_due(size_t size);
/* A guarded block. `*zero`: its bytes are zero. NULL if all slots are live, or the block fits none. `caller`: whose
   stack it is. */
static void *guard_allocate(size_t alignment, size_t size, const void *caller, bool *zero);
/* Ends the block that begins at `p`, if it is live. False if it was not. Fatal if its surroundings were written to. */
static bool guard_release(void *p, const void *caller);

INLINE bool guard_contains(const void *p)
{
    size_t bytes = load_acquire(guard.bytes);
    return unlikely((uintptr_t)p - guard.base < bytes);
}

/* What a pointer into the pool is. */
enum guard_verdict { GUARD_LIVE, GUARD_FREED, GUARD_INTERIOR, GUARD_NOTHING };
static enum guard_verdict guard_look_up(const void *p);
/* As asked for. `p` is a block of the pool. */
static size_t guard_size(const void *p);

/* Says "brim: BUG: POINTER" and whatever is known of the block at `p`, which is in the pool, and aborts. */
_Noreturn RARE void guard_fatal(const char *bug, const void *p, const void *caller);
/* Takes SIGSEGV: a fault in the pool is reported, and then left to what the program had installed before, or to the
   kernel; any other goes there at once. */
RARE void guard_take_faults(void);
RARE void guard_report_after_fork(void);

struct guard_totals {
    size_t slots, live, open_peak, taken;
    size_t metadata_bytes;
};
RARE struct guard_totals guard_totals(void);
RARE void guard_after_fork(void);
VALIDITY bool guard_valid(void);

#endif
