/* pareto: sizes and lifetimes from Pareto distributions: most blocks are small and die young, a few are large
   or live very long, and the two have nothing to do with each other. The shape that Hanson ("Fast Allocation
   and Deallocation of Memory Based on Object Lifetimes", 1990) and Grunwald and Zorn ("Empirical Measurements
   of Six Allocation-Intensive C Programs", 1992) measured in real programs. Sizes: exponent 1.1 from 16
   bytes, cut off at 64 KiB. Lifetimes: exponent 0.9 from 1 allocation, cut off at 262,144. One iteration is
   one allocation and what is due to die then. */
#include <math.h>

#include "../workload.h"

enum { HORIZON = 1 << 18, SAMPLES = 1 << 16 };

/* Blocks due at the same allocation form a list through their own first word. */
struct link {
    struct link *next;
};

static uint32_t sizes[SAMPLES], lifetimes[SAMPLES];

/* Inverse transform sampling, in advance: pow() would cost more than the allocation. */
static uint32_t sample(random_source *source, double least, double most, double exponent)
{
    double value = least * pow(random_unit(source), -1 / exponent);
    return (uint32_t)(value < most ? value : most);
}

static void live(struct link **due, uint64_t *clock, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++, ++*clock) {
        struct link **now = &due[*clock % HORIZON];
        while (*now) {
            struct link *dead = *now;
            *now = dead->next;
            free(dead);
        }
        uint64_t bits = random_next(source);
        struct link *block = must(malloc(sizes[bits % SAMPLES]));
        struct link **when = &due[(*clock + lifetimes[(bits >> 32) % SAMPLES]) % HORIZON];
        block->next = *when;
        *when = block;
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    struct link **due = private_pages(HORIZON * sizeof *due);
    random_source source = {(uint64_t)gbench_thread_index(state) + 1};
    uint64_t clock = 0;
    live(due, &clock, &source, gbench_iteration_limit(state) / 4);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        live(due, &clock, &source, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    for (int i = 0; i < HORIZON; i++) {
        while (due[i]) {
            struct link *dead = due[i];
            due[i] = dead->next;
            free(dead);
        }
    }
    release_private_pages(due, HORIZON * sizeof *due);
}

void register_pareto(void)
{
    random_source source = {19};
    for (int i = 0; i < SAMPLES; i++) {
        sizes[i] = sample(&source, 16, 65536, 1.1);
        lifetimes[i] = sample(&source, 1, HORIZON - 1, 0.9);
    }
    register_threaded(gbench_iterations(gbench_register("pareto", run, NULL), scaled(2500000, 1000)));
}
