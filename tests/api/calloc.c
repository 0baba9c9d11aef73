/* calloc: zeroed whatever was there before, the product checked, and a fresh mapping left untouched. */
#include "blocks.h"
#include "fresh.h"

CONTRACT_OF(calloc);

static void expect_zeroed(size_t count, size_t size)
{
    unsigned char *block = calloc(count, size);
    cr_assert_not_null(block, "no block of %zu x %zu", count, size);
    cr_assert(is_aligned(block, 16));
    cr_assert_geq(malloc_usable_size(block), count * size);
    size_t dirty = first_other_than(block, count * size, 0);
    cr_assert_eq(dirty, count * size, "calloc(%zu, %zu): byte %zu is %u", count, size, dirty, block[dirty]);
    memset(block, 0xff, malloc_usable_size(block));
    free(block);
}

/* Several blocks of a size are dirtied and freed, so that their memory is what calloc finds first. */
Test(calloc, zeroed_after_dirty_frees_of_every_small_size)
{
    enum { DIRTY = 12 };
    void *dirty[DIRTY];
    for (size_t size = 1; size <= 4096; size += size < 300 ? 1 : 13) {
        for (int i = 0; i < DIRTY; i++)
            memset(dirty[i] = malloc(size), 0xff, size);
        for (int i = 0; i < DIRTY; i++)
            free(dirty[i]);
        for (int i = 0; i < DIRTY + 2; i++)
            expect_zeroed(1, size);
        expect_zeroed(size, 1);
    }
}

Test(calloc, zeroed_after_dirty_frees_at_every_boundary)
{
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            size_t size = boundary_sizes[i];
            void *first = malloc(size), *second = malloc(size);
            memset(first, 0xff, size);
            memset(second, 0xff, size);
            free(first);
            free(second);
            expect_zeroed(1, size);
            expect_zeroed(size, 1);
            if (size % 8 == 0)
                expect_zeroed(size / 8, 8);
        }
}

/* Free pieces that were dirtied as blocks of one size are cut and joined for another. */
Test(calloc, zeroed_where_other_sizes_were)
{
    enum { COUNT = 200 };
    static void *blocks[COUNT];
    static const size_t sizes[] = {40, 700, 3000, 9000, 20000, 50000, 120000};
    for (size_t before = 0; before < COUNT_OF(sizes); before++)
        for (size_t after = 0; after < COUNT_OF(sizes); after++) {
            for (int i = 0; i < COUNT / 4; i++)
                memset(blocks[i] = malloc(sizes[before]), 0xff, sizes[before]);
            for (int i = 0; i < COUNT / 4; i += 2)
                free(blocks[i]);
            for (int i = 1; i < COUNT / 4; i += 2)
                free(blocks[i]);
            for (int i = 0; i < 20; i++)
                expect_zeroed(1, sizes[after]);
        }
}

/* What was given back to the system and faulted in again must be known zero for good reason only. */
Test(calloc, zeroed_after_trim)
{
    enum { COUNT = 400 };
    static void *blocks[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            memset(blocks[i] = malloc(10000), 0xff, 10000);
        for (int i = 0; i < COUNT; i++)
            if (i % 8)
                free(blocks[i]);
        malloc_trim(0);
        for (int i = 0; i < COUNT; i++)
            if (i % 8) {
                blocks[i] = calloc(10, 1000);
                cr_assert_not_null(blocks[i]);
                cr_assert_eq(first_other_than(blocks[i], 10000, 0), 10000);
                memset(blocks[i], 0xff, 10000);
            }
        for (int i = 0; i < COUNT; i++)
            free(blocks[i]);
    }
}

Test(calloc, nothing_times_anything_is_a_block)
{
    void *blocks[] = {calloc(0, 0), calloc(0, 8), calloc(8, 0), calloc(0, opaque_size(SIZE_MAX)),
                      calloc(opaque_size(SIZE_MAX), 0)};
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        expect_block(blocks[i], 16, 0);
        for (size_t before = 0; before < i; before++)
            cr_assert_neq(blocks[i], blocks[before]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

Test(calloc, impossible_products_are_out_of_memory)
{
    static const size_t products[][2] = {
        {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {2, SIZE_MAX / 2 + 1},
        {SIZE_MAX / 3 + 1, 3}, {(size_t)1 << 32, (size_t)1 << 32}, {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {PTRDIFF_MAX, 2}, {PTRDIFF_MAX / 8 + 1, 8}, {8, PTRDIFF_MAX / 8 + 1}, {PTRDIFF_MAX / 8, 9},
        /* Wraps around to 16 bytes. */
        {SIZE_MAX / 16 + 2, 16}, {16, SIZE_MAX / 16 + 2},
    };
    for (size_t i = 0; i < COUNT_OF(products); i++)
        EXPECT_FAILURE(calloc(opaque_size(products[i][0]), opaque_size(products[i][1])), ENOMEM);
    for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++) {
        EXPECT_FAILURE(calloc(1, opaque_size(impossible_sizes[i])), ENOMEM);
        EXPECT_FAILURE(calloc(opaque_size(impossible_sizes[i]), 1), ENOMEM);
    }
}

FRESH(mapping_stays_untouched)
{
    size_t before = resident_bytes();
    unsigned char *block = calloc(64, MIB);
    check(block && !lies_on_break(block));
    check(resident_bytes() < before + MIB);
    for (size_t at = 0; at < 64 * MIB; at += 4096)
        check(block[at] == 0);
    free(block);
}

Test(calloc, a_fresh_mapping_is_not_cleared_by_hand)
{
    expect_fresh(mapping_stays_untouched);
}
