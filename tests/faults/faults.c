/* faults.c: every system call for memory fails: each in turn, each and all after it, each kind alone, and by chance
   under threads and forks. What had to fail says so, the rest does without; no block is lost or changed, no slice
   leaks, and when the kernel relents all is as before.

   BRIM_TEST_SEED repeats the faults by chance, as far as threads can be repeated. */
#include "tests/unit/unit.h"

#include "faults.h"
#include "held.h"

#include <malloc.h>
#include <semaphore.h>

/* ---- the workload: one of each thing that makes system calls, the same each time ---- */

enum { HELD = 1200 };
static struct held held[HELD];
static struct random dice;
static bool patient; /* faults that do not end: look at the whole heap now and then only */

static void all_verify(void)
{
    for (size_t i = 0; i < HELD; i++)
        held_verify(&held[i]);
}

/* After an operation: if a call of it has failed, nothing else may have come to harm. */
static void look_after(size_t faults_before)
{
    static size_t looks;
    if (thread_faults == faults_before || (patient && looks++ % 64 != 0))
        return;
    all_check();
    all_verify();
}

static unsigned char next_stamp(void) { return (unsigned char)(1 + random_below(&dice, 255)); }

static void take(size_t at, enum entry entry, size_t alignment, size_t size)
{
    size_t before = thread_faults;
    check(!held[at].start);
    held_allocate(&held[at], entry, alignment, size, next_stamp());
    look_after(before);
}

static void resize(size_t at, size_t size)
{
    size_t before = thread_faults;
    if (held[at].start)
        held_resize(&held[at], size);
    look_after(before);
}

static void drop(size_t at)
{
    size_t before = thread_faults;
    held_release(&held[at]);
    look_after(before);
}

static void drop_range(size_t from, size_t to)
{
    for (size_t at = from; at < to; at++)
        drop(at);
}

static void trim(void)
{
    size_t before = thread_faults;
    thread_trim();
    region_trim_all(0);
    look_after(before);
}

static enum entry any_entry(void) { return random_one_in(&dice, 3) ? ENTRY_CALLOC : ENTRY_MALLOC; }

static void small_blocks(void)
{
    for (size_t i = 0; i < 400; i++)
        take(i, any_entry(), 1, random_between(&dice, 0, (size_t)16 << random_below(&dice, 12)));
    for (size_t i = 0; i < 400; i += 2)
        resize(i, random_between(&dice, 1, 40000));
    for (size_t i = 0; i < 400; i += 3)
        drop(i);
    for (size_t i = 0; i < 400; i += 3)
        take(i, ENTRY_ALIGNED, (size_t)16 << random_below(&dice, 12), random_between(&dice, 0, 4096));
    drop_range(0, 350); /* the rest stays for good */
}

static void medium_blocks(void)
{
    for (size_t i = 400; i < 460; i++)
        take(i, i % 5 == 0 ? ENTRY_ALIGNED : any_entry(), i % 5 == 0 ? 128 * KIB : 1,
             random_between(&dice, 33000, 120000));
    for (int round = 0; round < 80; round++)
        resize(400 + random_below(&dice, 60), random_between(&dice, round % 8 == 0 ? 1 : 33000, 160000));
    drop_range(400, 450);
}

/* More than the first table of mappings holds; every way of mremap, into and out of the heap. */
static void mapped_blocks(void)
{
    for (size_t i = 500; i < 570; i++)
        take(i, i % 4 == 0 ? ENTRY_ALIGNED : any_entry(), i % 4 == 0 ? 1 * MIB : 1,
             random_between(&dice, 140 * KIB, 200 * KIB));
    for (int round = 0; round < 40; round++)
        resize(500 + random_below(&dice, 70), random_between(&dice, round % 4 == 0 ? 100 : 100 * KIB, 600 * KIB));
    drop_range(500, 560);
}

/* More than may be kept becomes free: in runs, in holes of slabs, and at the top. */
static void bursts(void)
{
    for (size_t i = 600; i < 680; i++)
        take(i, ENTRY_MALLOC, 1, 120000);
    for (size_t i = 600; i < 680; i += 2)
        drop(i);
    for (size_t i = 600; i < 680; i += 4)
        take(i, ENTRY_CALLOC, 1, 60000);
    drop_range(600, 679);
    for (size_t i = 700; i < 1150; i++)
        take(i, ENTRY_MALLOC, 1, 12000);
    for (size_t i = 700; i < 1150; i++)
        if (i % 16 != 0)
            drop(i);
    for (size_t i = 700; i < 1150; i += 2)
        if (i % 16 != 0)
            take(i, ENTRY_CALLOC, 1, 12000);
    trim();
    drop_range(700, 1148);
}

