/* malloc_usable_size: at least what was asked for, all of it the caller's, the same as long as the block
   lives. */
#include "blocks.h"

CONTRACT_OF(malloc_usable_size);

Test(malloc_usable_size, of_null_is_zero)
{
    errno = 4321;
    cr_assert_eq(malloc_usable_size(opaque(NULL)), 0);
    cr_assert_eq(errno, 4321);
}

/* Blocks of all sizes side by side, each written over its whole usable size, while others come and go. */
Test(malloc_usable_size, is_the_callers_and_constant)
{
    enum { COUNT = COUNT_OF(boundary_sizes), ROUNDS = 8 };
    static struct { void *block; size_t room; } slots[COUNT][ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < COUNT; i++) {
            void *block = malloc(boundary_sizes[i]);
            size_t room = malloc_usable_size(block);
            cr_assert_geq(room, boundary_sizes[i]);
            fill_pattern(block, room, round * 100 + i);
            slots[i][round].block = block;
            slots[i][round].room = room;
        }
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < COUNT; i++) {
            void *block = slots[i][round].block;
            size_t room = slots[i][round].room;
            cr_assert_eq(malloc_usable_size(block), room);
            cr_assert_eq(verify_pattern(block, room, round * 100 + i), room, "%zu bytes usable of %zu asked",
                         room, boundary_sizes[i]);
            free(block);
        }
}

Test(malloc_usable_size, holds_for_aligned_blocks)
{
    for (size_t alignment = 32; alignment <= MIB; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            char *block = memalign(alignment, boundary_sizes[i]),
                 *neighbour = memalign(alignment, boundary_sizes[i]);
            size_t room = malloc_usable_size(block), other_room = malloc_usable_size(neighbour);
            cr_assert_geq(room, boundary_sizes[i]);
            cr_assert_geq(other_room, boundary_sizes[i]);
            memset(block, 1, room);
            memset(neighbour, 2, other_room);
            cr_assert_eq(first_other_than(block, room, 1), room);
            free(block);
            cr_assert_eq(first_other_than(neighbour, other_room, 2), other_room);
            free(neighbour);
        }
}

/* What is usable can also be asked for: the block stays where it is, unless it is a mapping, which may count
   a header of its own against it. */
Test(malloc_usable_size, is_kept_by_a_realloc_within_it)
{
    for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
        char *block = malloc(boundary_sizes[i]);
        size_t room = malloc_usable_size(block);
        fill_pattern(block, room, 3);
        char *same = realloc(block, room);
        cr_assert(same == block || room > 100000, "%zu bytes moved for %zu", boundary_sizes[i], room);
        cr_assert_eq(verify_pattern(same, room, 3), room);
        cr_assert_geq(malloc_usable_size(same), room);
        free(same);
    }
}
