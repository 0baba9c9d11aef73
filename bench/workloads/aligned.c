/* aligned: posix_memalign with alignments of a vector register, a cache line and a page; a window of 512 live
   blocks of 1 to 2,048 bytes, freed in the order they came. From POSIX's description of posix_memalign and
   the aligned part of rpmalloc's benchmark. One iteration is one block; its alignment is checked. */
#include "../workload.h"

enum { WINDOW = 512 };

static void churn(size_t alignment, void **window, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        void **slot = &window[i % WINDOW];
        free(*slot);
        void *block;
        if (posix_memalign(&block, alignment, 1 + random_below(source, 2048)) != 0)
            workload_fail("out of memory");
        if ((uintptr_t)block % alignment != 0)
            workload_fail("posix_memalign gave a misaligned block");
        *(volatile char *)block = 1;
        *slot = block;
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    size_t alignment = (size_t)gbench_argument(state, 0);
    void *window[WINDOW] = {NULL};
    random_source source = {3};
    churn(alignment, window, &source, gbench_iteration_limit(state) / 10 + WINDOW);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        churn(alignment, window, &source, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    for (int i = 0; i < WINDOW; i++)
        free(window[i]);
}

void register_aligned(void)
{
    static const int64_t alignments[] = {32, 64, 4096};
    static const char *const names[] = {"alignment"};
    for (size_t i = 0; i < COUNT_OF(alignments); i++) {
        gbench *benchmark = gbench_register("aligned", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 1), &alignments[i], 1);
        gbench_iterations(benchmark, scaled(alignments[i] < 4096 ? 3000000 : 1000000, 1000));
    }
}
