/* os.c: see os.h. */
#include "os.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* From AT_RANDOM. */
static uint64_t os_seed(void)
{
    uint64_t seed[2] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9};
    const void *random_bytes = (const void *)getauxval(AT_RANDOM);
    if (random_bytes)
        memcpy(seed, random_bytes, sizeof seed);
    /* libc makes its stack guard of the same bytes: a multiply-xorshift keeps the two apart. */
    uint64_t mixed = (seed[0] ^ (seed[1] >> 32) ^ (uintptr_t)&os_page_size) * 0x94d049bb133111eb;
    return (mixed ^ (mixed >> 31)) * 0xbf58476d1ce4e5b9;
}

static uint64_t os_init(void)
{
    os_page_size = getauxval(AT_PAGESZ);
    if (os_page_size == 0)
        os_page_size = 4 * KIB;
    os_page_shift = (unsigned)__builtin_ctzll(os_page_size);
    return os_seed();
}

static uintptr_t os_break_move(intptr_t bytes)
{
    int saved_errno = errno;
    uintptr_t old_break = (uintptr_t)sbrk(bytes);
    /* Where a sandbox fails the system call, libc takes the error number for the new break, and reports success. */
    uintptr_t new_break = bytes != 0 ? (uintptr_t)sbrk(0) : old_break;
    errno = saved_errno;
    enum { ERRNO_MAX = 4095 };
    return max_size(old_break, new_break) >= -(uintptr_t)ERRNO_MAX ? 0 : old_break;
}

static uintptr_t os_break(void) { return os_break_move(0); }

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
static bool os_single_threaded(void) { return __libc_single_threaded; }
#else
static bool os_single_threaded(void) { return false; }
#endif

static bool page_is_mapped(uintptr_t address)
{
    unsigned char resident;
    return mincore((void *)address, os_page_size, &resident) == 0 || errno != ENOMEM;
}

static bool os_break_after_fork(bool moving)
{
    int saved_errno = errno;
    long kernels = syscall(SYS_brk, 0); /* only read here: libc's brk takes note of what it sets */
    uintptr_t now = (uintptr_t)kernels;
    bool good = kernels != -1 && now == os_break();
    if (kernels != -1 && moving) {
        uintptr_t top = align_up(now, os_page_size);
        good = page_is_mapped(top - os_page_size) && !page_is_mapped(top) && brk((void *)now) == 0;
    }
    errno = saved_errno;
    return good;
}

static uintptr_t os_mmap(size_t size, int protection, int flags)
{
    int saved_errno = errno;
    void *p = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    errno = saved_errno;
    return p == MAP_FAILED ? 0 : (uintptr_t)p;
}

/* Not MAP_NORESERVE: what is opened later would escape the kernel's accounting, and an impossible request succeed. */
static uintptr_t os_reserve(size_t size) { return os_mmap(size, PROT_NONE, 0); }

static uintptr_t os_map(size_t size) { return os_mmap(size, PROT_READ | PROT_WRITE, 0); }

static bool os_commit(uintptr_t address, size_t size)
{
    int saved_errno = errno;
    bool done = mprotect((void *)address, size, PROT_READ | PROT_WRITE) == 0;
    errno = saved_errno;
    return done;
}

static bool os_unmap(uintptr_t address, size_t size)
{
    int saved_errno = errno;
    bool done = munmap((void *)address, size) == 0;
    errno = saved_errno;
    return done;
}

static uintptr_t os_remap(uintptr_t address, size_t old_size, size_t new_size)
{
    int saved_errno = errno;
    void *p = mremap((void *)address, old_size, new_size, MREMAP_MAYMOVE);
    errno = saved_errno;
    return p == MAP_FAILED ? 0 : (uintptr_t)p;
}

static void os_populate(uintptr_t address, size_t size)
{
    enum { ADVICE_POPULATE_WRITE = 23 }; /* not in the headers of older libcs */
    static _Atomic bool refused;
    if (load_relaxed(refused))
        return;
    int saved_errno = errno;
    if (madvise((void *)address, size, ADVICE_POPULATE_WRITE) != 0)
        store_relaxed(refused, errno == EINVAL || errno == EPERM || errno == ENOSYS);
    errno = saved_errno;
}

static bool os_discard(uintptr_t address, size_t size)
{
    int saved_errno = errno;
    bool done = madvise((void *)address, size, MADV_DONTNEED) == 0;
    errno = saved_errno;
    return done;
}

/* Not in the headers of older libcs. */
enum { ADVICE_GUARD_INSTALL = 102, ADVICE_GUARD_REMOVE = 103 };

static bool os_advise(uintptr_t address, size_t size, int advice)
{
    int saved_errno = errno;
    bool done;
    while (!(done = madvise((void *)address, size, advice) == 0) && errno == EINTR)
        ; /* markers may be installed in part */
    errno = saved_errno;
    return done;
}

static bool os_guard_install(uintptr_t address, size_t size)
{
    return os_advise(address, size, ADVICE_GUARD_INSTALL);
}

static bool os_guard_remove(uintptr_t address, size_t size)
{
    return os_advise(address, size, ADVICE_GUARD_REMOVE);
}

static bool os_seal(uintptr_t address, size_t size)
{
    int saved_errno = errno;
    bool done = mprotect((void *)address, size, PROT_NONE) == 0;
    errno = saved_errno;
    return done;
}

/* How os_guard does it; the first one finds out. */
enum guard_method { GUARD_UNKNOWN, GUARD_MARKERS, GUARD_PROTECTION };
static _Atomic int guard_method;

/* Each protected guard can split a mapping in two; a process has 65,530 (vm.max_map_count) unless told otherwise. */
enum { GUARDS_PROTECTED_MAX = 16384 };
static _Atomic int guards_protected;

static bool os_guard(uintptr_t address, size_t size)
{
    if (load_relaxed(guard_method) != GUARD_PROTECTION) {
        bool done = os_guard_install(address, size);
        if (load_relaxed(guard_method) == GUARD_UNKNOWN)
            store_relaxed(guard_method, done ? GUARD_MARKERS : GUARD_PROTECTION);
        if (done || load_relaxed(guard_method) == GUARD_MARKERS)
            return done;
    }
    if (load_relaxed(guards_protected) >= GUARDS_PROTECTED_MAX || !os_discard(address, size) || !os_seal(address, size))
        return false;
    atomic_fetch_add_explicit(&guards_protected, 1, memory_order_relaxed);
    return true;
}

static bool os_unguard(uintptr_t address, size_t size)
{
    if (load_relaxed(guard_method) == GUARD_MARKERS)
        return os_guard_remove(address, size);
    bool done = os_commit(address, size);
    if (done)
        atomic_fetch_sub_explicit(&guards_protected, 1, memory_order_relaxed);
    return done;
}

static int32_t os_thread(void) { return (int32_t)syscall(SYS_gettid); }

static uint64_t os_random(void)
{
    int saved_errno = errno;
    uint64_t bits = 0;
    /* By the bare system call, as libc's is a cancellation point. Too early in the boot, or forbidden: as os_init. */
    if (syscall(SYS_getrandom, &bits, sizeof bits, 0) != (long)sizeof bits)
        bits = os_seed() ^ (os_now_ms() + (uintptr_t)&bits) * 0x94d049bb133111eb;
    errno = saved_errno;
    return bits;
}

static void os_yield(void) { syscall(SYS_sched_yield); }

static size_t os_address_space_limit(void)
{
    int saved_errno = errno;
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    errno = saved_errno;
    return limited ? (size_t)limit.rlim_cur : SIZE_MAX;
}

static uint64_t os_now_ms(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t os_now_ns(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
