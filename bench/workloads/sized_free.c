/* sized_free: blocks of 16 to 1,024 bytes given back with their size, as C23's free_sized allows (N2699:
   "Sized memory deallocation"), in a window of 256. Where an allocator has no free_sized the program would
   call free, and so does this one; the label says which. One iteration is one block. */
#include "../workload.h"

extern void free_sized(void *block, size_t size) __attribute__((weak));

enum { WINDOW = 256 };

struct slot {
    void *block;
    size_t size;
};

static void release(struct slot *slot)
{
    unstamp(slot->block, slot->size);
    if (free_sized)
        free_sized(slot->block, slot->size);
    else
        free(slot->block);
}

static void churn(struct slot *window, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        struct slot *slot = &window[i % WINDOW];
        if (slot->block)
            release(slot);
        slot->size = 16 + random_below(source, 1009);
        slot->block = stamped_malloc(slot->size);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    struct slot window[WINDOW] = {{NULL, 0}};
    random_source source = {5};
    churn(window, &source, gbench_iteration_limit(state) / 10 + WINDOW);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        churn(window, &source, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    gbench_set_label(state, free_sized ? "free_sized" : "free");
    for (int i = 0; i < WINDOW; i++)
        release(&window[i]);
}

void register_sized_free(void)
{
    gbench_iterations(gbench_register("sized_free", run, NULL), scaled(5000000, 1000));
}
