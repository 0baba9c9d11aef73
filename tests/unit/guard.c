/* guard.c: sampled blocks: where they lie, what closes their pages, whose turn it is, what becomes of slots that threads
   had in hand at a fork, and what is said about misuse. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/unwind.c"
#include "allocator/stack.c"

#include "allocator/options.c"
#include "allocator/os.c"

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
#include "allocator/thread.c"

#include "allocator/guard.c"
#include "allocator/guard_report.c"

#include "seccomp.h"

static struct random dice;

static void guard_begin(void)
{
    process_init_once();
    thread_init();
    dice = random_begin();
}

TestSuite(guard, .init = guard_begin);

static void begin_with(size_t slots)
{
    store_relaxed(guard.slots_wanted, slots);
    guard_sample(1);
    check(guard.slot_count == slots && guard_valid());
}

static bool faults(uintptr_t address, bool writes)
{
    struct child child = child_begin();
    if (child.process == 0) {
        volatile char *at = (volatile char *)address;
        if (writes)
            *at = 1;
        else
            *at;
        _exit(0);
    }
    char output[4096];
    int end = child_end(&child, output, sizeof output);
    check(end == 0 || end == -SIGSEGV);
    return end != 0;
}

static unsigned char *take(size_t alignment, size_t size)
{
    bool zero;
    unsigned char *p = guard_allocate(alignment, size, __builtin_return_address(0), &zero);
    if (!p)
        return NULL;
    check((uintptr_t)p % max_size(alignment, BLOCK_ALIGNMENT) == 0 && guard_contains(p));
    check(guard_look_up(p) == GUARD_LIVE && guard_size(p) == size);
    for (size_t i = 0; zero && i < size; i++)
        check(p[i] == 0);
    return p;
}

static void drop(unsigned char *p)
{
    check(guard_release(p, __builtin_return_address(0)));
    check(guard_look_up(p) == GUARD_FREED && !guard_release(p, NULL));
}

/* ---- blocks ---- */

Test(guard, fits_its_page_at_either_end)
{
    begin_with(4);
    size_t page = os_page_size, at_start = 0, at_end = 0;
    for (int round = 0; round < 400; round++) {
        size_t alignment = (size_t)1 << random_below(&dice, 13), size = random_below(&dice, page + 1);
        if (alignment > page)
            continue;
        unsigned char *p = take(alignment, size);
        size_t offset = (uintptr_t)p % page, slack = page - offset - max_size(size, 1);
        check(offset == 0 || slack < max_size(alignment, BLOCK_ALIGNMENT));
        at_start += offset == 0 && slack >= max_size(alignment, BLOCK_ALIGNMENT);
        at_end += offset != 0;
        memset(p, (int)round, size);
        drop(p);
    }
    check(at_start > 50 && at_end > 50 && guard_valid());
    bool zero;
    check(!guard_allocate(1, page + 1, NULL, &zero) && !guard_allocate(2 * page, 1, NULL, &zero));
    check(guard_valid());
}

/* The pages around a live block, and its own when it is freed, cannot be used; those of others can. */
static void expect_guards(void)
{
    unsigned char *first = take(16, 100), *second = take(16, 100);
    for (int i = 0; i < 2; i++) {
        uintptr_t page = align_down((uintptr_t)(i == 0 ? first : second), os_page_size);
        check(faults(page - 1, true) && faults(page - 1, false));
        check(faults(page + os_page_size, true) && faults(page + os_page_size, false));
        check(!faults(page, true) && !faults(page + os_page_size - 1, true));
    }
    drop(first);
    check(faults((uintptr_t)first, true) && faults((uintptr_t)first, false) && !faults((uintptr_t)second, true));
    drop(second);
    check(faults((uintptr_t)second, false) && guard_valid());
}

Test(guard, closes_pages)
{
    begin_with(3);
    for (int i = 0; i < 4; i++)
        expect_guards();
}

