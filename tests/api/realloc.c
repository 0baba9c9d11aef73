/* realloc: contents kept across every boundary, both ways; the special cases of 0 and NULL; failure that
   leaves the block alone; a mapping that stays one. */
#include "blocks.h"
#include "fresh.h"

#include <sys/resource.h>

CONTRACT_OF(realloc);

Test(realloc, contents_survive_between_any_two_sizes)
{
    for (size_t from = 0; from < COUNT_OF(boundary_sizes); from++)
        for (size_t to = 0; to < COUNT_OF(boundary_sizes); to++) {
            size_t old_size = boundary_sizes[from], new_size = boundary_sizes[to];
            /* The pairs of two very large ones cost more than they tell. */
            if (old_size > MIB && new_size > MIB && from != to)
                continue;
            unsigned seed = (unsigned)(from * 64 + to);
            char *block = malloc(old_size);
            fill_pattern(block, old_size, seed);
            char *moved = realloc(block, new_size);
            cr_assert_not_null(moved);
            cr_assert(is_aligned(moved, 16));
            cr_assert_geq(malloc_usable_size(moved), new_size);
            size_t kept = old_size < new_size ? old_size : new_size;
            cr_assert_eq(verify_pattern(moved, kept, seed), kept, "realloc from %zu to %zu", old_size,
                         new_size);
            memset(moved, 0x11, new_size);
            free(moved);
        }
}

Test(realloc, contents_survive_steady_growth_and_shrinking)
{
    size_t size = 1;
    char *block = malloc(size), *bystander = malloc(100);
    fill_pattern(bystander, 100, 9);
    fill_pattern(block, size, 5);
    while (size < 8 * MIB) {
        size_t larger = size + size / 4 + 1;
        block = realloc(block, larger);
        cr_assert_not_null(block);
        cr_assert_eq(verify_pattern(block, size, 5), size, "growing from %zu to %zu", size, larger);
        fill_pattern(block, size = larger, 5);
        /* Blocks behind it, so that growing in place has an end now and then. */
        free(bystander);
        bystander = malloc(size % 5000);
    }
    while (size > 1) {
        size_t smaller = size - size / 4 - 1;
        block = realloc(block, smaller > 0 ? smaller : 1);
        cr_assert_not_null(block);
        size = smaller > 0 ? smaller : 1;
        cr_assert_eq(verify_pattern(block, size, 5), size, "shrinking to %zu", size);
    }
    free(block);
    free(bystander);
}

/* Several blocks of a size grow by turns into each other's neighbourhood; none may spill over. */
Test(realloc, neighbours_stay_whole)
{
    enum { COUNT = 40 };
    struct { char *block; size_t size; } slots[COUNT];
    unsigned state = 7;
    for (unsigned i = 0; i < COUNT; i++) {
        slots[i].size = 1000;
        slots[i].block = malloc(1000);
        fill_pattern(slots[i].block, 1000, i);
    }
    for (int step = 0; step < 3000; step++) {
        state = state * 1103515245u + 12345u;
        unsigned at = (state >> 8) % COUNT;
        size_t size = 1 + (state >> 12) % (step % 10 ? 70000 : 400000);
        char *block = realloc(slots[at].block, size);
        cr_assert_not_null(block);
        size_t kept = size < slots[at].size ? size : slots[at].size;
        cr_assert_eq(verify_pattern(block, kept, at), kept, "step %d: %zu to %zu bytes", step, slots[at].size,
                     size);
        slots[at].block = block;
        slots[at].size = size;
        fill_pattern(block, size, at);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(verify_pattern(slots[i].block, slots[i].size, i), slots[i].size);
        free(slots[i].block);
    }
}

Test(realloc, of_null_is_malloc)
{
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        void *block = realloc(NULL, boundary_sizes[i]);
        expect_block(block, 16, boundary_sizes[i]);
        free(block);
    }
    void *one = realloc(NULL, 0), *other = realloc(NULL, 0);
    expect_block(one, 16, 0);
    expect_block(other, 16, 0);
    cr_assert_neq(one, other);
    free(one);
    free(other);
}

