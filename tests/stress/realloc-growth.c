/* realloc-growth.c: blocks that grow from nothing to 256 MiB and shrink back, by doubling, by half, and in
   small steps, alone and with a neighbour in the way: through every size class, the heap's runs and mappings.

   realloc-growth [MIB] */
#include "stress.h"

static size_t largest;

typedef size_t (*next_size)(size_t size);

static size_t doubled(size_t size) { return 2 * size + 1; }
static size_t by_half(size_t size) { return size + size / 2 + 7; }
static size_t by_an_eighth(size_t size) { return size + size / 8 + 1; }

/* Several at a time, so that none can stay where it is for long. */
static void grow_and_shrink(next_size next, size_t blocks_at_once, size_t most)
{
    struct block blocks[4];
    for (size_t i = 0; i < blocks_at_once; i++)
        block_malloc(&blocks[i], i, i);
    for (size_t size = 1; size <= most; size = next(size))
        for (size_t i = 0; i < blocks_at_once; i++)
            block_resize(&blocks[i], size, i);
    for (size_t size = most; size > 16; size = size / 3 * 2)
        for (size_t i = 0; i < blocks_at_once; i++)
            block_resize(&blocks[i], size, i);
    blocks_free(blocks, blocks_at_once);
}

/* A page more each time, as a line reader or a buffer of a compiler grows. Only what is new is filled, and
   all is verified at the end: the pattern is by position. */
static void grow_by_pages(size_t most)
{
    struct block block, neighbours[64] = {0};
    block_malloc(&block, 1, 1);
    block.key = 77;
    for (size_t size = 1; size <= most;) {
        block.start = realloc(block.start, size + 4096);
        require(block.start);
        for (size_t end = size + 4096; size < end; size++) {
            uint64_t word = pattern_word(block.key, size / 8);
            block.start[size] = (unsigned char)(word >> (8 * (size % 8)));
        }
        block_malloc(&neighbours[size / 4096 % 64], size % 3000, size);
        block_free(&neighbours[(size / 4096 + 1) % 64]);
    }
    blocks_free(neighbours, 64);
    block.start[0] = (unsigned char)pattern_word(block.key, 0);
    block.size = most + 1;
    block_free(&block);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    largest = argument(count, arguments, 1, 256) * MIB;
    grow_and_shrink(doubled, 1, largest);
    grow_and_shrink(by_half, 2, largest / 2);
    grow_and_shrink(by_an_eighth, 1, largest / 8);
    grow_and_shrink(by_an_eighth, 4, largest / 16);
    grow_by_pages(largest / 16);
    return 0;
}
