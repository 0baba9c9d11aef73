/* malloc: alignment, room, uniqueness, contents that nobody else touches, and refusal of what cannot be. */
#include "blocks.h"
#include "fresh.h"

CONTRACT_OF(malloc);

Test(malloc, every_small_size_is_aligned_and_its_own)
{
    static unsigned char *blocks[4097];
    for (size_t size = 0; size <= 4096; size++) {
        blocks[size] = malloc(size);
        expect_block(blocks[size], 16, size);
        fill_pattern(blocks[size], size, (unsigned)size);
    }
    for (size_t size = 0; size <= 4096; size++) {
        cr_assert_eq(verify_pattern(blocks[size], size, (unsigned)size), size, "a block of %zu bytes changed",
                     size);
        free(blocks[size]);
    }
}

Test(malloc, large_sizes_are_aligned_and_whole)
{
    for (size_t power = 8 * KIB; power <= 64 * MIB; power *= 2)
        for (int offset = -17; offset <= 17; offset++) {
            size_t size = power + (size_t)offset;
            unsigned char *block = malloc(size);
            cr_assert_not_null(block, "no block of %zu bytes", size);
            cr_assert(is_aligned(block, 16), "%p (%zu bytes)", (void *)block, size);
            cr_assert_geq(malloc_usable_size(block), size);
            /* Both ends, and one byte in each page between them for the sizes where that is cheap. */
            size_t step = power <= MIB ? 4096 : power / 16;
            for (size_t at = 0; at < size; at += step)
                block[at] = 1;
            block[size - 1] = 1;
            free(block);
        }
}

Test(malloc, zero_bytes_are_a_block_of_their_own)
{
    enum { COUNT = 1000 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = malloc(0);
        expect_block(blocks[i], 16, 0);
        for (int before = 0; before < i; before++)
            cr_assert_neq(blocks[i], blocks[before]);
    }
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
}

Test(malloc, impossible_sizes_are_out_of_memory)
{
    char *bystander = malloc(1000);
    fill_pattern(bystander, 1000, 1);
    for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
        EXPECT_FAILURE(malloc(opaque_size(impossible_sizes[i])), ENOMEM);
    cr_assert_eq(verify_pattern(bystander, 1000, 1), 1000);
    free(bystander);
    expect_block(bystander = malloc(1000), 16, 1000);
    free(bystander);
}

FRESH(at_the_limit)
{
    enum { LARGE = 2000 };
    static const struct { size_t large, alignment, small; } cases[] = {
        {4000, 16, 16}, {4000, 16, 2000}, {600, 16, 100}, {5000, 64, 64}, {20000, 16, 4000}, {30000, 1024, 1024},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        void *blocks[LARGE];
        for (size_t j = 0; j < LARGE; j++)
            check((blocks[j] = malloc(cases[i].large)));
        limit_address_space(1);
        while (aligned_alloc(cases[i].alignment, cases[i].small))
            ;
        check(errno == ENOMEM);
        for (size_t j = 0; j < LARGE; j += 2)
            free(blocks[j]);
        for (size_t j = 0; j < LARGE; j += 2) {
            blocks[j] = aligned_alloc(cases[i].alignment, cases[i].small);
            check(blocks[j] && is_aligned(blocks[j], cases[i].alignment));
            memset(blocks[j], 1, malloc_usable_size(blocks[j]));
        }
        limit_address_space(RLIM_INFINITY);
        for (size_t j = 0; j < LARGE; j++)
            free(blocks[j]);
    }
}

/* Out of memory, each block that is freed has room for a smaller one at least. */
Test(malloc, freed_blocks_have_room_for_smaller_ones)
{
    expect_fresh(at_the_limit);
}

/* Random sizes and lifetimes; every byte of every block, its whole usable size included, is verified. */
Test(malloc, live_blocks_never_overlap)
{
    enum { SLOTS = 1500, STEPS = 12000 };
    static struct { void *block; size_t size; unsigned seed; } slots[SLOTS];
    unsigned state = 12345;
    for (unsigned step = 0; step < STEPS + SLOTS; step++) {
        state = state * 1103515245u + 12345u;
        unsigned at = step < STEPS ? (state >> 8) % SLOTS : step - STEPS;
        if (slots[at].block) {
            cr_assert_eq(verify_pattern(slots[at].block, slots[at].size, slots[at].seed), slots[at].size,
                         "a block of %zu bytes changed in step %u", slots[at].size, step);
            free(slots[at].block);
            slots[at].block = NULL;
        }
        if (step >= STEPS)
            continue;
        /* Log-uniform up to 64 KiB, so that small blocks are most of them, and now and then a mapping. */
        size_t size = (state >> 16) % ((size_t)1 << (4 + (state >> 4) % 13));
        if (step % 500 == 0)
            size += 200 * KIB;
        slots[at].block = malloc(size);
        expect_block(slots[at].block, 16, size);
        slots[at].size = malloc_usable_size(slots[at].block);
        slots[at].seed = state;
        fill_pattern(slots[at].block, slots[at].size, state);
    }
}