/* Where the kernel has no markers. */
Test(guard, closes_pages_by_protection)
{
    require_seccomp();
    store_relaxed(guard.slots_wanted, 3);
    check(seccomp_refuse(SYS_madvise, EINVAL));
    guard_sample(1);
    check(!guard.marks && guard.slot_count == 3);
    for (int i = 0; i < 4; i++)
        expect_guards();
}

/* Nothing can be closed: blocks come and go all the same, and are not taken to be zero. */
Test(guard, closes_nothing)
{
    require_seccomp();
    begin_with(3);
    unsigned char *p = take(16, os_page_size);
    memset(p, 7, os_page_size);
    check(seccomp_refuse(SYS_madvise, EINVAL));
    check(seccomp_refuse(SYS_mprotect, ENOMEM));
    drop(p);
    check(guard_valid());
    for (int i = 0; i < 10; i++) {
        bool zero = true;
        p = guard_allocate(16, 64, NULL, &zero);
        check(!p || !zero);
        if (p)
            drop(p);
        check(guard_valid());
    }
}

Test(guard, locked_memory)
{
    begin_with(3);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return; /* not allowed to */
    for (int i = 0; i < 4; i++)
        expect_guards();
}

/* ---- slots ---- */

Test(guard, longest_freed_goes_first)
{
    enum { SLOTS = 50 };
    begin_with(SLOTS);
    unsigned char *p[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        check((p[i] = take(16, 32)));
    check(!take(16, 32) && guard_totals().live == SLOTS);
    for (int i = SLOTS; i-- > 0;)
        drop(p[i]);
    for (int i = SLOTS; i-- > 0;) {
        uintptr_t page = align_down((uintptr_t)take(16, 32), os_page_size);
        check(page == align_down((uintptr_t)p[i], os_page_size));
    }
    check(guard_valid() && guard_totals().open_peak == SLOTS && guard_totals().taken == 2 * SLOTS);
}

Test(guard, random_operations)
{
    enum { SLOTS = 70, BLOCKS = 90 };
    begin_with(SLOTS);
    static unsigned char *p[BLOCKS];
    size_t live = 0;
    for (int round = 0; round < 20000; round++) {
        size_t i = random_below(&dice, BLOCKS);
        if (!p[i]) {
            size_t size = random_below(&dice, 300);
            p[i] = take((size_t)16 << random_below(&dice, 4), size);
            check((p[i] != NULL) == (live < SLOTS));
            live += p[i] != NULL;
            if (p[i])
                memset(p[i], (int)i, size);
        } else {
            for (size_t j = 0; j < guard_size(p[i]); j++)
                check(p[i][j] == i);
            drop(p[i]);
            p[i] = NULL;
            live--;
        }
        if (round % 100 == 0)
            check(guard_valid() && guard_totals().live == live);
    }
}

enum { THREADS = 4 };
static _Atomic(unsigned char *) exchange[40];

static void *swap_blocks(void *seed)
{
    struct random mine = {(uintptr_t)seed};
    for (int round = 0; round < 5000; round++) {
        size_t i = random_below(&mine, COUNT_OF(exchange)), size = random_below(&mine, 64) + 1;
        unsigned char *p = take(16, size);
        if (p)
            memset(p, (int)size, size);
        p = atomic_exchange(&exchange[i], p);
        if (!p)
            continue;
        for (size_t j = 0; j < guard_size(p); j++)
            check(p[j] == guard_size(p));
        check(guard_release(p, NULL)); /* another thread may have it again at once */
    }
    return NULL;
}

Test(guard, threads)
{
    begin_with(32);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, swap_blocks, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(guard_valid());
}

static _Atomic int winners;

static void *free_at_once(void *p)
{
    if (guard_release(p, NULL))
        atomic_fetch_add(&winners, 1);
    return NULL;
}

Test(guard, two_that_free_at_once)
{
    begin_with(100);
    for (int i = 0; i < 200; i++) {
        pthread_t threads[2];
        unsigned char *p = take(16, 100);
        for (int j = 0; j < 2; j++)
            check(pthread_create(&threads[j], NULL, free_at_once, p) == 0);
        for (int j = 0; j < 2; j++)
            pthread_join(threads[j], NULL);
        check(atomic_load(&winners) == i + 1);
    }
    check(guard_valid());
}

Test(guard, without_memory)
{
    struct child child = child_begin();
    if (child.process == 0) {
        struct rlimit limit = {1, RLIM_INFINITY};
        check(setrlimit(RLIMIT_AS, &limit) == 0);
        guard_sample(1);
        check(load_relaxed(guard.interval) == 0 && load_relaxed(slow_reasons) == 0 && guard_valid());
        _exit(0);
    }
    child_expect(&child, 0, "brim: sample_guard: no memory for its slots\n", __FILE__, __LINE__);
}

/* The kernel has one mapping for all of the pool, or two for each slot that is open. */
static size_t kernel_mappings(void)
{
    size_t count = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        size_t start = strtoul(line, NULL, 16);
        count += start >= guard.base && start < guard.base + guard.bytes;
    }
    fclose(maps);
    return count;
}

