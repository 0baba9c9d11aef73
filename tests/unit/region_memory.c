/* region_memory.c: where the memory of runs comes from and when it goes back: growth, a foreign sbrk, a
   blocked break, limits, trimming, purging; and the promise that a run which is called zero is zero,
   through all of it. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/os.c"
#include "allocator/regret.h"
#include "allocator/classes.h"
#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "runs.h"
#include "seccomp.h"

#include <fcntl.h>

static struct runs runs;

static void region_begin(void)
{
    os_init();
    runs.random = random_begin();
}

TestSuite(region_memory, .init = region_begin);

static struct run *take(size_t slices)
{
    return runs_take(&runs, &(struct run_request){.slices = slices, .alignment = 1, .grow = true});
}

static void release_head(const struct slice *head)
{
    for (size_t i = 0; i < runs.count; i++)
        if (runs.run[i].head == head) {
            runs_release(&runs, &runs.run[i]);
            return;
        }
    check(!"a run of the model");
}

static bool in_break_region(const struct run *run) { return region_of_slice(run->head) == &regions[0]; }

static size_t resident_slices(uintptr_t address, size_t slices)
{
    size_t resident = 0;
    for (size_t i = 0; i < slices; i++) {
        unsigned char vector[SLICE_SIZE / 4096];
        check(mincore((void *)(address + i * SLICE_SIZE), SLICE_SIZE, vector) == 0);
        resident += vector[0] & 1;
    }
    return resident;
}

/* Bytes of address space. */
static size_t virtual_size(void)
{
    char text[64] = "";
    int file = open("/proc/self/statm", O_RDONLY);
    check(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    return strtoull(text, NULL, 10) * os_page_size;
}

static void limit_to(int resource, rlim_t bytes)
{
    struct rlimit limit;
    check(getrlimit(resource, &limit) == 0);
    limit.rlim_cur = bytes;
    check(setrlimit(resource, &limit) == 0);
}

/* Puts one page right above the break, or takes it away again. */
static void *block_break(void)
{
    void *above = (void *)align_up((uintptr_t)sbrk(0), os_page_size);
    void *page = mmap(above, os_page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                      0);
    check(page == above);
    return page;
}

/* ---- growth ---- */

Test(region_memory, grows_by_the_pad)
{
    uintptr_t before = (uintptr_t)sbrk(0);
    take(1);
    uintptr_t need = align_up(before, SLICE_SIZE) + SLICE_SIZE - before;
    check((uintptr_t)sbrk(0) - before == align_up(need + region_policy.top_pad, os_page_size));
    before = (uintptr_t)sbrk(0);
    size_t top = region_top(&regions[0]);
    for (size_t i = 0; i < top; i++)
        take(1);
    check((uintptr_t)sbrk(0) == before);
    region_policy.top_pad = 0;
    take(5); /* what the pad left below a slice is used, too */
    check((uintptr_t)sbrk(0) - before <= 5 * SLICE_SIZE);
    before = (uintptr_t)sbrk(0);
    region_policy.top_pad = 1 * MIB;
    take(1);
    check((uintptr_t)sbrk(0) - before == SLICE_SIZE + 1 * MIB);
    runs_check(&runs);
}

Test(region_memory, pad_that_cannot_be_had)
{
    static const size_t pads[] = {SIZE_MAX,        SIZE_MAX - 4096, SIZE_MAX / 2,   SIZE_MAX / 2 - 4096,
                                  (size_t)1 << 62, (size_t)1 << 46, (size_t)1 << 40};
    for (size_t i = 0; i < COUNT_OF(pads); i++) {
        region_policy.top_pad = pads[i];
        struct run *run = take(20);
        check(run && in_break_region(run));
        runs_check(&runs);
        region_policy.trim_threshold = SIZE_MAX;
    }
}

/* Memory that growth adds is zero, as far as it is called zero, whatever it was in an earlier life of the
   break. */
Test(region_memory, trimmed_and_grown_again)
{
    region_policy.trim_explicit = true;
    region_policy.trim_threshold = 0;
    for (int round = 0; round < 200; round++) {
        region_policy.top_pad = random_below(&runs.random, 300 * KIB);
        while (runs.slices < 64)
            take(random_between(&runs.random, 1, 8));
        while (runs.slices > random_below(&runs.random, 64))
            runs_release(&runs, runs_any(&runs));
        runs_check(&runs);
    }
}

/* ---- a foreign sbrk ---- */

Test(region_memory, foreign_hole)
{
    struct run *low = take(3);
    uintptr_t low_end = run_address(low) + 3 * SLICE_SIZE;
    unsigned char *foreign = sbrk(100);
    memset(foreign, 0xab, 100);
    struct run *high = take(50);
    check(in_break_region(high) && run_address(high) >= (uintptr_t)foreign + 100 &&
          (uintptr_t)foreign >= low_end);
    runs_check(&runs);
    const struct slice *hole = &regions[0].map[((uintptr_t)foreign - regions[0].base) >> SLICE_SHIFT];
    check(hole->run == 0 || run_kind(hole) == RUN_FOREIGN);
    runs_release_all(&runs);
    region_trim_all(0);
    runs_check(&runs);
    for (int i = 0; i < 100; i++)
        check(foreign[i] == 0xab);
}

/* Where there are threads, the break is left to its other users: two that move it at once could be given the same
   memory. What we have of it stays in use. */
Test(region_memory, foreign_hole_among_threads)
{
    struct run *low = take(3);
    unsigned char *foreign = sbrk(100);
    memset(foreign, 0xab, 100);
    __libc_single_threaded = false;
    struct run *high = take(50);
    uintptr_t end = regions[0].end;
    check(!in_break_region(high) && regions[0].blocked && sbrk(0) == foreign + 100);
    runs_check(&runs);
    runs_release(&runs, low);
    check(in_break_region(take(3)));
    runs_release_all(&runs);
    region_trim_all(0);
    check(regions[0].end == end && sbrk(0) == foreign + 100);
    __libc_single_threaded = true;
    check(!in_break_region(take(200)));
    runs_check(&runs);
}

/* Other users of the break come and go, in pieces of any size and alignment, and find what they left. */
Test(region_memory, foreign_pieces_at_random)
{
    struct {
        unsigned char *at;
        size_t size;
    } pieces[100];
    size_t count = 0;
    for (int step = 0; step < 400; step++) {
        size_t size = random_one_in(&runs.random, 2) ? random_between(&runs.random, 1, 9000)
                                                     : random_between(&runs.random, 1, 200 * KIB);
        if (count < COUNT_OF(pieces) && random_one_in(&runs.random, 3)) {
            unsigned char *piece = sbrk((intptr_t)size);
            check(piece != (void *)-1);
            memset(piece, (int)count + 1, size);
            pieces[count].at = piece;
            pieces[count++].size = size;
        } else if (count > 0 && pieces[count - 1].at + pieces[count - 1].size == sbrk(0)) {
            count--; /* nothing of ours lies above it: its owner may lower the break again */
            check(sbrk(-(intptr_t)pieces[count].size) != (void *)-1);
        }
        runs_run(&runs, 20, 500);
        if (random_one_in(&runs.random, 20))
            region_trim_all(0);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < pieces[i].size; j++)
            check(pieces[i].at[j] == i + 1);
    check(!regions[0].blocked);
    runs_release_all(&runs);
    runs_check(&runs);
}

/* Somebody uses the page in which our break ends and lowers the break to there again: that page is not
   zero. */
Test(region_memory, foreign_bytes_in_our_last_page)
{
    /* A break in mid-page, as a program without address randomization starts with. */
    check(sbrk(1) != (void *)-1);
    for (int round = 0; round < 50; round++) {
        region_policy.top_pad = random_below(&runs.random, 100 * KIB);
        take(random_between(&runs.random, 1, 4));
        size_t size = random_between(&runs.random, 1, 8000);
        unsigned char *foreign = sbrk((intptr_t)size);
        memset(foreign, 0xff, size);
        sbrk(-(intptr_t)size);
        runs_check(&runs); /* looks at all memory that counts as zero */
    }
    while (region_top(&regions[0]) > 0)
        take(1);
    take(20);
    runs_check(&runs);
}

/* Somebody lowers the break into our memory: what is left stays, and is never grown over. */
Test(region_memory, break_below_our_memory)
{
    struct run *low = take(2);
    take(40);
    region_policy.trim_threshold = SIZE_MAX;
    runs_release(&runs, &runs.run[1]);
    low = &runs.run[0];
    uintptr_t end = run_address(low) + 2 * SLICE_SIZE;
    check(sbrk((intptr_t)(end - (uintptr_t)sbrk(0))) != (void *)-1);
    check(!region_grow(&regions[0], &(struct run_request){.slices = 50, .alignment = 1}));
    struct run *run = take(50);
    check(run && !in_break_region(run));
    run_verify(&runs.run[0], 2);
    check((uintptr_t)sbrk(0) == end);
}

/* ---- a blocked break ---- */

Test(region_memory, blocked_from_the_start)
{
    void *page = block_break();
    for (int i = 0; i < 100; i++)
        check(!in_break_region(take(random_between(&runs.random, 1, 20))));
    runs_run(&runs, 1000, 2000);
    munmap(page, os_page_size);
    uintptr_t before = (uintptr_t)sbrk(0);
    struct run *run;
    do
        run = take(50);
    while (!in_break_region(run)); /* when the other region's free memory is used up, the break grows */
    check((uintptr_t)sbrk(0) > before);
    runs_check(&runs);
    runs_release_all(&runs);
    runs_check(&runs);
}

Test(region_memory, blocked_for_a_while)
{
    runs_run(&runs, 300, 300);
    void *page = block_break();
    runs_run(&runs, 1000, 3000);
    check(load_relaxed(region_count) >= 2);
    munmap(page, os_page_size);
    runs_release_all(&runs);
    runs_run(&runs, 1000, 3000);
    runs_release_all(&runs);
    runs_check(&runs);
}

/* Fallback regions grow to their end, and are followed by others. */
Test(region_memory, fallback_after_fallback)
{
    block_break();
    region_policy.top_pad = region_policy.many_pad = 0;
    size_t bytes = 0;
    while (load_relaxed(region_count) < 4) {
        bool zero;
        struct slice *head = region_take(&(struct run_request){.slices = 100, .alignment = 4, .grow = true},
                                         &zero);
        check(head && zero && region_of_slice(head) != &regions[0]);
        run_publish(head, RUN_MEDIUM);
        bytes += 100 * SLICE_SIZE;
    }
    check(bytes >= 128 * MIB);
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
}

/* Threads that find no room at the same time do not each make a region. */
static pthread_barrier_t start;

static void *take_and_release(void *unused)
{
    bool zero;
    pthread_barrier_wait(&start);
    struct slice *head = region_take(&(struct run_request){.slices = 1, .alignment = 1, .grow = true}, &zero);
    check(head);
    run_publish(head, RUN_MEDIUM);
    region_release(head);
    return unused;
}

Test(region_memory, one_region_for_all)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    check(pthread_barrier_init(&start, NULL, THREADS) == 0);
    for (size_t blocked = 0; blocked < 2; blocked++) {
        if (blocked) {
            block_break();
            while (region_top(&regions[0]) > 0)
                take(1);
        }
        for (int i = 0; i < THREADS; i++)
            check(pthread_create(&threads[i], NULL, take_and_release, NULL) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        check(load_relaxed(region_count) == 1 + blocked);
    }
}

Test(region_memory, forbidden_break)
{
    static const unsigned errors[] = {0, EPERM};
    require_seccomp();
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        for (int from_the_start = 0; from_the_start < 2; from_the_start++)
            expect_in_child({
                if (!from_the_start)
                    runs_run(&runs, 300, 300);
                forbid_brk(errors[i]);
                runs_run(&runs, 1000, 2000);
                region_trim_all(0);
                runs_check(&runs);
                runs_release_all(&runs);
                region_trim_all(0);
                runs_check(&runs);
            });
}

/* ---- limits ---- */

Test(region_memory, impossible_requests_leave_nothing_behind)
{
    take(1);
    static const size_t slices[] = {(size_t)1 << 22, (size_t)1 << 24, (size_t)1 << 28,
                                    (size_t)1 << 30, (size_t)1 << 31, (size_t)1 << 32,
                                    (size_t)1 << 40, (size_t)1 << 46, REQUEST_MAX >> SLICE_SHIFT};
    size_t before = virtual_size(), count = load_relaxed(region_count);
    for (size_t i = 0; i < COUNT_OF(slices); i++)
        for (size_t alignment = 1; alignment <= (size_t)1 << 40; alignment <<= 20) {
            if (alignment == 1 && slices[i] <= (size_t)1 << 31 && slices[i] < SIZE_MAX >> SLICE_SHIFT) {
                /* A kernel that overcommits gives all this. */
                uintptr_t there = os_map(slices[i] << SLICE_SHIFT);
                if (there != 0) {
                    os_unmap(there, slices[i] << SLICE_SHIFT);
                    continue;
                }
            }
            bool zero;
            struct run_request request = {.slices = slices[i], .alignment = alignment, .grow = true};
            check(!region_take(&request, &zero));
            check(load_relaxed(region_count) == count && virtual_size() == before);
        }
    runs_check(&runs);
}

/* RLIMIT_DATA counts a private mapping from when it can be written: nothing that was reserved in vain may
   stay. */
Test(region_memory, data_limit)
{
    take(1);
    size_t before = virtual_size(), count = load_relaxed(region_count);
    limit_to(RLIMIT_DATA, 64 * MIB);
    for (int i = 0; i < 100; i++) {
        bool zero;
        check(!region_take(&(struct run_request){.slices = 2000, .alignment = 1, .grow = true}, &zero));
    }
    check(load_relaxed(region_count) == count && virtual_size() == before);
    check(take(10));
    limit_to(RLIMIT_DATA, RLIM_INFINITY);
    check(take(590));
    runs_check(&runs);
}

/* Under RLIMIT_AS everything that is there can be used, then NULL, then, when the limit is raised, on. */
Test(region_memory, address_space_limit)
{
    take(1);
    for (int round = 0; round < 3; round++) {
        limit_to(RLIMIT_AS, virtual_size() + 32 * MIB);
        size_t before = runs.slices;
        while (runs.count < COUNT_OF(runs.run) && take(4))
            ;
        while (runs.count < COUNT_OF(runs.run) && take(1))
            ;
        check(runs.count < COUNT_OF(runs.run));
        check((runs.slices - before) * SLICE_SIZE >= 28 * MIB);
        runs_check(&runs);
        runs_release_all(&runs);
        runs_check(&runs);
        check(take(1));
    }
    limit_to(RLIMIT_AS, RLIM_INFINITY);
    check(take(590));
}

/* A limit that is there from the start makes the map small, and what it cannot describe goes elsewhere. */
Test(region_memory, small_map_is_used_up)
{
    limit_to(RLIMIT_AS, virtual_size() + 64 * MIB);
    size_t before = virtual_size();
    take(1);
    check(virtual_size() - before < 4 * MIB);
    limit_to(RLIMIT_AS, RLIM_INFINITY);
    size_t slices = 0;
    bool zero;
    struct slice *head;
    do {
        head = region_take(&(struct run_request){.slices = 64, .alignment = 1, .grow = true}, &zero);
        check(head && zero);
        run_publish(head, RUN_MEDIUM);
        slices += 64;
    } while (region_of_slice(head) == &regions[0]);
    check(load_relaxed(regions[0].count) <= regions[0].capacity);
    check(slices + 2 * 64 >= regions[0].capacity - 32);
    check(region_valid(&regions[0]) && region_valid(&regions[1]));
    check(take(1) && take(500));
}

/* ---- trimming ---- */

Test(region_memory, trims_the_top_to_the_pad)
{
    region_policy.trim_explicit = true;
    region_policy.trim_threshold = 1 * MIB;
    struct run *fence = take(1);
    uintptr_t fence_end = run_address(fence) + SLICE_SIZE;
    const struct slice *small = take(4)->head;
    release_head(small); /* below the threshold */
    check((uintptr_t)sbrk(0) >= fence_end + 4 * SLICE_SIZE);
    const struct slice *large = take(100)->head;
    check((uintptr_t)sbrk(0) >= fence_end + 100 * SLICE_SIZE);
    release_head(large);
    check((uintptr_t)sbrk(0) == align_up(fence_end + region_policy.top_pad, os_page_size));
    runs_check(&runs);
    check(take(100));
}

Test(region_memory, never_unprompted)
{
    region_policy.trim_threshold = SIZE_MAX;
    take(300);
    for (int i = 0; i < 20; i++) {
        take(20);
        take(1);
    }
    uintptr_t before = (uintptr_t)sbrk(0);
    runs_release_all(&runs);
    check((uintptr_t)sbrk(0) == before && regions[0].discarded == 0);
    check(regions[0].dirty_slices >= 700);
    check(region_trim_all(0)); /* but when asked */
    check((uintptr_t)sbrk(0) < before && regions[0].dirty_slices == 0);
    runs_check(&runs);
}

Test(region_memory, trim_all)
{
    take(10);
    const struct slice *middle = take(20)->head;
    struct run *last = take(1);
    uintptr_t last_end = run_address(last) + SLICE_SIZE;
    uintptr_t middle_at = slice_address(&regions[0], middle);
    release_head(middle);
    check(region_trim_all(128 * KIB));
    check((uintptr_t)sbrk(0) <= last_end + 128 * KIB + os_page_size);
    check(resident_slices(middle_at, 20) == 0 && regions[0].dirty_slices == 0);
    check(region_trim_all(0));
    check((uintptr_t)sbrk(0) == last_end);
    check(!region_trim_all(0) && !region_trim_all(SIZE_MAX));
    runs_check(&runs);
    struct run *again = take(20); /* what went back is zero, and is used again */
    check(run_address(again) == middle_at);
    runs_check(&runs);
}

/* Only if the break is where we left it. */
Test(region_memory, no_trim_under_foreign_memory)
{
    take(1);
    take(200);
    unsigned char *foreign = sbrk(4096);
    memset(foreign, 0xab, 4096);
    uintptr_t before = (uintptr_t)sbrk(0);
    runs_release(&runs, &runs.run[1]);
    region_trim_all(0);
    check((uintptr_t)sbrk(0) == before && foreign[0] == 0xab && foreign[4095] == 0xab);
    check(regions[0].dirty_slices == 0); /* its pages went back all the same */
    runs_check(&runs);
}

/* ---- purging ---- */

/* Free memory beyond the budget goes back, the longest free first; what was freed last stays. */
Test(region_memory, purges_the_oldest)
{
    enum { RUNS = 100, EACH = 4 };
    struct slice *heads[RUNS];
    for (int i = 0; i < RUNS; i++) {
        heads[i] = take(EACH)->head;
        take(1); /* a fence */
    }
    for (int i = 0; i < RUNS; i++)
        release_head(heads[i]);
    const struct region *region = &regions[0];
    check(region->dirty_slices <= purge_budget(&regions[0], live_below(regions_live(), 0)));
    check(region->dirty_slices >= 4 && region->detached == 0);
    size_t kept = 0, turns = 0;
    bool before = false;
    for (int i = 0; i < RUNS; i++) {
        bool resident = resident_slices(slice_address(region, heads[i]), EACH) == EACH;
        check(resident || resident_slices(slice_address(region, heads[i]), EACH) == 0);
        check(resident == dirty_test(region, slice_index(region, heads[i])));
        kept += resident;
        turns += resident != before;
        before = resident;
    }
    check(turns == 1 && before && kept * EACH == region->dirty_slices);
    check(region->discarded == (RUNS - kept) * EACH * SLICE_SIZE);
    runs_check(&runs);
}

/* What a program keeps does not make it larger than it was: neither its heap nor what is mapped beside it. */
Test(region_memory, keeps_more_below_its_peak)
{
    enum { RUNS = 60, EACH = 4 };
    struct slice *heads[RUNS];
    for (int i = 0; i < RUNS; i++) {
        heads[i] = take(EACH)->head;
        take(1); /* a fence */
    }
    for (int i = 0; i < RUNS; i++)
        release_head(heads[i]);
    size_t kept = regions[0].dirty_slices;
    check(kept > run_budget.least && kept <= BUDGET_LIVE_LEAST / run_budget.share);
    store_relaxed(live_beside, (size_t)EACH * SLICE_SIZE);
    regions_settle();
    check(regions[0].dirty_slices == kept); /* fewer are live all the same */
    store_relaxed(live_beside, (size_t)RUNS * EACH * SLICE_SIZE);
    regions_settle();
    check(regions[0].dirty_slices <= run_budget.least && regions[0].dirty_slices > 0);
    runs_check(&runs);
}

/* Churn teaches the budget: after a few rounds nothing goes back any more. */
Test(region_memory, churn_is_left_alone)
{
    enum { RUNS = 100, EACH = 4, ROUNDS = 50 };
    struct slice *heads[RUNS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < RUNS; i++) {
            heads[i] = take(EACH)->head;
            if (round == 0)
                take(1); /* a fence */
        }
        for (int i = 0; i < RUNS; i++)
            release_head(heads[i]);
    }
    check(regions[0].discarded < (size_t)ROUNDS / 5 * RUNS * EACH * SLICE_SIZE);
    check(regret_now(&regions[0].regret, SIZE_MAX) > 0);
    regions[0].regret.decayed_at -= 60 * 1000; /* a minute later a few releases find the regret gone */
    check(regions[0].dirty_slices > budget_beside(0, 0, &run_budget));
    for (int i = 0; i < 4; i++) {
        take(EACH);
        runs_release(&runs, &runs.run[runs.count - 1]);
    }
    check(regions[0].dirty_slices <= budget_beside(0, BUDGET_LIVE_LEAST, &run_budget));
    runs_check(&runs);
}

