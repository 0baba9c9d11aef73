/* thread_churn: a thread per request, as simple servers have it: each thread lives for 100 blocks of 16 to
   1,024 bytes, frees half of them and leaves the rest to a later thread. After the "thread creation and
   destruction" concern in Evans, "A Scalable Concurrent malloc(3) Implementation for FreeBSD" (BSDCan 2006):
   what a thread costs an allocator that keeps per-thread caches, and what becomes of a dead thread's blocks.
   One iteration is one thread's life. */
#include "../workload.h"

enum { BLOCKS = 100, LINEAGES = 4 };

struct request {
    random_source source;
    void *inherited[BLOCKS / 2];
    size_t sizes[BLOCKS / 2];
};

static void *serve(void *argument)
{
    struct request *request = argument;
    void *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = 16 + random_below(&request->source, 1009);
        blocks[i] = stamped_malloc(sizes[i]);
    }
    for (int i = 0; i < BLOCKS / 2; i++) {
        if (request->inherited[i])
            stamped_free(request->inherited[i], request->sizes[i]);
        stamped_free(blocks[2 * i], sizes[2 * i]);
        request->inherited[i] = blocks[2 * i + 1];
        request->sizes[i] = sizes[2 * i + 1];
    }
    return NULL;
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    struct request *requests = private_pages(LINEAGES * sizeof *requests);
    for (int i = 0; i < LINEAGES; i++)
        requests[i].source.state = (uint64_t)i + 1;
    pthread_t threads[LINEAGES];
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int64_t done = 0; done < n; done += LINEAGES) {
            for (int i = 0; i < LINEAGES; i++)
                threads[i] = start_thread(serve, &requests[i]);
            for (int i = 0; i < LINEAGES; i++)
                join_thread(threads[i]);
        }
    }
    for (int i = 0; i < LINEAGES; i++)
        for (int j = 0; j < BLOCKS / 2; j++)
            free(requests[i].inherited[j]);
    release_private_pages(requests, LINEAGES * sizeof *requests);
}

void register_thread_churn(void)
{
    gbench *benchmark = gbench_register("thread_churn", run, NULL);
    gbench_iterations(benchmark, scaled(4000, 10) * LINEAGES);
    gbench_time_unit(gbench_measure_process_cpu_time(gbench_use_real_time(benchmark)), GBENCH_MICROSECOND);
}