Test(guard, costs_few_mappings)
{
    enum { SLOTS = 1000 };
    begin_with(SLOTS);
    for (int i = 0; i < SLOTS; i++)
        check(take(16, 100));
    check(kernel_mappings() <= (guard.marks ? 1 : 2 * SLOTS + 1));
}

/* ---- whose turn it is ---- */

static size_t sampled_of(size_t count)
{
    size_t sampled = 0;
    for (size_t i = 0; i < count; i++) {
        thread_sample.left--;
        sampled += guard_is_due(100);
    }
    return sampled;
}

Test(guard, one_in_so_many)
{
    guard_sample(1);
    check(sampled_of(1000) == 1000);
    guard_sample(10);
    size_t sampled = sampled_of(100000);
    check(sampled > 9000 && sampled < 11000);
    guard_sample(50);
    sampled = sampled_of(500000);
    check(sampled > 9000 && sampled < 11000);
    guard_sample(0);
    check(sampled_of(1000) == 0);
}

/* A thread's first is as likely as any: of threads that allocate half the interval, half have one. */
static void *sample_a_few(void *sampled)
{
    *(size_t *)sampled += sampled_of(20);
    return NULL;
}

Test(guard, short_threads)
{
    enum { SHORT = 1000 };
    guard_sample(40);
    size_t sampled = 0;
    for (int i = 0; i < SHORT; i++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, sample_a_few, &sampled) == 0);
        pthread_join(thread, NULL);
    }
    check(sampled > SHORT * 2 / 5 && sampled < SHORT * 3 / 5);
}

/* Time bounds the price: so many samples, and not more, however many blocks there are. */
Test(guard, pace)
{
    enum { INTERVAL = 1000 };
    guard_sample(INTERVAL);
    uint64_t begin = os_now_ns(), end;
    size_t sampled = 0, rounds = 0;
    do {
        sampled += sampled_of(10000);
        rounds++;
        end = os_now_ns();
    } while (end - begin < 300000000);
    size_t most = (size_t)((end - begin) / ((uint64_t)INTERVAL * GUARD_PACE_NS)) + 1;
    check(sampled >= 2 && sampled <= most && sampled < rounds * 10000 / INTERVAL);
}

Test(guard, sizes)
{
    guard_sample(1);
    thread_sample.left = 0;
    check(!guard_is_due(os_page_size + 1) && guard_is_due(os_page_size));
}

/* ---- fork ---- */

static struct guard_slot *in_hand;
static pthread_barrier_t barrier;

static void *hold(void *closing)
{
    if (closing) {
        unsigned char *p = take(16, 100);
        in_hand = slot_at((uintptr_t)p);
        store_release(in_hand->word, SLOT_WORD(SLOT_CLOSING, lock_self()));
    } else {
        in_hand = slot_take();
        check(slot_open(in_hand));
    }
    lock_acquire(&guard.lock);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    lock_release(&guard.lock);
    return NULL;
}

