/* false_sharing: does the allocator put two threads' objects on one cache line? Both programs of Berger et
   al., "Hoard" (ASPLOS 2000). Active (cache-thrash): each thread allocates an 8-byte object, writes to it
   1,000 times and frees it; the allocator shares a line if it splits one between threads. Passive
   (cache-scratch): the main thread allocates one object per thread, side by side; each thread frees what it
   was given and goes on as above; the allocator shares a line if it gives that memory to the freeing thread.
   One iteration is one object's life. */
#include "../workload.h"

enum { SIZE = 8, WRITES = 1000, ALIGNMENT = 64 };

static void lives(int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        volatile char *object = must(malloc(SIZE));
        for (int write = 0; write < WRITES; write++)
            object[write % SIZE]++;
        free((void *)object);
    }
}

struct worker {
    _Alignas(ALIGNMENT) pthread_t thread;
    void *gift;
    int64_t count;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    free(worker->gift);
    lives(worker->count);
    return NULL;
}

static void run(gbench_state *state, void *context)
{
    int passive = (int)(intptr_t)context;
    int threads = (int)gbench_argument(state, 0);
    struct worker *workers = private_pages((size_t)threads * sizeof *workers);
    for (int t = 0; t < threads; t++)
        workers[t].gift = passive ? must(malloc(SIZE)) : NULL;
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int t = 0; t < threads; t++) {
            workers[t].count = n / threads;
            workers[t].thread = start_thread(work, &workers[t]);
        }
        for (int t = 0; t < threads; t++)
            join_thread(workers[t].thread);
    }
    gbench_set_items_processed(state, gbench_iteration_count(state));
    release_private_pages(workers, (size_t)threads * sizeof *workers);
}

void register_false_sharing(void)
{
    static const char *const names[] = {"false_sharing/active", "false_sharing/passive"};
    static const char *const argument_names[] = {"threads"};
    for (intptr_t passive = 0; passive <= 1; passive++) {
        for (int threads = 1; threads <= core_count(); threads += core_count() > 1 ? core_count() - 1 : 1) {
            gbench *benchmark = gbench_register(names[passive], run, (void *)passive);
            gbench_args(gbench_arg_names(benchmark, argument_names, 1), (int64_t[]){threads}, 1);
            gbench_iterations(benchmark, scaled(240000, 1000));
            gbench_measure_process_cpu_time(gbench_use_real_time(benchmark));
        }
    }
}
