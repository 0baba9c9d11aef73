/* larson: the server of Larson and Krishnan, "Memory Allocation for Long-Running Server Applications" (ISMM
   1998). Each worker holds 5,000 blocks of 8 to 1,000 bytes and replaces random ones; after 100 rounds over
   them it hands all of them to a successor thread and ends, so that blocks are freed by a thread that did not
   allocate them. The parameters are those in wide use (8, 1000, 5000, 100). One iteration is one replacement.
   "larson/latency" times every pair of free and malloc and reports the distribution; the time of the clock
   itself (some 20 to 50 ns) is in it. */
#include <stdatomic.h>

#include "../histogram.h"

enum { BLOCKS = 5000, LEAST = 8, MOST = 1000, ROUNDS = 100 };

struct worker {
    void *blocks[BLOCKS];
    uint32_t sizes[BLOCKS];
    random_source source;
    int64_t left;
    histogram *latencies; /* NULL: not wanted */
};

static void replace(struct worker *worker)
{
    uint32_t index = random_below(&worker->source, BLOCKS);
    uint32_t size = LEAST + random_below(&worker->source, MOST - LEAST);
    unstamp(worker->blocks[index], worker->sizes[index]);
    uint64_t start = worker->latencies ? now_nanoseconds() : 0;
    free(worker->blocks[index]);
    void *block = must(malloc(size));
    if (worker->latencies)
        histogram_add(worker->latencies, now_nanoseconds() - start);
    stamp(block, size);
    worker->blocks[index] = block;
    worker->sizes[index] = size;
}

static void *generation(void *argument)
{
    struct worker *worker = argument;
    for (int64_t i = 0; i < (int64_t)ROUNDS * BLOCKS && worker->left > 0; i++, worker->left--)
        replace(worker);
    return NULL;
}

/* Generations follow each other; only one of a worker's threads lives at a time. */
static void *dynasty(void *argument)
{
    struct worker *worker = argument;
    while (worker->left > 0)
        join_thread(start_thread(generation, worker));
    return NULL;
}

static void run(gbench_state *state, void *context)
{
    int with_latencies = context != NULL;
    int threads = (int)gbench_argument(state, 0);
    size_t size = (size_t)threads * sizeof(struct worker);
    struct worker *workers = private_pages(size);
    histogram *latencies = private_pages((size_t)threads * sizeof *latencies);
    for (int t = 0; t < threads; t++) {
        workers[t].source.state = (uint64_t)t + 1;
        workers[t].latencies = with_latencies ? &latencies[t] : NULL;
        for (int i = 0; i < BLOCKS; i++) {
            workers[t].sizes[i] = LEAST + random_below(&workers[t].source, MOST - LEAST);
            workers[t].blocks[i] = stamped_malloc(workers[t].sizes[i]);
        }
    }
    pthread_t handles[threads];
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int t = 0; t < threads; t++) {
            workers[t].left = n / threads + 1;
            handles[t] = start_thread(dynasty, &workers[t]);
        }
        for (int t = 0; t < threads; t++)
            join_thread(handles[t]);
    }
    gbench_set_items_processed(state, gbench_iteration_count(state));
    if (with_latencies) {
        for (int t = 1; t < threads; t++)
            histogram_merge(&latencies[0], &latencies[t]);
        histogram_report(&latencies[0], state);
    }
    for (int t = 0; t < threads; t++)
        for (int i = 0; i < BLOCKS; i++)
            free(workers[t].blocks[i]);
    release_private_pages(workers, size);
    release_private_pages(latencies, (size_t)threads * sizeof *latencies);
}

void register_larson(void)
{
    static const char *const names[] = {"threads"};
    int counts[3];
    size_t count = thread_counts(counts);
    for (size_t i = 0; i < count; i++) {
        gbench *benchmark = gbench_register("larson", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 1), (int64_t[]){counts[i]}, 1);
        gbench_iterations(benchmark, scaled(6000000, 10000) * (counts[i] > 1 ? 2 : 1));
        gbench_measure_process_cpu_time(gbench_use_real_time(benchmark));
    }
    gbench *benchmark = gbench_register("larson/latency", run, (void *)1);
    gbench_args(gbench_arg_names(benchmark, names, 1), (int64_t[]){core_count()}, 1);
    gbench_iterations(benchmark, scaled(6000000, 100000));
    gbench_measure_process_cpu_time(gbench_use_real_time(benchmark));
}