Test(guard, child_takes_over_what_was_in_hand)
{
    begin_with(10);
    unsigned char *live = take(16, 200), *freed = take(16, 300);
    drop(freed);
    memset(live, 5, 200);
    pthread_barrier_init(&barrier, NULL, 2);
    for (uintptr_t closing = 0; closing < 2; closing++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, hold, (void *)closing) == 0);
        pthread_barrier_wait(&barrier);
        expect_in_child({
            guard_after_fork();
            check(guard_valid() && slot_state(in_hand) == (closing ? SLOT_FREED : SLOT_FREE));
            check(guard_totals().live == 1 && live[199] == 5);
            drop(live);
            for (int i = 0; i < 10; i++)
                check(take(16, 100));
            check(!take(16, 100) && guard_valid());
        });
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
    }
}

/* ---- reports ---- */

/* What a child that dies of `signal_number` says; its pointers are `at` and what is beside it. */
static void expect_report(int signal_number, const char *first, const char *const *parts, void (*body)(unsigned char *),
                          unsigned char *p)
{
    char output[8192], line[200];
    struct child child = child_begin();
    if (child.process == 0) {
        guard_take_faults();
        body(p);
        _exit(0);
    }
    int end = child_end(&child, output, sizeof output);
    snprintf(line, sizeof line, "brim: %s: %p\n", first, (void *)p);
    bool right = end == -signal_number && strncmp(output, line, strlen(line)) == 0;
    for (; *parts; parts++)
        right &= strstr(output, *parts) != NULL;
    if (!right)
        dprintf(STDERR_FILENO, "ended with %d, instead of %s wrote\n%s", end, line, output);
    check(right);
}

static unsigned char *take_at(bool end, size_t size)
{
    for (;;) {
        unsigned char *p = take(16, size);
        if (((uintptr_t)p % os_page_size != 0) == end)
            return p;
        drop(p);
    }
}

static void write_inside(unsigned char *p) { *(volatile unsigned char *)(p + 8) = 1; }
static void write_at(unsigned char *p) { *(volatile unsigned char *)p = 1; }
static void read_inside(unsigned char *p) { *(volatile unsigned char *)(p + 8); }
static void write_behind(unsigned char *p) { *(volatile unsigned char *)(p + 64) = 1; }
static void write_before(unsigned char *p) { *(volatile unsigned char *)(p - 1) = 1; }
static void change_behind_and_free(unsigned char *p)
{
    p[33] ^= 0x10;
    drop(p);
}
static void change_before_and_free(unsigned char *p)
{
    p[-3] ^= 0x10;
    drop(p);
}
static void refuse(unsigned char *p) { guard_fatal("double free", p, __builtin_return_address(0)); }

Test(guard, reports)
{
    begin_with(20);
    unsigned char *p = take_at(false, 100);
    drop(p);
#if defined(__x86_64__)
    const char *wrote = "\n  write to 0x", *read = "\n  read of 0x";
#else
    const char *wrote = "\n  access to 0x", *read = wrote;
#endif
    const char *const after[] = {", 8 bytes into the block of 100 bytes at ", "\n  allocated by thread ",
                                 "\n  freed by thread ", "\n  accessed by thread ", "    #1 ", NULL};
    const char *const by_writing[] = {wrote, NULL}, *const by_reading[] = {read, NULL};
    expect_report(SIGSEGV, "use after free", after, write_inside, p);
    expect_report(SIGSEGV, "use after free", by_writing, write_inside, p);
    expect_report(SIGSEGV, "use after free", by_reading, read_inside, p);
    const char *const behind[] = {wrote, ", 0 bytes behind the end of the block of 64 bytes at ",
                                  "\n  allocated by thread ", "\n  accessed by thread ", NULL};
    expect_report(SIGSEGV, "buffer overflow", behind, write_behind, take_at(true, 64));
    const char *const before[] = {wrote, ", 1 byte before the block of 64 bytes at ", "\n  allocated by thread ", NULL};
    expect_report(SIGSEGV, "buffer underflow", before, write_before, take_at(false, 64));
    const char *const changed[] = {"\n  overwritten at 0x", ", 0 bytes behind the end of the block of 33 bytes at ",
                                   "\n  allocated by thread ", "\n  found by thread ", NULL};
    for (int end = 0; end < 2; end++)
        expect_report(SIGABRT, "buffer overflow, found by free", changed, change_behind_and_free, take_at(end, 33));
    const char *const changed_before[] = {", 3 bytes before the block of 33 bytes at ", NULL};
    expect_report(SIGABRT, "buffer underflow, found by free", changed_before, change_before_and_free, take_at(true, 33));
    const char *const again[] = {"\n  allocated by thread ", "\n  freed by thread ", "\n  found by thread ", NULL};
    expect_report(SIGABRT, "double free", again, refuse, p);
}

