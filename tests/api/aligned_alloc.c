/* aligned_alloc: any power of two, sizes that need not be its multiple, NULL and EINVAL for the rest. */
#include "blocks.h"
#include "fresh.h"

CONTRACT_OF(aligned_alloc);

Test(aligned_alloc, every_power_of_two)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
        void *blocks[COUNT_OF(boundary_sizes)];
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t size = boundary_sizes[i];
            expect_block(blocks[i] = aligned_alloc(alignment, size), alignment, size);
            fill_pattern(blocks[i], size, (unsigned)i);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            cr_assert_eq(verify_pattern(blocks[i], boundary_sizes[i], (unsigned)i), boundary_sizes[i]);
            free(blocks[i]);
        }
    }
}

Test(aligned_alloc, zero_bytes_are_a_block_of_their_own)
{
    for (size_t alignment = 1; alignment <= MIB; alignment *= 2) {
        void *one = aligned_alloc(alignment, 0), *other = aligned_alloc(alignment, 0);
        expect_block(one, alignment, 0);
        expect_block(other, alignment, 0);
        cr_assert_neq(one, other);
        free(one);
        free(other);
    }
}

Test(aligned_alloc, impossible_sizes_are_out_of_memory)
{
    for (size_t alignment = 1; alignment <= (size_t)1 << 62; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
            EXPECT_FAILURE(aligned_alloc(opaque_size(alignment), opaque_size(impossible_sizes[i])), ENOMEM);
    EXPECT_FAILURE(aligned_alloc(opaque_size((size_t)1 << 62), 100), ENOMEM);
}

/* C17 made a bad alignment an error, glibc followed in 2.38; before, it was rounded up. On purpose brim
   follows the newer in any case, so this is the one test whose expectation depends on the allocator. */
Test(aligned_alloc, other_alignments_are_invalid)
{
    static const size_t alignments[] = {0, 3, 5, 24, 48, 100, 4095, 4097, 3 * MIB, SIZE_MAX / 2};
    for (size_t i = 0; i < COUNT_OF(alignments); i++) {
        if (brim_is_expected()) {
            EXPECT_FAILURE(aligned_alloc(opaque_size(alignments[i]), 100), EINVAL);
            EXPECT_FAILURE(aligned_alloc(opaque_size(alignments[i]), 0), EINVAL);
            continue;
        }
        errno = 0;
        void *block = aligned_alloc(opaque_size(alignments[i]), 100);
        cr_assert(block || errno == EINVAL || errno == ENOMEM);
        free(block);
    }
    EXPECT_FAILURE(aligned_alloc(opaque_size(((size_t)1 << 63) + 1), 100), EINVAL);
    EXPECT_FAILURE(aligned_alloc(opaque_size(SIZE_MAX), 100), EINVAL);
}

Test(aligned_alloc, blocks_can_be_reallocated)
{
    for (size_t alignment = 16; alignment <= MIB; alignment *= 4)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            size_t size = boundary_sizes[i], grown = size * 2 + 100, shrunk = size / 2 + 1;
            char *block = aligned_alloc(alignment, size);
            fill_pattern(block, size, 4);
            block = realloc(block, grown);
            expect_block(block, 16, 0);
            cr_assert_eq(verify_pattern(block, size, 4), size, "alignment %zu, %zu to %zu", alignment, size,
                         grown);
            block = realloc(block, shrunk);
            cr_assert_eq(verify_pattern(block, shrunk, 4), shrunk);
            free(block);
        }
}

/* Small aligned blocks by the thousand must not cost their alignment each in resident memory for ever. */
Test(aligned_alloc, freed_blocks_are_used_again)
{
    size_t before = resident_bytes();
    for (int round = 0; round < 20000; round++)
        for (size_t alignment = 32; alignment <= 16 * KIB; alignment *= 4) {
            char *block = aligned_alloc(alignment, 3000);
            memset(block, 1, 3000);
            free(block);
        }
    cr_assert_lt(resident_bytes(), before + 16 * MIB);
}

FRESH(aligned_mappings)
{
    for (size_t alignment = 4096; alignment <= 4 * MIB; alignment *= 2) {
        void *block = aligned_alloc(alignment, 40 * MIB);
        check(block && !lies_on_break(block) && is_aligned(block, alignment));
        char *grown = realloc(memset(block, 7, 40 * MIB), 80 * MIB);
        check(grown && first_other_than(grown, 40 * MIB, 7) == 40 * MIB);
        free(grown);
        check(mallinfo2().hblks == 0 && mallinfo2().hblkhd == 0);
    }
}

Test(aligned_alloc, large_ones_are_mappings)
{
    expect_fresh(aligned_mappings);
}