Test(realloc, to_zero_frees_and_returns_null)
{
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        errno = 4321;
        cr_assert_null(opaque(realloc(malloc(boundary_sizes[i]), 0)));
        cr_assert_eq(errno, 4321, "errno is %d after realloc(%zu bytes, 0)", errno, boundary_sizes[i]);
    }
    /* 2 GiB in all, were they not freed. */
    size_t before = resident_bytes();
    for (int i = 0; i < 50000; i++)
        cr_assert_null(opaque(realloc(memset(malloc(40000), 1, 40000), 0)));
    cr_assert_lt(resident_bytes(), before + 16 * MIB);
}

Test(realloc, failure_leaves_the_block_alone)
{
    static const size_t sizes[] = {1, 24, 1000, 5000, 100000, 131049, MIB, 40 * MIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        char *block = malloc(sizes[at]);
        size_t room = malloc_usable_size(block);
        fill_pattern(block, sizes[at], 3);
        for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
            EXPECT_FAILURE(realloc(opaque(block), opaque_size(impossible_sizes[i])), ENOMEM);
        cr_assert_eq(malloc_usable_size(block), room);
        cr_assert_eq(verify_pattern(block, sizes[at], 3), sizes[at]);
        block = realloc(block, sizes[at] + 1);
        cr_assert_eq(verify_pattern(block, sizes[at], 3), sizes[at]);
        free(block);
    }
    EXPECT_FAILURE(realloc(NULL, opaque_size(SIZE_MAX)), ENOMEM);
}

FRESH(out_of_address_space)
{
    static const size_t sizes[] = {1000, 100000, 4 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *block = malloc(sizes[i]);
        fill_pattern(block, sizes[i], 8);
        struct rlimit limit, saved;
        getrlimit(RLIMIT_AS, &saved);
        limit = (struct rlimit){.rlim_cur = 512 * MIB, .rlim_max = saved.rlim_max};
        check(setrlimit(RLIMIT_AS, &limit) == 0);
        errno = 0;
        check(opaque(realloc(block, 1024 * MIB)) == NULL);
        check(errno == ENOMEM);
        check(verify_pattern(block, sizes[i], 8) == sizes[i]);
        check(setrlimit(RLIMIT_AS, &saved) == 0);
        char *larger = realloc(block, 1024 * MIB);
        check(larger && verify_pattern(larger, sizes[i], 8) == sizes[i]);
        free(larger);
    }
}

Test(realloc, out_of_memory_leaves_the_block_alone)
{
    expect_fresh(out_of_address_space);
}

FRESH(mapping_stays_a_mapping)
{
    size_t page = page_size(), before = mallinfo2().hblks;
    char *block = malloc(8 * MIB);
    check(!lies_on_break(block));
    fill_pattern(block, 8 * MIB, 2);
    static const size_t sizes[] = {8 * MIB - 100, 2 * MIB, 100000, 5000, 100, 3 * MIB, 16 * MIB};
    size_t kept = 8 * MIB;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        block = realloc(block, sizes[i]);
        check(block && !lies_on_break(block));
        kept = sizes[i] < kept ? sizes[i] : kept;
        check(verify_pattern(block, kept, 2) == kept);
        struct mallinfo2 info = mallinfo2();
        check(info.hblks == before + 1);
        /* Whole pages, with at most one more for a header. */
        check(info.hblkhd >= round_up(sizes[i], page) && info.hblkhd <= round_up(sizes[i], page) + page);
    }
    free(block);
    check(mallinfo2().hblks == before);
}

Test(realloc, a_mapping_stays_a_mapping_when_it_shrinks)
{
    expect_fresh(mapping_stays_a_mapping);
}

FRESH(shrinking_returns_pages)
{
    char *mapping = memset(malloc(64 * MIB), 1, 64 * MIB);
    size_t before = resident_bytes();
    mapping = realloc(mapping, MIB);
    check(resident_bytes() + 62 * MIB < before);
    free(mapping);
}

Test(realloc, a_mapping_that_shrinks_gives_its_pages_back)
{
    expect_fresh(shrinking_returns_pages);
}
