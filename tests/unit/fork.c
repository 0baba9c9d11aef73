/* fork.c: a fork at any instruction of what the allocator does, by another thread or by a signal handler
   in the midst of it: the child's heap is whole, what was live is there, can be freed, and memory can be
   had. */
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
#include "allocator/os_heap.c"

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

#include "arenas.h"
#include "step.h"

static void fork_begin(void)
{
    thread_init();
    fork_init();
}

TestSuite(fork, .init = fork_begin);

/* ---- live blocks, which every child must find ---- */

enum { KNOWN = 400 };

static struct {
    unsigned char *start;
    size_t size;
} known[KNOWN];
static size_t known_count;

static void known_add(size_t size)
{
    check(known_count < KNOWN);
    unsigned char *p = alloc_allocate(size);
    check(p);
    memset(p, (int)(known_count % 250 + 1), size);
    known[known_count].start = p;
    known[known_count++].size = size;
}

static void known_release_all(void)
{
    while (known_count > 0) {
        const unsigned char *p = known[--known_count].start;
        size_t size = known[known_count].size;
        check(size == 0 || (p[0] == known_count % 250 + 1 && memcmp(p, p + 1, size - 1) == 0));
        alloc_release(known[known_count].start);
    }
}

static void whole_heap_check(enum step_part part)
{
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
    check(mapping_valid() && guard_valid());
    check(!thread_home || arena_valid(thread_home));
    bool others_died = false;
    for (uint32_t id = 1; id <= arena_count(); id++)
        others_died |= load_relaxed(arena_by_id(id)->state) == ARENA_DEAD;
    if (part != STEP_OTHER && !others_died) /* nothing is lost: the thread that was interrupted has gone on */
        arenas_check();
}

/* In the child: everything works. */
static void verify(enum step_part part)
{
    static const size_t sizes[] = {1, 100, 1000, 5000, 20000, 32768, 40000, 120000, 200000};
    void *p[COUNT_OF(sizes)];
    whole_heap_check(part);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        check((p[i] = alloc_allocate(sizes[i])));
        *(char *)p[i] = ((char *)p[i])[sizes[i] - 1] = 1;
    }
    known_release_all();
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        alloc_release(p[i]);
    struct arena *more[3]; /* as for threads that the child makes */
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        bool clean;
        check((more[i] = arena_obtain()) && (p[i] = arena_allocate(more[i], 5, &clean)));
        for (size_t j = 0; j < i; j++)
            check(more[j] != more[i] && p[j] != p[i]);
    }
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        arena_free(more[i], p[i]);
        arena_retire(more[i]);
    }
    whole_heap_check(part);
    thread_trim();
    region_trim_all(0);
    whole_heap_check(part);
    for (size_t at = 0; at < load_relaxed(regions[0].count); at += max_size(run_length(&regions[0].map[at]), 1))
        check(run_kind(&regions[0].map[at]) != RUN_CACHED); /* whoever kept it */
}

/* ---- operations ---- */

static void *subjects[200];
static size_t subject_count, subject_size;

static void subjects_add(size_t count, size_t size)
{
    subject_size = size;
    while (subject_count < count)
        check((subjects[subject_count++] = alloc_allocate(size)));
}

static void operation_allocate(void) { subjects_add(subject_count + 1, subject_size); }
static void operation_allocate_some(void) { subjects_add(subject_count + 6, subject_size); }
static void operation_release(void) { alloc_release(subjects[--subject_count]); }
static void operation_release_some(void)
{
    for (int i = 0; i < 6; i++)
        operation_release();
}
static void operation_release_all(void)
{
    while (subject_count > 0)
        operation_release();
}
static void operation_resize(void) { subjects[0] = alloc_resize(subjects[0], subject_size); }
static void operation_trim(void)
{
    thread_trim();
    region_trim_all(0);
}
/* As at a thread's exit, and as at the beginning of the next. */
static void operation_retire(void)
{
    struct arena *arena = thread_home;
    thread_supply = thread_arena = (struct arena *)&arena_none;
    thread_home = NULL;
    arena_retire(arena);
}
static void operation_attach(void) { thread_enter(); }

static void operation_guarded(void)
{
    thread_sample.left = 1; /* it is its turn */
    void *p = alloc_allocate(100);
    check(guard_contains(p));
    *(char *)p = 1;
    alloc_release(p);
}

static void (*other_begins)(void); /* what the forking thread does first */

static void step_operation(void (*operation)(void))
{
    struct step step = {.operation = operation,
                        .begin = other_begins,
                        .verify = verify,
                        .locks = {&arenas.lock, &orphans.lock, &regions_lock, &mappings.lock, &guard.lock},
                        .watched = {{regions, 2 * sizeof *regions},
                                    {&region_count, sizeof region_count},
                                    {&arenas, sizeof arenas},
                                    {&orphans, sizeof orphans},
                                    {&mappings, sizeof mappings},
                                    {&arena_first, sizeof arena_first}}};
    step.watched[8].start = &guard;
    step.watched[8].size = sizeof guard;
    step.watched[9].start = guard.slots;
    step.watched[9].size = guard.slot_count * sizeof *guard.slots;
    if (load_relaxed(region_count) != 0) {
        step.watched[6].start = regions[0].map;
        step.watched[6].size = min_size(load_relaxed(regions[0].count), 64) * sizeof(struct slice);
        step.locks[3] = &regions[0].growth;
        step.locks[4] = &regions[0].lock;
        step.locks[5] = &mappings.lock;
        step.locks[6] = &guard.lock;
    }
    if (arena_count() > 1) {
        step.watched[7].start = arena_by_id(2);
        step.watched[7].size = sizeof(struct arena);
    }
    step_through(&step);
    whole_heap_check(STEP_SELF);
}

