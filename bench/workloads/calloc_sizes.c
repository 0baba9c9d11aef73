/* calloc_sizes: zeroed blocks that are written to and freed: what clearing costs where memory is used again,
   and whether an allocator knows that fresh memory needs none. The calloc case of bench-malloc-simple in
   glibc's benchtests; the large sizes after the "zeroed memory" note in the mimalloc report (Leijen, Zorn and
   de Moura, MSR-TR-2019-18). */
#include "../workload.h"

static void clear(size_t size, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char *block = must(calloc(1, size));
        if (block[0] | block[size / 2] | block[size - 1])
            workload_fail("calloc gave memory that is not zero");
        memset(block, 0xff, size < 64 ? size : 64);
        block[size / 2] = block[size - 1] = 1;
        free(block);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    size_t size = (size_t)gbench_argument(state, 0);
    clear(size, gbench_iteration_limit(state) / 10 + 1);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        clear(size, n);
    gbench_set_bytes_processed(state, gbench_iteration_count(state) * (int64_t)size);
}

void register_calloc_sizes(void)
{
    static const struct {
        int64_t size, iterations;
    } rows[] = {{64, 6000000}, {1024, 4000000}, {16384, 400000}, {262144, 20000}, {4194304, 1000}};
    static const char *const names[] = {"size"};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        gbench *benchmark = gbench_register("calloc", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 1), &rows[i].size, 1);
        gbench_iterations(benchmark, scaled(rows[i].iterations, 10));
    }
}