/* Memory of the pool that never was a block's. */
Test(guard, reports_wild_pointers)
{
    begin_with(20);
    const char *const nothing[] = {"\n  accessed by thread ", NULL};
    expect_report(SIGSEGV, "access of memory that is no block's", nothing, write_at,
                  (unsigned char *)guard.base + 10 * os_page_size);
}

/* ---- other faults ---- */

static volatile sig_atomic_t handled;
static siginfo_t handled_info;

static void leave(int number, siginfo_t *info, void *context)
{
    (void)context;
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    handled_info = *info;
    handled = number;
    _exit(sigismember(&now, SIGSEGV) && sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2) ? 44 : 45);
}

static void leave_unblocked(int number)
{
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    _exit(number == SIGSEGV && !sigismember(&now, SIGSEGV) ? 46 : 45);
}

static void count_signal(int number) { handled += number == SIGSEGV; }

static int end_of(void (*body)(void))
{
    char output[4096];
    struct child child = child_begin();
    if (child.process == 0) {
        body();
        _exit(0);
    }
    int end = child_end(&child, output, sizeof output);
    check(strstr(output, "brim:") == NULL);
    return end;
}

static uintptr_t volatile elsewhere = 8;
static void fault_elsewhere(void) { *(volatile char *)elsewhere = 1; }

static void fault_by_default(void)
{
    guard_take_faults();
    fault_elsewhere();
}

static void fault_with_a_handler(void)
{
    struct sigaction action = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO};
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
    guard_take_faults();
    fault_elsewhere();
}

static void fault_with_an_open_handler(void)
{
    sigaction(SIGSEGV, &(struct sigaction){.sa_handler = leave_unblocked, .sa_flags = SA_NODEFER}, NULL);
    guard_take_faults();
    fault_elsewhere();
}

static void fault_ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    guard_take_faults();
    raise(SIGSEGV);
    raise(SIGSEGV);
    fault_elsewhere();
}

static void signal_by_default(void)
{
    guard_take_faults();
    raise(SIGSEGV);
}

static void signal_handled(void)
{
    signal(SIGSEGV, count_signal);
    guard_take_faults();
    for (int i = 1; i <= 3; i++) {
        raise(SIGSEGV);
        check(handled == i);
    }
    _exit(47);
}

static void signal_handled_once(void)
{
    sigaction(SIGSEGV, &(struct sigaction){.sa_handler = count_signal, .sa_flags = (int)SA_RESETHAND}, NULL);
    guard_take_faults();
    raise(SIGSEGV);
    check(handled == 1);
    raise(SIGSEGV);
}

Test(guard, hands_other_faults_on)
{
    begin_with(2);
    check(end_of(fault_by_default) == -SIGSEGV);
    check(end_of(fault_with_a_handler) == 44);
    check(end_of(fault_with_an_open_handler) == 46);
    check(end_of(fault_ignored) == -SIGSEGV);
    check(end_of(signal_by_default) == -SIGSEGV);
    check(end_of(signal_handled) == 47);
    check(end_of(signal_handled_once) == -SIGSEGV);
}
