/* migration: phases of threads that swap blocks at random, modelled on the description of mstress in the
   mimalloc report (Leijen, Zorn and de Moura, MSR-TR-2019-18): in each phase every thread allocates
   short-lived and retained objects of 8 to 1,024 bytes and, rarely, some that are 100 or 1,000 times as
   large, frees two of three at random, and exchanges one of four with a table shared by all. At the end of a
   phase the threads die, and half of what is in the table is freed by the main thread. One iteration is one
   phase. Every word of every block is checked when it is freed. */
#include <stdatomic.h>

#include "../workload.h"

enum { TABLE = 1000, ALLOCATIONS = 5000, RETAINED = ALLOCATIONS / 2 };

static _Atomic(uint64_t *) table[TABLE];

/* Word 0 holds the number of words, the others count down from it. */
static uint64_t *allocate_words(size_t words, random_source *source)
{
    uint32_t dice = random_below(source, 10000);
    if (dice < 10)
        words *= 1000;
    else if (dice < 100)
        words *= 100;
    uint64_t *block = must(malloc(words * sizeof *block));
    for (size_t i = 0; i < words; i++)
        block[i] = words - i;
    return block;
}

static void free_words(uint64_t *block)
{
    if (!block)
        return;
    for (size_t i = 0, words = block[0]; i < words; i++)
        if (block[i] != words - i)
            workload_fail("a block was overwritten by another");
    free(block);
}

struct worker {
    pthread_t thread;
    random_source source;
};

static void *phase(void *argument)
{
    random_source *source = &((struct worker *)argument)->source;
    uint64_t **live = must(malloc(ALLOCATIONS * sizeof *live));
    uint64_t **retained = must(malloc(RETAINED * sizeof *retained));
    size_t live_count = 0, retained_count = 0;
    while (live_count < ALLOCATIONS || retained_count < RETAINED) {
        if (retained_count == RETAINED || (live_count < ALLOCATIONS && random_below(source, 2)))
            live[live_count++] = allocate_words((size_t)1 << random_below(source, 5), source);
        else
            retained[retained_count++] = allocate_words((size_t)1 << random_below(source, 7), source);
        if (live_count > 0 && random_below(source, 3) < 2) {
            uint32_t index = random_below(source, (uint32_t)live_count);
            free_words(live[index]);
            live[index] = NULL;
        }
        if (live_count > 0 && random_below(source, 4) == 0) {
            uint32_t index = random_below(source, (uint32_t)live_count);
            /* Acquire and release: the words written by the thread that gave the block away are visible
               here. */
            live[index] = atomic_exchange_explicit(&table[random_below(source, TABLE)], live[index],
                                                   memory_order_acq_rel);
        }
    }
    for (size_t i = 0; i < retained_count; i++)
        free_words(retained[i]);
    for (size_t i = 0; i < live_count; i++)
        free_words(live[i]);
    free(live);
    free(retained);
    return NULL;
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    int threads = (int)gbench_argument(state, 0);
    struct worker workers[threads];
    random_source source = {43};
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int64_t i = 0; i < n; i++) {
            for (int t = 0; t < threads; t++) {
                workers[t].source.state = random_next(&source);
                workers[t].thread = start_thread(phase, &workers[t]);
            }
            for (int t = 0; t < threads; t++)
                join_thread(workers[t].thread);
            for (int slot = 0; slot < TABLE; slot++)
                if (i + 1 == n || random_below(&source, 2))
                    free_words(atomic_exchange(&table[slot], NULL));
        }
    }
}

void register_migration(void)
{
    static const char *const names[] = {"threads"};
    int counts[3];
    size_t count = thread_counts(counts);
    for (size_t i = 0; i < count; i++) {
        gbench *benchmark = gbench_register("migration", run, NULL);
        gbench_args(gbench_arg_names(benchmark, names, 1), (int64_t[]){counts[i]}, 1);
        gbench_iterations(benchmark, scaled(100, 4));
        gbench_time_unit(gbench_measure_process_cpu_time(gbench_use_real_time(benchmark)),
                         GBENCH_MILLISECOND);
    }
}
