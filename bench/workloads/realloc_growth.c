/* realloc_growth: one array grows, as vectors and string builders let it grow. "geometric" doubles from 16
   bytes to 1 MiB; "step" adds 64 bytes at a time up to 32 KiB, with small blocks allocated in between so that
   growing in place has neighbours; "leap" goes from 16 bytes to 4 MiB at once and back. From the description
   of realloc in the manuals of glibc ("Changing Block Size") and from the growth study in folly's FBVector
   documentation. The first and the last word that must survive a move are checked each time. One iteration is
   one array's life. */
#include "../workload.h"

static void *grow(void *block, size_t old_size, size_t size)
{
    /* Words at both ends of the part that must survive. */
    size_t common = (old_size < size ? old_size : size) / sizeof(uint64_t);
    uint64_t *words = block;
    words[0] = 0x0123456789abcdefu;
    words[common - 1] = 0xfedcba9876543210u ^ common;
    uint64_t first = words[0], last = words[common - 1];
    words = must(realloc(block, size));
    if (words[0] != first || words[common - 1] != last)
        workload_fail("realloc lost what was in the block");
    return words;
}

static void geometric(void)
{
    void *block = must(malloc(16));
    for (size_t size = 32; size <= MIB; size *= 2)
        block = grow(block, size / 2, size);
    free(block);
}

static void step(void)
{
    enum { STEP = 64, STEPS = 512 };
    void *neighbours[STEPS];
    void *block = must(malloc(STEP));
    for (size_t i = 1; i < STEPS; i++) {
        block = grow(block, i * STEP, (i + 1) * STEP);
        neighbours[i] = stamped_malloc(48);
    }
    free(block);
    for (size_t i = 1; i < STEPS; i++)
        stamped_free(neighbours[i], 48);
}

static void leap(void)
{
    void *block = must(malloc(16));
    block = grow(block, 16, 4 * MIB);
    block = grow(block, 4 * MIB, 16);
    free(block);
}

static void lives(void (*life)(void), int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        life();
}

struct pattern {
    const char *name;
    void (*life)(void);
    int64_t iterations;
};

static void run(gbench_state *state, void *context)
{
    const struct pattern *pattern = context;
    lives(pattern->life, gbench_iteration_limit(state) / 10 + 1);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        lives(pattern->life, n);
}

void register_realloc_growth(void)
{
    static struct pattern patterns[] = {
        {"realloc/geometric", geometric, 4000}, {"realloc/step", step, 2000}, {"realloc/leap", leap, 20000}};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        gbench *benchmark = gbench_register(patterns[i].name, run, &patterns[i]);
        gbench_iterations(benchmark, scaled(patterns[i].iterations, 10));
        gbench_time_unit(benchmark, GBENCH_MICROSECOND);
    }
}
