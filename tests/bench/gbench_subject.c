/* gbench_subject: uses every function of gbench.h from C; test_gbench.py runs it and reads the library's
   JSON. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gbench.h"

static atomic_int set_ups, tear_downs;
static int context_value = 17;

static void set_up(const gbench_state *state, void *context)
{
    if (*(int *)context != 17 || gbench_argument(state, 0) < 1)
        abort();
    atomic_fetch_add(&set_ups, 1);
}

static void tear_down(const gbench_state *state, void *context)
{
    (void)state;
    (void)context;
    atomic_fetch_add(&tear_downs, 1);
}

static void counted(gbench_state *state, void *context)
{
    if (*(int *)context != 17)
        gbench_skip_with_error(state, "the context got lost");
    int64_t rounds = 0, loops = 0;
    for (int64_t n; (n = gbench_loop(state)) > 0; loops++)
        for (int64_t i = 0; i < n; i++)
            rounds++;
    gbench_set_items_processed(state, 2 * rounds);
    gbench_set_bytes_processed(state, 3 * rounds);
    gbench_set_label(state, "a label");
    gbench_set_counter(state, "sum", (double)(gbench_argument(state, 0) * 100 + gbench_argument(state, 1)),
                       GBENCH_COUNTER_AVERAGE_THREADS);
    gbench_set_counter(state, "rounds", (double)rounds, GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "per_iteration", (double)(7 * rounds), GBENCH_COUNTER_PER_ITERATION);
    gbench_set_counter(state, "rate", (double)rounds, GBENCH_COUNTER_RATE);
    gbench_set_counter(state, "inverse", 4 * gbench_thread_count(state),
                       GBENCH_COUNTER_AVERAGE_THREADS | GBENCH_COUNTER_INVERT);
    gbench_set_counter(state, "loops", (double)loops, GBENCH_COUNTER_AVERAGE_THREADS);
    gbench_set_counter(state, "set_ups", atomic_load(&set_ups), GBENCH_COUNTER_AVERAGE_THREADS);
    if (gbench_iteration_count(state) != rounds || gbench_iteration_limit(state) != rounds ||
        gbench_thread_index(state) >= gbench_thread_count(state))
        gbench_skip_with_error(state, "the counts disagree");
}

static void failing(gbench_state *state, void *context)
{
    (void)context;
    gbench_skip_with_error(state, "as it should");
    while (gbench_loop(state) > 0)
        abort();
}

static void manual(gbench_state *state, void *context)
{
    (void)context;
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        for (int64_t i = 0; i < n; i++)
            gbench_set_iteration_time(state, 0.125);
}

static void paused(gbench_state *state, void *context)
{
    (void)context;
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int64_t i = 0; i < n; i++) {
            gbench_pause_timing(state);
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
            gbench_resume_timing(state);
        }
    }
}

static void quick(gbench_state *state, void *context)
{
    (void)context;
    while (gbench_loop(state) > 0)
        ;
}

int main(int argc, char **argv)
{
    gbench_parse(&argc, argv);
    gbench_add_context("colour", "green");
    static const char *const names[] = {"left", "right"};
    gbench *benchmark = gbench_register("counted", counted, &context_value);
    gbench_arg_names(benchmark, names, 2);
    gbench_args(gbench_args(benchmark, (int64_t[]){1, 2}, 2), (int64_t[]){3, 4}, 2);
    gbench_threads(gbench_threads(benchmark, 1), 2);
    gbench_setup(gbench_teardown(gbench_iterations(benchmark, 1000), tear_down), set_up);
    gbench_use_real_time(gbench_measure_process_cpu_time(benchmark));
    gbench_register("failing", failing, NULL);
    gbench_time_unit(gbench_use_manual_time(gbench_iterations(gbench_register("manual", manual, NULL), 4)),
                     GBENCH_SECOND);
    gbench_time_unit(gbench_use_real_time(gbench_iterations(gbench_register("paused", paused, NULL), 4)),
                     GBENCH_MILLISECOND);
    gbench_range(gbench_iterations(gbench_register("ranged", quick, NULL), 10), 1, 64, 8);
    gbench_repetitions(gbench_iterations(gbench_register("repeated", quick, NULL), 10), 3);
    gbench_min_warmup_time(gbench_min_time(gbench_register("timed", quick, NULL), 0.01), 0.01);
    int ran = gbench_run(argc, argv);
    fprintf(stderr, "ran %d, set up %d, torn down %d\n", ran, set_ups, tear_downs);
    return ran < 0 ? 2 : 0;
}
