/* single_size: allocate one block, write its first byte, free it; again and again, for sizes from 8 bytes to
   1 MiB. The pattern of the "tcache hot path" cases of glibc's benchtests (bench-malloc-simple) and of
   gperftools' malloc_bench: the floor below which no program's allocation goes. The sweep crosses the sizes
   at which allocators change their minds (thread cache, page runs, direct mappings). */
#include "../workload.h"

static void pairs(size_t size, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char *block = must(malloc(size));
        *(volatile char *)block = 1;
        free(block);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    size_t size = (size_t)gbench_argument(state, 0);
    pairs(size, gbench_iteration_limit(state) / 10 + 1);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        pairs(size, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
}

void register_single_size(void)
{
    static const char *const names[] = {"size"};
    for (int64_t size = 8; size <= 1 << 20; size *= 2) {
        gbench *benchmark = gbench_register("single_size", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 1), &size, 1);
        gbench_iterations(benchmark, scaled(size <= 2048 ? 8000000 : size <= 65536 ? 1000000 : 100000, 1000));
    }
    gbench *threaded = gbench_register("single_size/threaded", run, NULL);
    gbench_args(gbench_arg_names(threaded, names, 1), (int64_t[]){64}, 1);
    register_threaded(gbench_iterations(threaded, scaled(8000000, 1000)));
}
