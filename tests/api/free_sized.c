/* free_sized and free_aligned_sized (C23): free, with the size that was asked for said again. Weak, for the
   libc underneath need not have them. */
#include "blocks.h"
#include "fresh.h"

#pragma weak free_sized
#pragma weak free_aligned_sized
extern void free_sized(void *block, size_t size);
extern void free_aligned_sized(void *block, size_t alignment, size_t size);

CONTRACT_OF(free_sized);

Test(free_sized, are_defined)
{
    cr_assert(free_sized != NULL);
    cr_assert(free_aligned_sized != NULL);
}

Test(free_sized, of_null_does_nothing)
{
    errno = 4321;
    free_sized(NULL, 0);
    free_sized(NULL, 100);
    free_aligned_sized(NULL, 64, 0);
    free_aligned_sized(NULL, 64, 100);
    cr_assert_eq(errno, 4321);
}

Test(free_sized, takes_every_size_and_keeps_errno)
{
    size_t before = resident_bytes();
    for (int round = 0; round < 20; round++) {
        for (size_t size = 0; size <= 4096; size++) {
            void *blocks[] = {malloc(size), calloc(1, size), realloc(NULL, size)};
            for (size_t i = 0; i < COUNT_OF(blocks); i++) {
                memset(blocks[i], 1, size);
                errno = 4321;
                free_sized(blocks[i], size);
                cr_assert_eq(errno, 4321);
            }
        }
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++)
            free_sized(memset(malloc(boundary_sizes[i]), 1, boundary_sizes[i]), boundary_sizes[i]);
    }
    cr_assert_lt(resident_bytes(), before + 24 * MIB);
}

/* The size is the one last asked for, wherever realloc left the block. */
Test(free_sized, takes_reallocated_blocks)
{
    for (size_t from = 0; from < COUNT_OF(boundary_sizes); from += 3)
        for (size_t to = 0; to < COUNT_OF(boundary_sizes); to++) {
            if (boundary_sizes[from] > MIB && boundary_sizes[to] > MIB)
                continue;
            void *block = realloc(malloc(boundary_sizes[from]), boundary_sizes[to]);
            cr_assert_not_null(block);
            free_sized(block, boundary_sizes[to]);
        }
}

Test(free_sized, takes_aligned_blocks)
{
    size_t before = resident_bytes();
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            errno = 4321;
            free_aligned_sized(aligned_alloc(alignment, boundary_sizes[i]), alignment, boundary_sizes[i]);
            cr_assert_eq(errno, 4321);
        }
        free_aligned_sized(aligned_alloc(alignment, 0), alignment, 0);
    }
    cr_assert_lt(resident_bytes(), before + 24 * MIB);
}

FRESH(at_the_limit)
{
    void *large[100];
    for (size_t i = 0; i < COUNT_OF(large); i++)
        check((large[i] = malloc(5000)));
    limit_address_space(1);
    while (malloc(10))
        ;
    for (size_t i = 0; i < COUNT_OF(large); i += 2)
        free(large[i]);
    void *small = malloc(10), *aligned = aligned_alloc(64, 10);
    check(small && aligned);
    free_sized(small, 10);
    free_aligned_sized(aligned, 64, 10);
}

/* Out of memory, a larger block than usual may have to do. */
Test(free_sized, takes_blocks_from_the_limit)
{
    expect_fresh(at_the_limit);
}
