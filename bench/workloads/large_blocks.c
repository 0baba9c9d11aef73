/* large_blocks: a live set of 20 buffers of 100 KiB to 25 MiB (log-uniform), each replaced at random: images,
   network buffers, columns of a data base. After the malloc-large program of the mimalloc-bench collection,
   widened downwards to where allocators begin to map directly. Every page is written once, as its user would,
   so what counts is how often an allocator gives pages back only to fault them in again. One iteration is one
   replacement. */
#include <math.h>

#include "../workload.h"

enum { LIVE = 20 };

static void replace(void **buffers, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        void **slot = &buffers[random_below(source, LIVE)];
        size_t size = (size_t)(100.0 * (double)KIB * pow(256.0, random_unit(source)));
        free(*slot);
        *slot = must(malloc(size));
        touch_pages(*slot, size);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    void *buffers[LIVE] = {NULL};
    random_source source = {42};
    replace(buffers, &source, LIVE);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        replace(buffers, &source, n);
    for (int i = 0; i < LIVE; i++)
        free(buffers[i]);
}

void register_large_blocks(void)
{
    gbench *benchmark = gbench_register("large_blocks", run, NULL);
    gbench_time_unit(gbench_iterations(benchmark, scaled(400, 20)), GBENCH_MICROSECOND);
}
