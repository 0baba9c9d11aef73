/* server_day: a day of a server in a moment. One phase per hour: the number of live sessions follows the
   daily curve, and the mix of sizes changes with what the hour is for (small queries by day, reports at noon,
   bulk imports at night). Workers take requests that allocate, hold and free; sessions pass between workers.
   After the observation in Hunter et al., "Beyond malloc efficiency to fleet efficiency" (OSDI 2021), that
   the mix of a server drifts over the day and that memory freed in one mix must serve the next. Latency of
   each request's allocations, resident memory over live bytes per hour. One iteration is one request. */
#include <stdatomic.h>

#include "../histogram.h"
#include "footprint.h"

enum { HOURS = 24, SESSIONS = 60000, BLOCKS_PER_REQUEST = 8 };

/* Sessions alive in each hour, in percent of SESSIONS. */
static const uint8_t load_of[HOURS] = {20, 15, 10,  10, 10, 15, 30, 50, 75, 90, 95, 100,
                                       90, 95, 100, 95, 90, 80, 70, 65, 60, 50, 35, 25};

enum mix { QUERIES, REPORTS, IMPORTS };
static const struct {
    uint32_t least, most;
} sizes_of[] = {[QUERIES] = {16, 256}, [REPORTS] = {64, 2048}, [IMPORTS] = {512, 16384}};

static enum mix mix_of(int hour)
{
    return hour < 6 ? IMPORTS : hour >= 11 && hour < 14 ? REPORTS : QUERIES;
}

/* Synchronization: a slot's pointer is exchanged (acquire and release), so a session belongs to whoever took
   it out. */
struct session {
    size_t size;
    char payload[];
};
static _Atomic(struct session *) *sessions;
static _Atomic(size_t) live;

struct worker {
    pthread_t thread;
    random_source source;
    int hour;
    int64_t requests;
    histogram latencies;
};

static void release(struct session *session)
{
    if (!session)
        return;
    atomic_fetch_sub_explicit(&live, session->size,
                              memory_order_relaxed); /* a statistic, nothing hangs on it */
    free(session);
}

static void serve(struct worker *worker)
{
    enum mix mix = mix_of(worker->hour);
    uint32_t least = sizes_of[mix].least, span = sizes_of[mix].most - least + 1;
    void *scratch[BLOCKS_PER_REQUEST];
    uint64_t start = now_nanoseconds();
    for (int i = 0; i < BLOCKS_PER_REQUEST; i++)
        scratch[i] = stamped_malloc(least + random_below(&worker->source, span));
    size_t size = sizeof(struct session) + least + random_below(&worker->source, span);
    struct session *session = must(malloc(size));
    session->size = size;
    for (int i = 0; i < BLOCKS_PER_REQUEST; i++)
        stamped_free(scratch[i], least);
    histogram_add(&worker->latencies, now_nanoseconds() - start);

    memset(session->payload, worker->hour, size - sizeof *session);
    atomic_fetch_add_explicit(&live, size, memory_order_relaxed); /* as above */
    uint32_t slot = random_below(&worker->source, SESSIONS);
    int keep = random_below(&worker->source, 100) < load_of[worker->hour];
    release(atomic_exchange_explicit(&sessions[slot], keep ? session : NULL, memory_order_acq_rel));
    if (!keep)
        release(session);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (int64_t i = 0; i < worker->requests; i++)
        serve(worker);
    return NULL;
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    static footprint f;
    int threads = (int)gbench_argument(state, 0);
    size_t sessions_size = SESSIONS * sizeof *sessions,
           workers_size = (size_t)threads * sizeof(struct worker);
    sessions = private_pages(sessions_size);
    struct worker *workers = private_pages(workers_size);
    memset((void *)sessions, 0, sessions_size);
    memset(workers, 0, workers_size);
    for (int t = 0; t < threads; t++)
        workers[t].source.state = (uint64_t)t + 31;
    footprint_begin(&f);
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int hour = 0; hour < HOURS; hour++) {
            for (int t = 0; t < threads; t++) {
                workers[t].hour = hour;
                workers[t].requests = n / HOURS / threads;
                workers[t].thread = start_thread(work, &workers[t]);
            }
            for (int t = 0; t < threads; t++)
                join_thread(workers[t].thread);
            footprint_step(&f, hour, atomic_load(&live));
        }
    }
    for (int t = 1; t < threads; t++)
        histogram_merge(&workers[0].latencies, &workers[t].latencies);
    histogram_report(&workers[0].latencies, state);
    footprint_report(&f, state, "hour");
    for (int i = 0; i < SESSIONS; i++)
        release(atomic_exchange(&sessions[i], NULL));
    release_private_pages((void *)sessions, sessions_size);
    release_private_pages(workers, workers_size);
}

void register_server_day(void)
{
    static const char *const names[] = {"threads"};
    gbench *benchmark = gbench_register("server_day", run, NULL);
    gbench_args(gbench_arg_names(benchmark, names, 1), (int64_t[]){core_count()}, 1);
    gbench_iterations(benchmark, scaled(2400000, 24000));
    gbench_measure_process_cpu_time(gbench_use_real_time(benchmark));
}
