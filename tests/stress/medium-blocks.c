/* medium-blocks.c: blocks of 32 KiB to 2 MiB, around every threshold that decides where a block comes from.
   Free neighbours must become one again, and blocks must grow into them.

   medium-blocks churn   [STEPS]    sizes near thresholds, the dynamic one moving as mappings are freed
   medium-blocks merge   [ROUNDS]   blocks freed in random order must leave one piece that a large one fits in
   medium-blocks resize  [STEPS]    blocks of the heap that grow and shrink between neighbours */
#include "stress.h"

#define SLOTS 200

static struct block slots[SLOTS];
static struct random dice;

/* At, one below and one above page, slice and threshold multiples. */
static size_t medium_size(void)
{
    size_t unit = (size_t)4096 << random_below(&dice, 6);
    size_t size = unit * random_between(&dice, 32 * KIB / unit + 1, 2 * MIB / unit);
    return size + random_below(&dice, 65) - 32;
}

static void run_churn(size_t steps)
{
    for (size_t i = 0; i < steps; i++) {
        struct block *slot = &slots[random_below(&dice, SLOTS)];
        if (!slot->start)
            block_allocate(slot, medium_size(), &dice);
        else if (random_below(&dice, 5) == 0)
            block_resize(slot, medium_size(), random_next(&dice));
        else
            block_free(slot);
        /* glibc's dynamic threshold goes up with the largest mapping freed, to 32 MiB. */
        if (i % (steps / 8 + 1) == 0) {
            struct block large;
            block_malloc(&large, MIB << (i / (steps / 8 + 1) % 5), 1);
            block_free(&large);
        }
    }
    blocks_free(slots, SLOTS);
}

/* Everything on the break, and nothing given back, so that only merging can make room. */
static void keep_heap(void)
{
    require(mallopt(M_MMAP_THRESHOLD, 1 << 30) == 1);
    require(mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1);
}

static void run_merge(size_t rounds)
{
    keep_heap();
    size_t total = 0;
    for (size_t round = 0; round < rounds; round++) {
        total = 0;
        for (size_t i = 0; i < SLOTS; i++) {
            block_malloc(&slots[i], random_between(&dice, 136 * KIB, 600 * KIB), i);
            total += slots[i].size;
        }
        for (size_t i = SLOTS; i > 0; i--) {
            size_t chosen = random_below(&dice, i);
            block_free(&slots[chosen]);
            slots[chosen] = slots[i - 1];
            slots[i - 1].start = NULL;
        }
        char *top = sbrk(0);
        struct block whole;
        block_malloc(&whole, total - total / 16, round);
        if ((char *)sbrk(0) > top)
            fail("round %zu: %zu KiB were freed in pieces, but %zu KiB made the heap grow by %zu KiB", round,
                 total / KIB, whole.size / KIB, (size_t)((char *)sbrk(0) - top) / KIB);
        block_free(&whole);
    }
}

static void run_resize(size_t steps)
{
    keep_heap();
    size_t in_place = 0, grown = 0;
    for (size_t i = 0; i < SLOTS; i++)
        block_malloc(&slots[i], medium_size(), i);
    for (size_t i = 0; i < steps; i++) {
        struct block *slot = &slots[random_below(&dice, SLOTS)];
        if (!slot->start) {
            block_malloc(slot, medium_size(), i);
        } else if (random_below(&dice, 3) == 0) {
            block_free(slot);
        } else {
            unsigned char *before = slot->start;
            size_t size = slot->size + slot->size / random_between(&dice, 2, 8);
            if (random_below(&dice, 3) == 0 || size > 4 * MIB)
                size = slot->size / random_between(&dice, 2, 8);
            bool grows = size > slot->size;
            block_resize(slot, size, i);
            grown += grows;
            in_place += grows && slot->start == before;
        }
    }
    blocks_free(slots, SLOTS);
    printf("%zu of %zu blocks grew in place\n", in_place, grown);
    require(in_place > 0 && in_place < grown);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    dice = random_stream(0);
    require_expected_allocator_for(24);
    if (strcmp(mode, "churn") == 0)
        run_churn(argument(count, arguments, 2, 12000));
    else if (strcmp(mode, "merge") == 0)
        run_merge(argument(count, arguments, 2, 8));
    else if (strcmp(mode, "resize") == 0)
        run_resize(argument(count, arguments, 2, 8000));
    else
        fail("usage: medium-blocks churn|merge|resize [NUMBER]");
    return 0;
}
