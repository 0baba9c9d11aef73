/* posix_memalign: the error is returned, and what the pointer held stays. */
#include "blocks.h"

CONTRACT_OF(posix_memalign);

static void *const untouched = (void *)0x1234567;

Test(posix_memalign, every_power_of_two)
{
    for (size_t alignment = sizeof(void *); alignment <= 16 * MIB; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            void *block = untouched;
            cr_assert_eq(posix_memalign(&block, alignment, boundary_sizes[i]), 0);
            expect_block(block, alignment, boundary_sizes[i]);
            free(block);
        }
}

Test(posix_memalign, many_blocks_of_one_alignment)
{
    enum { COUNT = 500 };
    static void *blocks[COUNT];
    for (size_t alignment = 32; alignment <= 16 * KIB; alignment *= 2) {
        for (unsigned i = 0; i < COUNT; i++) {
            cr_assert_eq(posix_memalign(&blocks[i], alignment, i), 0);
            expect_block(blocks[i], alignment, i);
            fill_pattern(blocks[i], i, i);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            cr_assert_eq(verify_pattern(blocks[i], i, i), i);
            free(blocks[i]);
        }
    }
}

Test(posix_memalign, zero_bytes_are_a_block_of_their_own)
{
    void *one = NULL, *other = NULL;
    cr_assert_eq(posix_memalign(&one, 64, 0), 0);
    cr_assert_eq(posix_memalign(&other, 64, 0), 0);
    expect_block(one, 64, 0);
    expect_block(other, 64, 0);
    cr_assert_neq(one, other);
    free(one);
    free(other);
}

static void expect_error(size_t alignment, size_t size, int error)
{
    void *block = untouched;
    errno = 0;
    int returned = posix_memalign(&block, opaque_size(alignment), opaque_size(size));
    cr_assert_eq(returned, error, "posix_memalign(%zu, %zu) returned %d", alignment, size, returned);
    cr_assert_eq(block, untouched);
    if (error == ENOMEM)
        cr_assert_eq(errno, ENOMEM);
}

Test(posix_memalign, bad_alignments_are_invalid)
{
    static const size_t alignments[] = {
        0, 1, 2, 3, 4, 7, 9, 12, 24, 40, 48, 100, 4095, 4097, SIZE_MAX / 2, SIZE_MAX, ((size_t)1 << 63) + 8};
    for (size_t i = 0; i < COUNT_OF(alignments); i++) {
        expect_error(alignments[i], 100, EINVAL);
        expect_error(alignments[i], 0, EINVAL);
        expect_error(alignments[i], SIZE_MAX, EINVAL);
    }
}

Test(posix_memalign, impossible_sizes_are_out_of_memory)
{
    for (size_t alignment = sizeof(void *); alignment != 0; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
            expect_error(alignment, impossible_sizes[i], ENOMEM);
    expect_error((size_t)1 << 62, 1, ENOMEM);
    expect_error((size_t)1 << 63, 1, ENOMEM);
}
