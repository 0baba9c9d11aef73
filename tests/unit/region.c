/* region.c: runs against a model: taking, aligning, resizing, coalescing, the bins and queues behind them,
   and what a forked child makes of any half-done operation. */
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

static struct runs runs;

static void region_begin(void)
{
    os_init();
    runs.random = random_begin();
}

TestSuite(region, .init = region_begin);

/* ---- the parts ---- */

/* Bins are monotone in length and few enough for the longest run that any region can have. */
Test(region, bins)
{
    unsigned previous = 0;
    for (size_t length = 1; length < NO_SLICE; length += 1 + length / 1000) {
        unsigned bin = bin_of(length);
        check(bin < BIN_COUNT && bin >= previous);
        check(length > 64 || bin == length - 1);
        previous = bin;
    }
}

Test(region, dirty_bits)
{
    enum { SLICES = 400 };
    static uint64_t words[SLICES / 64 + 1];
    bool model[SLICES] = {false};
    struct region region = {.dirty = words};
    for (int step = 0; step < 20000; step++) {
        size_t index = random_below(&runs.random, SLICES),
               length = random_below(&runs.random, SLICES - index + 1);
        switch (random_below(&runs.random, 3)) {
        case 0:
            dirty_set(&region, index, length);
            memset(model + index, true, length);
            break;
        case 1:
            dirty_clear(&region, index, length);
            memset(model + index, false, length);
            break;
        default: {
            size_t count = 0;
            for (size_t i = index; i < index + length; i++) {
                count += model[i];
                check(dirty_test(&region, i) == model[i]);
            }
            check(dirty_count(&region, index, length) == count);
        }
        }
    }
}

/* ---- the whole ---- */

Test(region, random_use)
{
    runs_run(&runs, 6000, 3000);
    runs_release_all(&runs);
    runs_check(&runs);
    check(load_relaxed(region_count) == 1);
}

Test(region, many_small_runs)
{
    struct run_request one = {.slices = 1, .alignment = 1, .many = true, .grow = true};
    for (int round = 0; round < 20; round++) {
        while (runs.count < COUNT_OF(runs.run))
            check(runs_take(&runs, &one));
        runs_check(&runs);
        while (runs.count > random_below(&runs.random, COUNT_OF(runs.run)))
            runs_release(&runs, runs_any(&runs));
        runs_check(&runs);
    }
    runs_release_all(&runs);
    runs_check(&runs);
}

/* Released runs become one with free neighbours on either side, whatever the order. */
Test(region, coalescing)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int order = 0; order < 6; order++) {
        struct run_request request = {.slices = 5, .alignment = 1, .grow = true};
        uintptr_t first = run_address(runs_take(&runs, &request)), at[3];
        struct slice *heads[3];
        for (int i = 0; i < 3; i++) {
            struct run *run = runs_take(&runs, &request);
            heads[i] = run->head;
            at[i] = run_address(run);
            /* One after the other, from one free run. */
            check(at[i] == first + (size_t)(i + 1) * 5 * SLICE_SIZE);
        }
        struct run *fence = runs_take(&runs, &request);
        check(run_address(fence) == first + 20 * SLICE_SIZE);
        for (int i = 0; i < 3; i++)
            for (size_t j = 0; j < runs.count; j++)
                if (runs.run[j].head == heads[orders[order][i]]) {
                    runs_release(&runs, &runs.run[j]);
                    break;
                }
        check(run_kind(heads[0]) == RUN_FREE && run_length(heads[0]) == 15);
        check(run_kind(heads[1]) == RUN_INSIDE && run_kind(heads[2]) == RUN_INSIDE);
        runs_check(&runs);
        runs_release_all(&runs);
        runs_check(&runs);
    }
}

Test(region, resize_takes_the_neighbour_or_leaves_it)
{
    struct run_request request = {.slices = 4, .alignment = 1, .grow = true};
    struct slice *low = runs_take(&runs, &request)->head, *middle = runs_take(&runs, &request)->head;
    struct slice *high = runs_take(&runs, &request)->head;
    check(middle == low + 4 && high == low + 8);
    check(!region_resize(low, 5)); /* the neighbour is live */
    runs_release(&runs, &runs.run[1]);
    check(!region_resize(low, 9)); /* free, but too small */
    runs_check(&runs);
    runs_resize(&runs, &runs.run[0], 6);
    check(run_kind(low + 6) == RUN_FREE && run_length(low + 6) == 2);
    runs_resize(&runs, &runs.run[0], 8); /* to its last slice */
    check(run_kind(low + 8) == RUN_MEDIUM);
    runs_resize(&runs, &runs.run[0], 1);
    check(run_kind(low + 1) == RUN_FREE && run_length(low + 1) == 7);
    runs_resize(&runs, &runs.run[0], 1);
    runs_check(&runs);
}