/* ---- threads, one at a time but for what each leaves behind ---- */

static void *thread_allocates(void *unused)
{
    thread_faults = 0;
    for (size_t i = 0; i < 60; i++)
        take(i, any_entry(), 1, random_between(&dice, 0, 9000));
    for (size_t i = 0; i < 60; i += 2)
        drop(i);
    return unused;
}

/* Its first operation is the free of another thread's block. */
static void *thread_frees(void *unused)
{
    drop_range(0, 30);
    take(0, ENTRY_MALLOC, 1, 500);
    drop_range(30, 60);
    return unused;
}

static sem_t thread_ready, thread_may_end;

static void *thread_stays(void *unused)
{
    for (size_t i = 100; i < 130; i++)
        take(i, ENTRY_MALLOC, 1, 2000);
    for (size_t i = 100; i < 130; i += 3)
        drop(i);
    sem_post(&thread_ready);
    while (sem_wait(&thread_may_end) != 0)
        ;
    drop_range(100, 120);
    return unused;
}

/* It is about to grow the heap, or to trim it, when another thread forks. */
static void *thread_moves_break(void *unused)
{
    struct lock *growth = load_relaxed(region_count) != 0 ? &regions[0].growth : NULL;
    if (growth)
        lock_acquire(growth);
    sem_post(&thread_ready);
    while (sem_wait(&thread_may_end) != 0)
        ;
    if (growth)
        lock_release(growth);
    return unused;
}

static pthread_t begin_with(void *(*work)(void *), void *what)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, work, what) == 0);
    return thread;
}

static pthread_t begin(void *(*work)(void *)) { return begin_with(work, NULL); }

static void wait_for(pthread_t thread) { check(pthread_join(thread, NULL) == 0); }

/* In the child of a fork: all that is held is there, and can be resized and freed; then nothing is left. Blocks of
   threads that are not here are lost to the arenas, and so are the few that a dead thread had at hand. */
static void child_lives(void)
{
    all_verify();
    all_check();
    for (size_t i = 0; i < HELD; i += 5)
        resize(i, random_between(&dice, 1, 50000));
    for (size_t i = 0; i < HELD; i++)
        drop(i);
    trim();
    fault_plan = no_faults;
    expect_all_works();
    all_check();
    check(mapping_totals().count == 0);
}

static void expect_child_lives(void)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(60);
        child_lives();
        _exit(0);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

static void threads_and_forks(void)
{
    sem_init(&thread_ready, 0, 0);
    sem_init(&thread_may_end, 0, 0);
    wait_for(begin(thread_allocates));
    wait_for(begin(thread_frees));
    drop(0);
    pthread_t stays = begin(thread_stays);
    while (sem_wait(&thread_ready) != 0)
        ;
    pthread_t frees = begin(thread_frees); /* nothing is there to free; a second arena beside */
    wait_for(frees);
    drop(0);
    drop_range(120, 125); /* into the slabs of the thread that stays */
    expect_child_lives();
    sem_post(&thread_may_end);
    wait_for(stays);
    drop_range(100, 130);
    for (size_t i = 0; i < 60; i++) /* from what the ended ones left */
        take(i, ENTRY_MALLOC, 1, random_between(&dice, 0, 9000));
    drop_range(0, 60);
    pthread_t moves = begin(thread_moves_break);
    while (sem_wait(&thread_ready) != 0)
        ;
    expect_child_lives();
    sem_post(&thread_may_end);
    wait_for(moves);
}

