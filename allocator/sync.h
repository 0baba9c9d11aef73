/* sync.h: the lock, its ranks.

   A lock is a futex word and the identity of its holder. No lock is held while user code runs, across fork's prepare
   handlers (there are none), or across a system call that can block for long, the growth of the break excepted.
   What a lock protects is a cache of single-word truths in the heap map, so that a forked child can take over a lock
   whose holder does not exist there: see fork.c. */
#ifndef BRIM_SYNC_H
#define BRIM_SYNC_H

#include "base.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Locks are taken in this order and no other. */
enum lock_rank {
    RANK_HEAPS,   /* handles of heaps, and the shards of their threads */
    RANK_ARENAS,  /* registry of arenas, stack of idle ones */
    RANK_ORPHANS, /* slabs that nobody owns and that have free blocks */
    RANK_REGIONS, /* registry of regions */
    RANK_BREAK,   /* growth and trimming of a region; held across sbrk and mprotect */
    RANK_REGION,  /* a region's run bins and purge queue */
    RANK_MAPPING, /* table of mappings */
    RANK_GUARD,   /* queue of the slots of guarded blocks */
    RANK_REPORT,  /* the report on a guarded block; held while it is written */
    RANK_COUNT
};

struct lock {
    _Atomic uint32_t word;        /* 0 free, 1 held, 2 held and somebody may wait */
    _Atomic(const void *) holder; /* errno's address in the holding thread: unique, and costs no system call */
    uint8_t rank;
};

#ifndef NDEBUG
static _Thread_local unsigned locks_held; /* bit per rank; asserts the order in debug builds */
#endif

INLINE const void *lock_self(void) { return &errno; }

COLD void lock_wait(struct lock *lock)
{
    int saved_errno = errno;
    for (int spin = 0; spin < 100; spin++) {
        uint32_t free_word = 0;
        if (load_relaxed(lock->word) == 0 &&
            atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                    memory_order_relaxed))
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    errno = saved_errno;
}

static inline void lock_acquired(struct lock *lock)
{
    store_relaxed(lock->holder, lock_self());
    atomic_signal_fence(memory_order_seq_cst); /* a fork in a signal handler finds what is half done under our name */
#ifndef NDEBUG
    assert(locks_held < 1u << lock->rank || !"lock order");
    locks_held |= 1u << lock->rank;
#endif
}

static inline void lock_acquire(struct lock *lock)
{
    uint32_t free_word = 0;
    if (unlikely(!atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                          memory_order_relaxed)))
        lock_wait(lock);
    lock_acquired(lock);
}

static inline bool lock_try(struct lock *lock)
{
    uint32_t free_word = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    lock_acquired(lock);
    return true;
}

static inline void lock_release(struct lock *lock)
{
    atomic_signal_fence(memory_order_seq_cst);
    store_relaxed(lock->holder, NULL);
#ifndef NDEBUG
    locks_held &= ~(1u << lock->rank);
#endif
    if (unlikely(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)) {
        int saved_errno = errno;
        syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        errno = saved_errno;
    }
}

INLINE bool lock_is_mine(const struct lock *lock)
{
    return load_relaxed(lock->word) != 0 && load_relaxed(lock->holder) == lock_self();
}

/* In a forked child: frees a lock whose holder does not exist here. True if it was held by such a thread, so that
   what it protects must be rebuilt. A lock that the forking thread itself holds (fork in a signal handler that
   interrupted us) is left to it. */
static inline bool lock_break_in_child(struct lock *lock)
{
    if (load_relaxed(lock->word) == 0 || lock_is_mine(lock))
        return false;
    store_relaxed(lock->holder, NULL);
    store_relaxed(lock->word, 0);
    return true;
}

#endif