/* Best fit: the smallest run that will do is taken, not the first. */
Test(region, best_fit)
{
    static const size_t lengths[] = {30, 8, 100, 12, 70, 9, 90};
    struct slice *heads[COUNT_OF(lengths)];
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct run_request request = {.slices = lengths[i], .alignment = 1, .grow = true};
        heads[i] = runs_take(&runs, &request)->head;
        request.slices = 1; /* a fence, so that they do not coalesce */
        runs_take(&runs, &request);
    }
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        for (size_t j = 0; j < runs.count; j++)
            if (runs.run[j].head == heads[i])
                runs_release(&runs, &runs.run[j]);
    static const size_t wanted[][2] = {{8, 1}, {9, 5}, {9, 3}, {65, 4}, {88, 6}};
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        struct run_request request = {.slices = wanted[i][0], .alignment = 1, .grow = false};
        struct run *run = runs_take(&runs, &request);
        check(run && run->head == heads[wanted[i][1]]);
    }
    runs_check(&runs);
}

/* However many runs of about the right size do not fit, a request that needs the top of the region comes
   to an end. */
Test(region, misfits_do_not_hide_the_top)
{
    enum { MISFITS = 80 };
    region_policy.trim_threshold = SIZE_MAX; /* the top stays */
    struct run_request fence = {.slices = 1, .alignment = 1, .grow = true};
    struct run_request fit = {.slices = 95, .alignment = 1, .grow = true};
    struct slice *misfits[MISFITS];
    for (int i = 0; i < MISFITS; i++) {
        struct run_request misfit = {.slices = 80, .alignment = 1, .grow = true};
        misfits[i] = runs_take(&runs, &misfit)->head;
        runs_take(&runs, &fence);
    }
    /* A top of 95 to 110 slices, in the bin of 80 to 95, and first in its list; then the misfits before
       it. */
    region_policy.top_pad = region_policy.many_pad = 0;
    struct run *top = runs_take(&runs, &fit);
    check(slice_index(&regions[0], top->head) + 95 == load_relaxed(regions[0].count));
    runs_release(&runs, top);
    for (int i = 0; i < MISFITS; i++)
        for (size_t j = 0; j < runs.count; j++)
            if (runs.run[j].head == misfits[i])
                runs_release(&runs, &runs.run[j]);
    runs_check(&runs);
    alarm(20);
    check(runs_take(&runs, &fit));
    /* The same by alignment: runs that are long enough, but not at the right place. */
    struct run_request aligned = {.slices = 66, .alignment = 32, .grow = true};
    for (int i = 0; i < 20; i++)
        check(runs_take(&runs, &aligned));
    alarm(0);
    runs_check(&runs);
}

/* Requests that could be mappings leave fresh memory at the top alone, and take what was used before. */
Test(region, spare_top)
{
    struct run_request request = {.slices = 8, .alignment = 1, .grow = true};
    struct run_request spare = {.slices = 2, .alignment = 1, .spare_top = true, .grow = false};
    check(!runs_take(&runs, &spare));
    struct slice *first = runs_take(&runs, &request)->head;
    check(region_top(&regions[0]) >= 2);
    check(!runs_take(&runs, &spare)); /* the pad of the growth */
    request.slices = 1;
    runs_take(&runs, &request); /* a fence */
    runs_release(&runs, &runs.run[0]);
    struct run *again = runs_take(&runs, &spare);
    check(again && again->head == first);
    runs_check(&runs);
}

Test(region, region_of)
{
    struct run_request request = {.slices = 3, .alignment = 1, .grow = true};
    check(region_of(NULL) == NULL && region_of(&request) == NULL);
    struct run *run = runs_take(&runs, &request);
    const struct region *region = &regions[0];
    uintptr_t end = region->base + (load_relaxed(region->count) << SLICE_SHIFT);
    check(region_of((void *)run_address(run)) == region && region_of((void *)region->base) == region);
    check(region_of((void *)(end - 1)) == region && region_of((void *)end) == NULL);
    check(region_of((void *)(region->base - 1)) == NULL && region_of((void *)UINTPTR_MAX) == NULL);
    check(region_of(NULL) == NULL && region_of(&request) == NULL && region_of(regions) == NULL);
}

/* Threads that take and release at the same time, purges and trims included: the tiling is right
   afterwards, and no two of them were ever given the same memory. */
static void *churn(void *argument)
{
    struct runs *own = argument;
    for (int step = 0; step < 3000; step++) {
        if (own->count == 0 || (own->count < 40 && random_one_in(&own->random, 2))) {
            struct run_request request = random_request(&own->random);
            check(runs_take(own, &request));
        } else if (random_one_in(&own->random, 4)) {
            struct run *run = runs_any(own);
            runs_resize(own, run, random_between(&own->random, 1, run->slices + 2));
        } else {
            runs_release(own, runs_any(own));
        }
        if (random_one_in(&own->random, 500))
            region_trim_all(0);
    }
    return NULL;
}

Test(region, threads)
{
    enum { THREADS = 3 };
    static struct runs own[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        own[i].random.state = random_next(&runs.random);
        check(pthread_create(&threads[i], NULL, churn, &own[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        for (; own[i].count > 0; runs.slices += runs.run[runs.count - 1].slices)
            runs.run[runs.count++] = own[i].run[--own[i].count];
    runs_check(&runs);
    runs_release_all(&runs);
    runs_check(&runs);
    check(regions[0].detached == 0);
}
