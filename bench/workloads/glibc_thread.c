/* glibc_thread: the pattern of bench-malloc-thread in glibc's benchtests, from its description: each thread
   keeps 1,024 blocks whose sizes follow an inverse-square distribution from 4 to 32,768 bytes; a random one
   is freed and replaced by a new one, sizes and places drawn from tables made in advance. One iteration is
   one replacement. */
#include "../workload.h"

enum { WORKING_SET = 1024, LEAST = 4, MOST = 32768, SIZES = 8000, PLACES = 4 * WORKING_SET };

static uint32_t sizes[SIZES], places[PLACES];

static void replace(void **blocks, uint32_t *step, int64_t count)
{
    for (int64_t i = 0; i < count; i++, ++*step) {
        void **slot = &blocks[places[*step % PLACES]];
        free(*slot);
        *slot = must(malloc(sizes[*step % SIZES]));
        *(volatile char *)*slot = 1;
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    void **blocks = private_pages(WORKING_SET * sizeof *blocks);
    uint32_t step = (uint32_t)gbench_thread_index(state) * 997;
    replace(blocks, &step, 4 * PLACES);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        replace(blocks, &step, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    for (int i = 0; i < WORKING_SET; i++)
        free(blocks[i]);
    release_private_pages(blocks, WORKING_SET * sizeof *blocks);
}

void register_glibc_thread(void)
{
    random_source source = {88};
    /* The inverse of the distribution's integral, between its ends: 1 / (a + u (b - a)) with a = 1/most, b =
       1/least. */
    for (int i = 0; i < SIZES; i++)
        sizes[i] = (uint32_t)(1 / (1.0 / MOST + random_unit(&source) * (1.0 / LEAST - 1.0 / MOST)));
    for (int i = 0; i < PLACES; i++)
        places[i] = random_below(&source, WORKING_SET);
    register_threaded(gbench_iterations(gbench_register("glibc_thread", run, NULL), scaled(8000000, 1000)));
}