/* Memory that cannot be given back is not called zero, and ends unprompted return. */
Test(region_memory, locked_memory)
{
    const struct slice *head = take(4)->head;
    take(1);
    uintptr_t address = slice_address(&regions[0], head);
    check(mlock((void *)(address + SLICE_SIZE), SLICE_SIZE) == 0);
    release_head(head);
    region_trim_all(0);
    check(load_relaxed(memory_locked) && regions[0].dirty_slices > 0);
    runs_check(&runs);
    bool zero = true;
    struct slice *again = region_take(&(struct run_request){.slices = 4, .alignment = 1}, &zero);
    check(again == head && !zero);
    run_publish(again, RUN_MEDIUM);
    for (int i = 0; i < 60; i++)
        take(4);
    size_t discarded = regions[0].discarded;
    runs_release_all(&runs);
    check(regions[0].discarded == discarded);
}

/* A run that is partly clean is not called zero, one that is wholly clean is. */
Test(region_memory, zero_promise)
{
    const struct slice *head = take(8)->head;
    take(1);
    release_head(head);
    check(region_trim_all(SIZE_MAX / 2)); /* purges, and leaves the top alone */
    bool zero = false;
    struct slice *part = region_take(&(struct run_request){.slices = 2, .alignment = 1}, &zero);
    check(part == head && zero);
    expect_zero(slice_address(&regions[0], part), 2);
    memset((void *)slice_address(&regions[0], part), 1, SLICE_SIZE);
    run_publish(part, RUN_MEDIUM);
    region_release(part);
    struct slice *whole = region_take(&(struct run_request){.slices = 8, .alignment = 1}, &zero);
    check(whole == head && !zero);
}
