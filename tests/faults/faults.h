/* faults.h: the allocator on a kernel that refuses. The room os is built here with its system calls behind doors
   that the test can shut; its source, and the library's, is the same as ever. All other rooms follow, in their order.

   A plan says which calls fail: of which kinds, from which to which, counted over those kinds, or at random. A process
   and its children count together. Include after unit.h. */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/unwind.c"
#include "allocator/stack.c"

#include "allocator/options.c"

/* ---- doors ---- */

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum fault_kind {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MREMAP,
    FAULT_MPROTECT,
    FAULT_MADVISE,
    FAULT_SBRK,
    FAULT_BRK,    /* after a fork: what the kernel holds for the break is asked, and libc told */
    FAULT_MINCORE,
    FAULT_LIMIT,  /* getrlimit */
    FAULT_SETSPECIFIC, /* no call of os.c, but memory, too: libc allocates the room for a thread's keys */
    FAULT_KINDS
};

struct fault_plan {
    unsigned kinds;     /* bit per kind */
    size_t first, last; /* of the calls of these kinds, from 0; first > last: none */
    size_t one_in;      /* of them, by chance; 0 or 1: all */
    uint64_t seed;
};

#define FAULT_ALL_KINDS ((1u << FAULT_KINDS) - 1)
static const struct fault_plan no_faults = {.first = 1, .last = 0};

static struct fault_plan fault_plan = {.first = 1, .last = 0};
static _Thread_local size_t thread_faults; /* calls of this thread that failed */

/* In memory that a process shares with its children. */
static struct fault_counts {
    atomic_size_t calls[FAULT_KINDS];
    atomic_size_t planned; /* calls of the kinds in the plan */
    atomic_size_t faults;  /* calls that failed */
} *fault_counts;

static void fault_counts_begin(void)
{
    fault_counts = mmap(NULL, sizeof *fault_counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(fault_counts != MAP_FAILED);
}

/* Address space that was mapped and is not unmapped; of it, what an unmapping that failed has left behind. */
static atomic_size_t mapped_bytes, lost_bytes;

static bool fault_due(enum fault_kind kind, int error)
{
    fault_counts->calls[kind]++;
    if (!(fault_plan.kinds >> kind & 1))
        return false;
    size_t number = fault_counts->planned++;
    if (number < fault_plan.first || number > fault_plan.last)
        return false;
    struct random dice = {fault_plan.seed + number};
    if (fault_plan.one_in > 1 && !random_one_in(&dice, fault_plan.one_in))
        return false;
    fault_counts->faults++;
    thread_faults++;
    errno = error;
    return true;
}

static void *door_mmap(size_t size, int protection, int flags)
{
    if (fault_due(FAULT_MMAP, ENOMEM))
        return MAP_FAILED;
    void *p = mmap(NULL, size, protection, flags, -1, 0);
    mapped_bytes += p != MAP_FAILED ? size : 0;
    return p;
}

static int door_munmap(void *p, size_t size)
{
    if (fault_due(FAULT_MUNMAP, ENOMEM)) {
        lost_bytes += size;
        return -1;
    }
    check(munmap(p, size) == 0);
    mapped_bytes -= size;
    return 0;
}

static void *door_mremap(void *p, size_t old_size, size_t size, int flags)
{
    if (fault_due(FAULT_MREMAP, ENOMEM))
        return MAP_FAILED;
    p = mremap(p, old_size, size, flags);
    mapped_bytes += p != MAP_FAILED ? size - old_size : 0;
    return p;
}

static int door_mprotect(void *p, size_t size, int protection)
{
    return fault_due(FAULT_MPROTECT, ENOMEM) ? -1 : mprotect(p, size, protection);
}

static int door_madvise(void *p, size_t size, int advice)
{
    return fault_due(FAULT_MADVISE, EINVAL) ? -1 : madvise(p, size, advice);
}

/* sbrk(0) asks libc, not the kernel. */
static void *door_sbrk(intptr_t bytes)
{
    return bytes != 0 && fault_due(FAULT_SBRK, ENOMEM) ? (void *)-1 : sbrk(bytes);
}

static int door_brk(void *end) { return fault_due(FAULT_BRK, ENOMEM) ? -1 : brk(end); }

static long door_syscall(long number)
{
    return number == SYS_brk && fault_due(FAULT_BRK, EPERM) ? -1 : syscall(number, 0);
}

static int door_mincore(void *p, size_t size, unsigned char *resident)
{
    return fault_due(FAULT_MINCORE, EAGAIN) ? -1 : mincore(p, size, resident);
}

static int door_getrlimit(int resource, struct rlimit *limit)
{
    return fault_due(FAULT_LIMIT, EPERM) ? -1 : getrlimit(resource, limit);
}

static int door_setspecific(pthread_key_t key, const void *value)
{
    return fault_due(FAULT_SETSPECIFIC, ENOMEM) ? ENOMEM : pthread_setspecific(key, value);
}

#define mmap(address, size, protection, flags, file, offset)                                                           \
    (check((address) == NULL && (file) == -1 && (offset) == 0), door_mmap(size, protection, flags))
#define munmap door_munmap
#define mremap door_mremap
#define mprotect door_mprotect
#define madvise door_madvise
#define sbrk door_sbrk
#define brk door_brk
#define syscall(number, ...) door_syscall(number) /* what is asked has no arguments but 0 */
#define mincore door_mincore
#define getrlimit door_getrlimit
#include "allocator/os.c"
#undef mmap
#undef munmap
#undef mremap
#undef mprotect
#undef madvise
#undef sbrk
#undef brk
#undef syscall
#undef mincore
#undef getrlimit

#include "allocator/os_heap.c" /* no doors: no heap is made here */

/* ---- the rooms above ---- */

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/slab.c"
#include "allocator/spare.c"

#include "allocator/medium.c"
#include "allocator/mapping.c"

#include "allocator/arena.c"
#include "allocator/arena_registry.c"

#include "allocator/quarantine.c"
#define pthread_setspecific door_setspecific
#include "allocator/thread.c"
#undef pthread_setspecific

#include "allocator/guard.c"
#include "allocator/guard_report.c"

#include "allocator/foreign.c"

#include "allocator/hardened.c"

#include "allocator/heap_map.c"
#include "allocator/heap_slab.c"

#include "allocator/heap_recover.c"

#include "allocator/heap_shard.c"

#include "allocator/heap_check.c"

#include "allocator/heap_open.c"

#include "allocator/heap.c"

#include "allocator/alloc.c"

#include "allocator/fork.c"

#endif
