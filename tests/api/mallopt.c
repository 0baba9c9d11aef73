/* mallopt: what it returns, and what the parameters do: see also threshold.c, perturb.c and environment.c. */
#include "break.h"

#include <pthread.h>

CONTRACT_OF(mallopt);

FRESH(return_values)
{
    check(mallopt(M_MXFAST, 0) == 1);
    check(mallopt(M_MXFAST, 64) == 1);
    check(mallopt(M_MXFAST, 160) == 1);
    check(mallopt(M_MXFAST, 161) == 0);
    check(mallopt(M_MXFAST, -1) == 0);
    static const int parameters[] = {M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX,
                                     M_CHECK_ACTION,   M_PERTURB, M_ARENA_TEST,     M_ARENA_MAX};
    static const int values[] = {0, -1, 1, 8, 65536, INT32_MAX, INT32_MIN, 0};
    for (size_t i = 0; i < COUNT_OF(parameters); i++)
        for (size_t at = 0; at < COUNT_OF(values); at++)
            check(mallopt(parameters[i], values[at]) == 1);
    /* Unknown ones are accepted, too. */
    static const int unknown[] = {2, 3, 4, 5, 100, -9, -50, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(unknown); i++)
        check(mallopt(unknown[i], 1) == 1);
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        void *block = malloc(boundary_sizes[i]);
        check(block);
        free(block);
    }
}

Test(mallopt, returns_one_but_for_impossible_fast_sizes)
{
    expect_fresh(return_values);
}

FRESH(default_pad)
{
    size_t growth = growth_of_the_break();
    /* How much more is the allocator's choice; a small program must stay small. */
    check(growth >= 132 * KIB && growth < 2 * MIB);
}

FRESH(large_pad)
{
    check(mallopt(M_TOP_PAD, 4 << 20) == 1);
    size_t growth = growth_of_the_break();
    check(growth >= 4 * MIB && growth < 4 * MIB + 128 * KIB);
}

FRESH(no_pad)
{
    check(mallopt(M_TOP_PAD, 0) == 1);
    size_t growth = growth_of_the_break();
    check(growth >= page_size() && growth < 128 * KIB);
}

Test(mallopt, top_pad_is_added_to_every_growth)
{
    expect_fresh(default_pad);
    expect_fresh(large_pad);
    expect_fresh(no_pad);
}

FRESH(default_trim)
{
    check(lowered_by_frees() > 16000000);
}

FRESH(no_trim)
{
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    check(lowered_by_frees() == 0);
}

FRESH(late_trim)
{
    check(mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1);
    check(lowered_by_frees() == 0);
}

FRESH(trim_keeps_the_pad)
{
    check(mallopt(M_TOP_PAD, 4 << 20) == 1);
    size_t lowered = lowered_by_frees();
    check(lowered > 0);
    char *start = malloc(100), *end = sbrk(0);
    check(end >= start + 4 * MIB);
}

Test(mallopt, trim_threshold_bounds_the_free_top)
{
    expect_fresh(default_trim);
    expect_fresh(no_trim);
    expect_fresh(late_trim);
    expect_fresh(trim_keeps_the_pad);
}

FRESH(mmap_max)
{
    size_t before = mallinfo2().hblks;
    check(mallopt(M_MMAP_MAX, 2) == 1);
    char *blocks[4];
    for (size_t i = 0; i < 4; i++) {
        blocks[i] = malloc(MIB);
        check(lies_on_break(blocks[i]) == (i >= 2));
        fill_pattern(blocks[i], MIB, (unsigned)i);
    }
    check(mallinfo2().hblks == before + 2);
    for (size_t i = 0; i < 4; i++)
        check(verify_pattern(blocks[i], MIB, (unsigned)i) == MIB);
    free(blocks[0]);
    free(blocks[3]);
    check(!lies_on_break(blocks[0] = malloc(4 * MIB)));
    check(mallinfo2().hblks == before + 2);
}

FRESH(no_mappings)
{
    check(mallopt(M_MMAP_MAX, 0) == 1);
    for (size_t size = 200000; size < 64 * MIB; size *= 2)
        check(lies_on_break(malloc(size)));
    check(mallinfo2().hblks == 0);
}

FRESH(negative_maximum)
{
    check(mallopt(M_MMAP_MAX, -1) == 1);
    check(lies_on_break(malloc(MIB)));
    check(mallinfo2().hblks == 0);
}

Test(mallopt, mmap_max_limits_the_mappings)
{
    expect_fresh(mmap_max);
    expect_fresh(no_mappings);
    expect_fresh(negative_maximum);
}

static void *allocate_in_thread(void *unused)
{
    (void)unused;
    for (size_t size = 16; size < 100000; size = size * 2 + 1)
        if (!lies_on_break(malloc(size)))
            return NULL;
    return malloc(100);
}

FRESH(one_arena)
{
    check(mallopt(M_ARENA_MAX, 1) == 1);
    check(malloc(100));
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *block;
        check(pthread_create(&thread, NULL, allocate_in_thread, NULL) == 0);
        check(pthread_join(thread, &block) == 0);
        check(block && lies_on_break(block));
        free(block);
    }
}

Test(mallopt, one_arena_puts_every_thread_on_the_break)
{
    expect_fresh(one_arena);
}
