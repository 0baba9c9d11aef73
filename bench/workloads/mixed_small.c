/* mixed_small: 4,096 live blocks of 16 to 512 bytes, small ones most often; a random one is freed and
   replaced, over and over. The steady state described by Johnstone and Wilson, "The Memory Fragmentation
   Problem: Solved?" (ISMM 1998): real programs ask for few and small sizes and hold a bounded live set. One
   iteration is one free and one malloc. */
#include "../workload.h"

enum { LIVE = 4096 };

struct slot {
    void *block;
    uint32_t size;
};

/* The smaller of two uniform picks: a triangular distribution that leans to the small end. */
static uint32_t pick_size(random_source *source)
{
    uint64_t bits = random_next(source);
    uint32_t a = (uint32_t)bits % 32, b = (uint32_t)(bits >> 32) % 32;
    return 16 * ((a < b ? a : b) + 1);
}

static void replace(struct slot *slots, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        struct slot *slot = &slots[random_below(source, LIVE)];
        if (slot->block)
            stamped_free(slot->block, slot->size);
        slot->size = pick_size(source);
        slot->block = stamped_malloc(slot->size);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    struct slot *slots = private_pages(LIVE * sizeof *slots);
    random_source source = {(uint64_t)gbench_thread_index(state) + 1};
    replace(slots, &source, 4 * LIVE);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        replace(slots, &source, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    for (int i = 0; i < LIVE; i++)
        free(slots[i].block);
    release_private_pages(slots, LIVE * sizeof *slots);
}

void register_mixed_small(void)
{
    register_threaded(gbench_iterations(gbench_register("mixed_small", run, NULL), scaled(6000000, 1000)));
}