/* The break cannot grow: further regions are made, used, and left. */
static void blocked_break(void)
{
    void *above = (void *)align_up((uintptr_t)sbrk(0), os_page_size);
    void *page = mmap(above, os_page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    check(page == above);
    for (size_t i = 150; i < 250; i++)
        take(i, any_entry(), 1, 100000);
    munmap(page, os_page_size);
    for (size_t i = 150; i < 250; i += 2)
        drop(i);
    for (size_t i = 150; i < 250; i += 2)
        take(i, any_entry(), 1, random_between(&dice, 3000, 120000));
    for (size_t i = 0; i < 150; i++)
        take(i, ENTRY_MALLOC, 1, 1500);
    drop_range(0, 250);
}

static void all_of_it(void)
{
    small_blocks();
    medium_blocks();
    mapped_blocks();
    bursts();
    threads_and_forks();
    blocked_break();
    expect_child_lives();
}

/* ---- the same by chance, with threads that do not wait for each other ---- */

/* A block with its own description at its start. A pointer is in `shared` exactly while nobody uses its block. */
struct carrier {
    size_t size;
    unsigned char stamp;
};
enum { SHARED = 64, OWN = 100, THREADS = 3, STEPS = 1500, FORKS = 4 };
static _Atomic(struct carrier *) shared[SHARED];

static void carrier_release(struct carrier *carrier)
{
    struct held all = {(unsigned char *)(carrier + 1), carrier->size, carrier->stamp};
    held_verify(&all);
    alloc_release(carrier);
}

static void share(size_t at, struct random *random)
{
    struct carrier *mine = NULL;
    size_t size = random_below(random, (size_t)64 << random_below(random, 12));
    unsigned char stamp = (unsigned char)random_between(random, 1, 255);
    if (random_one_in(random, 2) && (mine = alloc_allocate(sizeof *mine + size))) {
        *mine = (struct carrier){size, stamp};
        held_fill(&(struct held){(unsigned char *)(mine + 1), size, stamp}, stamp);
    }
    if ((mine = atomic_exchange(&shared[at], mine)))
        carrier_release(mine);
}

static size_t random_size(struct random *random)
{
    return random_below(random, (size_t)64 << random_below(random, 14));
}

static enum entry random_entry(struct random *random)
{
    return random_one_in(random, 3) ? ENTRY_ALIGNED : random_one_in(random, 2) ? ENTRY_CALLOC : ENTRY_MALLOC;
}

static void step(struct held *own, struct random *random)
{
    struct held *one = &own[random_below(random, OWN)];
    unsigned char stamp = (unsigned char)random_between(random, 1, 255);
    if (!one->start)
        held_allocate(one, random_entry(random), (size_t)1 << random_below(random, 18), random_size(random), stamp);
    else if (random_one_in(random, 3))
        held_resize(one, 1 + random_size(random));
    else
        held_release(one);
    if (random_one_in(random, 4))
        share(random_below(random, SHARED), random);
    if (random_one_in(random, 400)) {
        thread_trim();
        region_trim_all(0);
    }
}

static void *thread_lives(void *seed)
{
    struct random random = {(uintptr_t)seed};
    struct held own[OWN] = {0};
    for (size_t i = 0; i < STEPS; i++)
        step(own, &random);
    for (size_t i = 0; i < OWN; i++)
        held_release(&own[i]);
    return NULL;
}

static _Noreturn void random_child(struct held *own, struct random *random)
{
    alarm(60);
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
    check(mapping_valid() && (!thread_home || arena_valid(thread_home)));
    for (size_t i = 0; i < SHARED; i++)
        share(i, random);
    for (size_t i = 0; i < STEPS / 4; i++)
        step(own, random);
    fault_plan = no_faults;
    expect_all_works();
    for (size_t i = 0; i < OWN; i++)
        held_release(&own[i]);
    _exit(0);
}

static void by_chance(void)
{
    pthread_t threads[THREADS];
    unit_single_threaded = false;
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = begin_with(thread_lives, (void *)(uintptr_t)random_next(&dice));
    for (size_t i = 0; i < FORKS; i++) {
        for (size_t j = 0; j < STEPS / FORKS; j++)
            step(held, &dice);
        pid_t child = fork();
        check(child >= 0);
        if (child == 0)
            random_child(held, &dice);
        int status;
        check(waitpid(child, &status, 0) == child && status == 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        wait_for(threads[i]);
    for (size_t i = 0; i < SHARED; i++)
        if (shared[i])
            carrier_release(shared[i]);
}

/* ---- a process that lives through it under a plan ---- */

static const struct workload {
    const char *name;
    void (*work)(void);
} workloads[] = {{"small blocks", small_blocks},
                 {"medium blocks", medium_blocks},
                 {"mapped blocks", mapped_blocks},
                 {"bursts", bursts},
                 {"threads and forks", threads_and_forks},
                 {"blocked break", blocked_break}},
  everything = {"everything", all_of_it}, chance = {"by chance", by_chance};

static void live_under(const struct workload *workload, struct fault_plan plan)
{
    dice = (struct random){plan.seed + 1};
    fault_plan = plan;
    workload->work();
    fault_plan = no_faults;
    all_check();
    all_verify();
    expect_all_works();
    drop_range(0, HELD);
    expect_nothing_left();
    expect_all_works(); /* from an empty heap, too */
    trim();
    check(unprompted_return());
    expect_nothing_left();
}

static void expect_life_under(const struct workload *workload, struct fault_plan plan)
{
    memset((void *)fault_counts, 0, sizeof *fault_counts);
    struct child child = child_begin();
    if (child.process == 0) {
        live_under(workload, plan);
        _exit(0);
    }
    char output[1000];
    int end = child_end(&child, output, sizeof output);
    if (end == 0 && output[0] == '\0')
        return;
    dprintf(STDERR_FILENO, "%s, seed %#zx, one in %zu of calls %zu to %zu of kinds %#x failing: ended with %d:\n%s",
            workload->name, (size_t)plan.seed, max_size(plan.one_in, 1), plan.first, plan.last, plan.kinds, end,
            output);
    abort();
}

static void faults_begin(void)
{
    thread_init();
    fork_init();
    store_relaxed(mapping_policy.dynamic, false); /* what is mapped once is mapped always */
    check(mallopt(M_TOP_PAD, 4 << 20) == 1);
    free(malloc(1000)); /* libc's malloc has all that it needs of the break */
    fault_counts_begin();
}

TestSuite(faults, .init = faults_begin);

/* The workload makes calls of every kind, and comes through without any fault. Else the other tests test nothing. */
Test(faults, none)
{
    expect_life_under(&everything, no_faults);
    for (size_t i = 0; i < FAULT_KINDS; i++)
        check(fault_counts->calls[i] > 0);
    check(fault_counts->faults == 0);
}

/* Until there was no call of that number any more: the count differs a little with where the kernel puts things. */
static void expect_life_under_each(bool for_good)
{
    size_t runs = 0;
    for (size_t i = 0; i < COUNT_OF(workloads); i++)
        for (size_t number = 0; number == 0 || fault_counts->faults != 0; number++, runs++)
            expect_life_under(&workloads[i], (struct fault_plan){.kinds = FAULT_ALL_KINDS,
                                                                 .first = number,
                                                                 .last = for_good ? SIZE_MAX : number});
    check(runs > 400);
}

Test(faults, each_call_alone) { expect_life_under_each(false); }

Test(faults, all_calls_from_each_on)
{
    patient = true;
    expect_life_under_each(true);
}

Test(faults, each_kind_always)
{
    patient = true;
    for (unsigned kinds = 1; kinds <= FAULT_ALL_KINDS; kinds <<= 1) {
        expect_life_under(&everything, (struct fault_plan){.kinds = kinds, .last = SIZE_MAX});
        check(fault_counts->faults >= 1);
    }
}

Test(faults, by_chance)
{
    static const size_t chances[] = {1, 2, 3, 5, 10, 30, 100, 1000};
    struct random seeds = random_begin();
    for (size_t i = 0; i < 3 * COUNT_OF(chances); i++) {
        struct fault_plan plan = {.kinds = FAULT_ALL_KINDS,
                                  .last = SIZE_MAX,
                                  .one_in = chances[i % COUNT_OF(chances)],
                                  .seed = random_next(&seeds)};
        if (i >= 2 * COUNT_OF(chances))
            plan.kinds = 1u << random_below(&seeds, FAULT_KINDS);
        expect_life_under(&chance, plan);
    }
}

/* ---- what has no way to say that there is no memory ---- */

static void *subject;

static void *thread_frees_subject(void *twice)
{
    alloc_release(subject);
    if (twice)
        alloc_release(subject);
    check(!alloc_allocate(100) && errno == ENOMEM);
    return NULL;
}

static void free_without_an_arena(bool twice)
{
    check((subject = alloc_allocate(5000)));
    fault_plan = (struct fault_plan){.kinds = 1u << FAULT_MMAP, .last = SIZE_MAX};
    wait_for(begin_with(thread_frees_subject, twice ? subject : NULL));
    fault_plan = no_faults;
    for (size_t i = 0; i < 100; i++) /* until the slow path is taken, where the block is found */
        take(i, ENTRY_MALLOC, 1, 100);
}

Test(faults, free_without_an_arena)
{
    free_without_an_arena(false);
    drop_range(0, 100);
    expect_nothing_left();
}

Test(faults, double_free_without_an_arena)
{
    char line[100];
    check((subject = alloc_allocate(5000))); /* the child's will be where this one is */
    snprintf(line, sizeof line, "brim: double free: %p", subject);
    alloc_release(subject);
    expect_fatal(line, free_without_an_arena(true));
}

/* A thread whose end would not be noticed leaves nothing behind all the same. */
Test(faults, exit_that_is_not_noticed)
{
    fault_plan = (struct fault_plan){.kinds = 1u << FAULT_SETSPECIFIC, .last = SIZE_MAX};
    wait_for(begin(thread_allocates));
    check(fault_counts->faults > 10); /* each operation tries anew */
    drop_range(0, 60);
    expect_nothing_left();
}

/* What was unlocked since, or refused for another reason, is given back unprompted again. */
Test(faults, return_after_a_refusal)
{
    fault_plan = (struct fault_plan){.kinds = 1u << FAULT_MADVISE, .last = SIZE_MAX};
    bursts();
    drop_range(0, HELD);
    check(!unprompted_return());
    fault_plan = no_faults;
    take(0, ENTRY_MALLOC, 1, 120000);
    take(1, ENTRY_MALLOC, 1, 1);
    trim();
    check(unprompted_return());
}
