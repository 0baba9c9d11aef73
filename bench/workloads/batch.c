/* batch: allocate 1,000 blocks of 64 bytes, then free them all: last first, first first, or in random order.
   The three orders of Durner, Leis and Neumann, "On the Impact of Memory Allocation on High-Performance Query
   Processing" (DaMoN 2019), and of bench-malloc-simple of glibc's benchtests (batches of 25 to 1,600): a free
   list as a stack likes the first, and what a program does is closer to the others. One iteration is one
   block. */
#include "../workload.h"

enum { BATCH = 1000, SIZE = 64, LIFO = 0, FIFO, RANDOM };

static uint32_t random_order[BATCH];

static void batches(int order, int64_t count)
{
    static __thread void *blocks[BATCH];
    for (int64_t done = 0; done < count; done += BATCH) {
        for (int i = 0; i < BATCH; i++)
            blocks[i] = stamped_malloc(SIZE);
        for (int i = 0; i < BATCH; i++) {
            int next = order == LIFO ? BATCH - 1 - i : order == FIFO ? i : (int)random_order[i];
            stamped_free(blocks[next], SIZE);
        }
    }
}

static void run(gbench_state *state, void *context)
{
    int order = (int)(intptr_t)context;
    batches(order, gbench_iteration_limit(state) / 10);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        batches(order, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
}

void register_batch(void)
{
    random_source source = {1};
    shuffle(random_order, BATCH, &source);
    static const char *const names[] = {"batch/lifo", "batch/fifo", "batch/random"};
    for (intptr_t order = LIFO; order <= RANDOM; order++) {
        gbench *benchmark = gbench_register(names[order], run, (void *)order);
        gbench_iterations(benchmark, scaled(4000, 4) * BATCH);
    }
}
