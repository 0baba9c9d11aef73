/* base.c: align and overflow arithmetic at its limits. */
#include "unit.h"

#include "allocator/base.h"

Test(base, powers_of_two)
{
    check(!is_power_of_two(0));
    for (unsigned shift = 0; shift < 64; shift++) {
        size_t power = (size_t)1 << shift;
        check(is_power_of_two(power));
        check(!is_power_of_two(power + power / 2) || shift == 0);
        check(!is_power_of_two(power - 1) || shift <= 1);
        check(!is_power_of_two(power + 1) || shift == 0);
    }
    check(!is_power_of_two(SIZE_MAX));
}

Test(base, align)
{
    struct random random = random_begin();
    for (unsigned shift = 0; shift < 63; shift++) {
        size_t alignment = (size_t)1 << shift;
        for (int i = 0; i < 1000; i++) {
            uintptr_t n = random_next(&random) >> random_below(&random, 64);
            uintptr_t down = align_down(n, alignment);
            check(down % alignment == 0 && down <= n && n - down < alignment);
            if (n > UINTPTR_MAX - alignment + 1)
                continue; /* would wrap: the caller's business */
            uintptr_t up = align_up(n, alignment);
            check(up % alignment == 0 && up >= n && up - n < alignment);
        }
        check(align_up(0, alignment) == 0);
        check(align_up(1, alignment) == alignment);
        check(align_up(alignment, alignment) == alignment);
        check(align_down(UINTPTR_MAX, alignment) == UINTPTR_MAX - alignment + 1);
    }
}

Test(base, minimum_and_maximum)
{
    check(max_size(0, SIZE_MAX) == SIZE_MAX && max_size(SIZE_MAX, 0) == SIZE_MAX && max_size(3, 3) == 3);
    check(min_size(0, SIZE_MAX) == 0 && min_size(SIZE_MAX, 0) == 0 && min_size(3, 3) == 3);
}

Test(base, geometry)
{
    check(SLICE_SIZE == (size_t)1 << SLICE_SHIFT);
    check(SLICE_SIZE % (size_t)sysconf(_SC_PAGESIZE) == 0);
    check(is_power_of_two(BLOCK_ALIGNMENT) && BLOCK_ALIGNMENT >= alignof(max_align_t));
    check(REQUEST_MAX == SIZE_MAX / 2);
}

/* What a program kept in a block's first word may have any type: the compiler must not reorder around
   that. */
Test(base, block_word_aliases)
{
    struct {
        double number;
    } block = {1.0};
    block_word *word = (block_word *)&block;
    *word = 0;
    check(block.number == 0.0);
    block.number = -0.0;
    check(*word == 1ull << 63);
}
