/* reallocarray: realloc of a product that is checked. */
#include "blocks.h"

CONTRACT_OF(reallocarray);

Test(reallocarray, contents_survive)
{
    unsigned *numbers = reallocarray(NULL, 10, sizeof *numbers);
    expect_block(numbers, 16, 10 * sizeof *numbers);
    for (unsigned i = 0; i < 10; i++)
        numbers[i] = i;
    for (size_t count = 20; count <= 2560 * KIB; count *= 2) {
        numbers = reallocarray(numbers, count, sizeof *numbers);
        cr_assert_not_null(numbers);
        cr_assert_geq(malloc_usable_size(numbers), count * sizeof *numbers);
        for (unsigned i = 0; i < 10; i++)
            cr_assert_eq(numbers[i], i);
        numbers[count - 1] = 1;
    }
    numbers = reallocarray(numbers, 10, sizeof *numbers);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(numbers[i], i);
    free(numbers);
}

Test(reallocarray, impossible_products_are_out_of_memory)
{
    static const size_t products[][2] = {
        {SIZE_MAX, 2},           {2, SIZE_MAX},
        {SIZE_MAX, SIZE_MAX},    {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX / 16 + 2, 16}, {(size_t)1 << 32, (size_t)1 << 32},
        {PTRDIFF_MAX, 2},        {PTRDIFF_MAX / 8 + 1, 8},
        {1, SIZE_MAX},           {SIZE_MAX, 1},
        {PTRDIFF_MAX, 1},
    };
    static const size_t sizes[] = {24, 5000, 100000, MIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        char *block = malloc(sizes[at]);
        fill_pattern(block, sizes[at], 6);
        for (size_t i = 0; i < COUNT_OF(products); i++) {
            EXPECT_FAILURE(
                reallocarray(opaque(block), opaque_size(products[i][0]), opaque_size(products[i][1])),
                ENOMEM);
            EXPECT_FAILURE(reallocarray(NULL, opaque_size(products[i][0]), opaque_size(products[i][1])),
                           ENOMEM);
        }
        cr_assert_eq(verify_pattern(block, sizes[at], 6), sizes[at]);
        free(block);
    }
}

Test(reallocarray, to_nothing_frees_and_returns_null)
{
    static const size_t products[][2] = {{0, 8}, {8, 0}, {0, 0}, {0, SIZE_MAX}, {SIZE_MAX, 0}};
    for (size_t i = 0; i < COUNT_OF(products); i++)
        for (size_t at = 0; at < COUNT_OF(boundary_sizes); at++) {
            errno = 4321;
            cr_assert_null(opaque(reallocarray(malloc(boundary_sizes[at]), products[i][0], products[i][1])));
            cr_assert_eq(errno, 4321);
        }
    void *block = reallocarray(NULL, 0, 8);
    expect_block(block, 16, 0);
    free(block);
}
