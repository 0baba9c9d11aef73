/* valloc and pvalloc: page aligned; pvalloc gives whole pages. */
#include "blocks.h"

CONTRACT_OF(valloc);

Test(valloc, is_page_aligned)
{
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        void *block = valloc(boundary_sizes[i]);
        expect_block(block, page_size(), boundary_sizes[i]);
        free(block);
    }
}

Test(valloc, pvalloc_gives_whole_pages)
{
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        size_t whole = round_up(boundary_sizes[i], page_size());
        char *block = pvalloc(boundary_sizes[i]), *neighbour = pvalloc(boundary_sizes[i]);
        expect_block(block, page_size(), whole);
        expect_block(neighbour, page_size(), whole);
        fill_pattern(block, whole, 1);
        fill_pattern(neighbour, whole, 2);
        cr_assert_eq(verify_pattern(block, whole, 1), whole);
        free(block);
        cr_assert_eq(verify_pattern(neighbour, whole, 2), whole);
        free(neighbour);
    }
}

Test(valloc, zero_bytes_are_a_block_of_their_own)
{
    void *blocks[] = {valloc(0), valloc(0), pvalloc(0), pvalloc(0)};
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        expect_block(blocks[i], page_size(), 0);
        for (size_t before = 0; before < i; before++)
            cr_assert_neq(blocks[i], blocks[before]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

Test(valloc, impossible_sizes_are_out_of_memory)
{
    for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++) {
        EXPECT_FAILURE(valloc(opaque_size(impossible_sizes[i])), ENOMEM);
        EXPECT_FAILURE(pvalloc(opaque_size(impossible_sizes[i])), ENOMEM);
    }
}
