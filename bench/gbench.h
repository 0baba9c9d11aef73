/* gbench.h: Google Benchmark for C. A thin C face over Debian's libbenchmark-dev (1.7): a program registers
   benchmarks, with arguments, thread counts, set-up, tear-down and counters, and gbench_run hands the command
   line to the library, so that all of its own flags work. Nothing here knows of allocators.

   Registration happens in one thread before gbench_run; a registration handle is valid until gbench_run
   returns. What takes a gbench_state may be called from each thread of the benchmark with that thread's own
   state. */
#ifndef GBENCH_H
#define GBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gbench gbench;             /* a registered benchmark */
typedef struct gbench_state gbench_state; /* one thread's run of it */

/* `context` is the pointer given at registration. */
typedef void gbench_function(gbench_state *state, void *context);
/* Set-up and tear-down run in the main thread, outside the timing, once for each run; they may read arguments
   and thread counts, and nothing else, from `state`. */
typedef void gbench_hook(const gbench_state *state, void *context);

typedef enum { GBENCH_NANOSECOND, GBENCH_MICROSECOND, GBENCH_MILLISECOND, GBENCH_SECOND } gbench_unit;

/* How a counter is shown; the flags may be combined. Counters of several threads are added up. */
enum {
    GBENCH_COUNTER_PLAIN = 0,
    GBENCH_COUNTER_RATE = 1 << 0,            /* divided by the seconds of the run */
    GBENCH_COUNTER_AVERAGE_THREADS = 1 << 1, /* divided by the number of threads */
    GBENCH_COUNTER_PER_ITERATION = 1 << 2,   /* divided by the number of iterations */
    GBENCH_COUNTER_INVERT = 1 << 3,          /* reciprocal, after everything else */
};

/* Registers a benchmark. The name is copied. There is room for 256 benchmarks with a set-up or a
   tear-down. */
gbench *gbench_register(const char *name, gbench_function *run, void *context);

/* Each returns its first argument, so that calls can be nested. */
gbench *gbench_args(gbench *benchmark, const int64_t *values, size_t count); /* one run with these */
gbench *gbench_arg_names(gbench *benchmark, const char *const *names, size_t count);
gbench *gbench_range(gbench *benchmark, int64_t first, int64_t last, int multiplier);
gbench *gbench_threads(gbench *benchmark, int threads);           /* one run with so many */
gbench *gbench_iterations(gbench *benchmark, int64_t iterations); /* of each thread, exactly */
gbench *gbench_repetitions(gbench *benchmark, int repetitions);
gbench *gbench_min_time(gbench *benchmark, double seconds);
gbench *gbench_min_warmup_time(gbench *benchmark, double seconds);
gbench *gbench_time_unit(gbench *benchmark, gbench_unit unit);
gbench *gbench_use_real_time(gbench *benchmark);
gbench *gbench_use_manual_time(gbench *benchmark);
gbench *gbench_measure_process_cpu_time(gbench *benchmark); /* of all threads, not of the main one */
gbench *gbench_setup(gbench *benchmark, gbench_hook *hook);
gbench *gbench_teardown(gbench *benchmark, gbench_hook *hook);

/* The timed loop: the first call starts the clock (and waits for all threads) and returns how many iterations
   to run; the next one stops the clock and returns 0. The inner loop is the caller's, so it costs no call:
       for (int64_t n; (n = gbench_loop(state)) > 0;)
           for (int64_t i = 0; i < n; i++) ...; */
int64_t gbench_loop(gbench_state *state);
void gbench_pause_timing(gbench_state *state);
void gbench_resume_timing(gbench_state *state);
void gbench_set_iteration_time(gbench_state *state, double seconds); /* with gbench_use_manual_time */

int64_t gbench_argument(const gbench_state *state, size_t index);
int gbench_thread_count(const gbench_state *state);
int gbench_thread_index(const gbench_state *state);
int64_t gbench_iteration_count(const gbench_state *state); /* of this thread, finished so far */
int64_t gbench_iteration_limit(const gbench_state *state); /* of this thread, asked for */

void gbench_set_items_processed(gbench_state *state, int64_t items);
void gbench_set_bytes_processed(gbench_state *state, int64_t bytes);
void gbench_set_counter(gbench_state *state, const char *name, double value, int flags);
void gbench_set_label(gbench_state *state, const char *label);
/* Reports the run as failed; the loop ends at its next call of gbench_loop. */
void gbench_skip_with_error(gbench_state *state, const char *message);

/* Adds a key and value to the "context" of the library's JSON. */
void gbench_add_context(const char *key, const char *value);

/* Parses the library's flags out of the command line (after it `*argc` counts what is left). */
void gbench_parse(int *argc, char **argv);
/* Runs what the flags select. Returns how many benchmarks ran, or -1 if arguments are left that nobody
   knows. */
int gbench_run(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