/* ---- one thread's own slabs ---- */

Test(fork, first_block)
{
    subject_size = 100;
    step_operation(operation_allocate);
}

Test(fork, blocks_of_a_slab)
{
    known_add(1000);
    subject_size = 1024;
    step_operation(operation_allocate_some);
    step_operation(operation_release_some);
    step_operation(operation_allocate_some);
}

/* A slab of several slices is made, and ended. */
Test(fork, new_slab)
{
    known_add(100);
    subject_size = 20480;
    step_operation(operation_allocate);
    subjects_add(size_classes[class_of(20480)].capacity, 20480);
    step_operation(operation_allocate); /* the full one is let go, another is made */
    step_operation(operation_release_all);
}

/* A full slab is claimed, waits, is partly free, and is ended, by its former owner. */
Test(fork, full_slab_comes_back)
{
    known_add(100);
    subjects_add(size_classes[class_of(4096)].capacity, 4096);
    known_add(4096);
    step_operation(operation_release_all);
}

Test(fork, trim)
{
    for (int i = 0; i < 40; i++) {
        known_add(4096);
        subjects_add(subject_count + 3, 4096);
    }
    while (subject_count > 0)
        operation_release();
    step_operation(operation_trim);
}

/* ---- two threads ---- */

enum { GIFTS = 16 };

/* The forking thread has a slab that is partly its own: the stepped one frees into it. */
static void give(void)
{
    void *own[4];
    for (int i = 0; i < 4; i++)
        check((own[i] = alloc_allocate(4096)));
    for (int i = 0; i < GIFTS - 4; i++)
        check((subjects[subject_count++] = alloc_allocate(4096)));
    check(alloc_allocate(4096)); /* the full slab is nobody's */
    alloc_release(own[0]);       /* and its own again, waiting */
}

Test(fork, remote_frees)
{
    known_add(4096);
    other_begins = give;
    step_operation(operation_release_all);
}

/* The stepped thread takes what the forking one has freed into its slab. */
static void free_remotely(void)
{
    while (subject_count > 0)
        operation_release();
}

Test(fork, remote_frees_are_taken)
{
    known_add(4096);
    subjects_add(size_classes[class_of(4096)].capacity - 1, 4096);
    other_begins = free_remotely;
    subject_size = 4096;
    step_operation(operation_allocate_some);
    other_begins = NULL;
    step_operation(operation_release_some);
}

/* ---- threads that end and begin ---- */

Test(fork, retire_and_attach)
{
    for (size_t size = 16; size <= 8192; size *= 2)
        known_add(size);
    subjects_add(10, 4096);
    for (int i = 0; i < 5; i++)
        operation_release();
    step_operation(operation_retire);
    step_operation(operation_attach);
    subject_size = 4096;
    step_operation(operation_allocate); /* adopts an orphan */
    step_operation(operation_release_all);
}

static void attach_and_end(void) { check(thread_enter()); }

Test(fork, new_arena)
{
    other_begins = attach_and_end;
    subject_size = 100;
    step_operation(operation_allocate);
}

/* ---- what is no slab's ---- */

Test(fork, medium_blocks)
{
    known_add(100000);
    subject_size = 100000;
    step_operation(operation_allocate);
    subject_size = 40000;
    step_operation(operation_resize);
    subject_size = 120000;
    step_operation(operation_resize);
    step_operation(operation_release);
}

Test(fork, medium_blocks_that_are_kept)
{
    subjects_add(3, 60000);
    known_add(100000);
    operation_release();
    operation_release();
    step_operation(operation_release);
    step_operation(operation_allocate);
    step_operation(operation_release);
    subject_size = 500000;
    step_operation(operation_allocate); /* asks the region, and finds room for itself among what is kept */
    subjects_add(2, 60000);
    operation_release();
    step_operation(operation_trim);
}

/* What a thread kept that the child does not have comes back before the child's heap grows. */
static void keep_two(void)
{
    void *p[2] = {alloc_allocate(60000), alloc_allocate(60000)};
    alloc_release(p[0]);
    alloc_release(p[1]);
}

static void *keep_two_and_wait(void *barrier)
{
    keep_two();
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static size_t kept_runs(void)
{
    size_t runs = 0;
    for (size_t at = 0; at < load_relaxed(regions[0].count); at += run_length(&regions[0].map[at]))
        runs += run_kind(&regions[0].map[at]) == RUN_CACHED;
    return runs;
}

Test(fork, kept_runs_of_lost_threads)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    void *mine = alloc_allocate(60000);
    check(pthread_barrier_init(&barrier, NULL, 2) == 0);
    check(pthread_create(&thread, NULL, keep_two_and_wait, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    alloc_release(mine);
    check(kept_runs() == 3);
    expect_in_child({
        check(kept_runs() == 3 && alloc_allocate(60000) == mine && kept_runs() == 2); /* my own stays mine */
        check(alloc_allocate(100 << 20) && kept_runs() == 0);
        whole_heap_check(STEP_OTHER);
    });
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    check(kept_runs() == 1);
}

Test(fork, mappings)
{
    known_add(1 << 20);
    subject_size = 1 << 20;
    step_operation(operation_allocate);
    subject_size = 2 << 20;
    step_operation(operation_resize);
    step_operation(operation_release);
}

/* ---- guarded blocks ---- */

/* First on fresh slots, then on used ones, then with none to be had. */
Test(fork, guarded_blocks)
{
    enum { SLOTS = 4 };
    store_relaxed(guard.slots_wanted, SLOTS);
    known_add(100);
    guard_sample(50);
    for (int i = 0; i <= SLOTS; i++)
        step_operation(operation_guarded);
    check(guard_totals().taken == SLOTS + 1);
}
