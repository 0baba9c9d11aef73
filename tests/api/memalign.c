/* memalign: as aligned_alloc, but an alignment that is no power of two is rounded up to one. */
#include "blocks.h"

CONTRACT_OF(memalign);

Test(memalign, every_power_of_two)
{
    for (size_t alignment = 1; alignment <= 16 * MIB; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            void *block = memalign(alignment, boundary_sizes[i]);
            expect_block(block, alignment, boundary_sizes[i]);
            free(block);
        }
}

Test(memalign, other_alignments_are_rounded_up)
{
    static const size_t alignments[][2] = {
        {0, 16},  {3, 16},    {15, 16},     {17, 32},     {24, 32},     {33, 64},
        {48, 64}, {100, 128}, {1000, 1024}, {3000, 4096}, {4097, 8192}, {70000, 131072},
    };
    enum { COUNT = 20 };
    void *blocks[COUNT];
    for (size_t i = 0; i < COUNT_OF(alignments); i++) {
        for (size_t at = 0; at < COUNT; at++)
            expect_block(blocks[at] = memalign(alignments[i][0], at * 13), alignments[i][1], at * 13);
        for (size_t at = 0; at < COUNT; at++)
            free(blocks[at]);
    }
}

Test(memalign, zero_bytes_are_a_block_of_their_own)
{
    void *one = memalign(64, 0), *other = memalign(64, 0);
    expect_block(one, 64, 0);
    expect_block(other, 64, 0);
    cr_assert_neq(one, other);
    free(one);
    free(other);
}

Test(memalign, the_impossible_fails)
{
    for (size_t alignment = 1; alignment != 0; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
            EXPECT_FAILURE(memalign(opaque_size(alignment), opaque_size(impossible_sizes[i])), ENOMEM);
    EXPECT_FAILURE(memalign(opaque_size((size_t)1 << 62), 1), ENOMEM);
    EXPECT_FAILURE(memalign(opaque_size((size_t)1 << 63), 1), ENOMEM);
    EXPECT_FAILURE(memalign(opaque_size(((size_t)1 << 63) + 1), 1), EINVAL);
    EXPECT_FAILURE(memalign(opaque_size(SIZE_MAX), 1), EINVAL);
}
