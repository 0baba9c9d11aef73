/* xmalloc: producers that only allocate and consumers that only free, after Lever and Boreham, "malloc()
   Performance in a Multithreaded Linux Environment" (USENIX 2000). Batches of 4,096 blocks of 64 bytes go
   through a queue of at most 100 batches. Every block is freed by a thread that did not allocate it, and the
   allocating thread frees nothing: an allocator that keeps what a thread frees in that thread grows without
   bound or moves blocks around. One iteration is one block; the peak of memory is as telling as the time. */
#include "../workload.h"

enum { BATCH = 4096, SIZE = 64, QUEUE = 100 };

struct batch {
    struct batch *next;
    void *blocks[BATCH];
};

/* Synchronization: `lock` guards everything. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t not_full, not_empty;
    struct batch *first;
    int length;
    int64_t to_produce, to_consume;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .not_full = PTHREAD_COND_INITIALIZER,
           .not_empty = PTHREAD_COND_INITIALIZER};

static void *produce(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        int64_t mine = queue.to_produce > 0 ? queue.to_produce-- : 0;
        pthread_mutex_unlock(&queue.lock);
        if (!mine)
            return NULL;
        struct batch *batch = must(malloc(sizeof *batch));
        for (int i = 0; i < BATCH; i++)
            batch->blocks[i] = stamped_malloc(SIZE);
        pthread_mutex_lock(&queue.lock);
        while (queue.length >= QUEUE)
            pthread_cond_wait(&queue.not_full, &queue.lock);
        batch->next = queue.first;
        queue.first = batch;
        queue.length++;
        pthread_cond_signal(&queue.not_empty);
        pthread_mutex_unlock(&queue.lock);
    }
}

static void *consume(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        if (queue.to_consume <= 0) {
            pthread_mutex_unlock(&queue.lock);
            return NULL;
        }
        queue.to_consume--;
        while (!queue.first)
            pthread_cond_wait(&queue.not_empty, &queue.lock);
        struct batch *batch = queue.first;
        queue.first = batch->next;
        queue.length--;
        pthread_cond_signal(&queue.not_full);
        pthread_mutex_unlock(&queue.lock);
        for (int i = 0; i < BATCH; i++)
            stamped_free(batch->blocks[i], SIZE);
        free(batch);
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    int producers = (int)gbench_argument(state, 0), consumers = (int)gbench_argument(state, 1);
    pthread_t handles[producers + consumers];
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        queue.to_produce = queue.to_consume = n / BATCH;
        for (int i = 0; i < producers + consumers; i++)
            handles[i] = start_thread(i < producers ? produce : consume, NULL);
        for (int i = 0; i < producers + consumers; i++)
            join_thread(handles[i]);
    }
    gbench_set_items_processed(state, gbench_iteration_count(state));
}

void register_xmalloc(void)
{
    static const char *const names[] = {"producers", "consumers"};
    int64_t half = core_count() > 1 ? core_count() / 2 : 1, most = core_count() > 1 ? core_count() : 2;
    int64_t rows[3][2] = {{half, half}, {1, most}, {most, 1}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        gbench *benchmark = gbench_register("xmalloc", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 2), rows[i], 2);
        gbench_iterations(benchmark, scaled(1200, 12) * BATCH);
        gbench_measure_process_cpu_time(gbench_use_real_time(benchmark));
    }
}
