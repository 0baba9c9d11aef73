/* atfork-handlers.c: fork handlers that allocate, free and resize, before and after the fork, in parent and child,
   while other threads allocate. Their order is POSIX's whoever else has handlers: prepare handlers in the reverse of
   the order of their registration, the others in that order.

   atfork-handlers [FORKS] */
#include "stress.h"

#define SLOTS 200
#define THREADS 3

static atomic_bool stopping;
static struct block slots[SLOTS];
static struct random dice;
static char calls[100];
static size_t call_count;

static void allocate(char name)
{
    calls[call_count++] = name;
    for (size_t i = 0; i < 100; i++)
        block_step(slots, SLOTS, 256 * KIB, &dice);
    malloc_trim(0);
}

#define HANDLER(n)                                                                                                   \
    static void prepare_##n(void) { allocate("ABC"[n]); }                                                              \
    static void parent_##n(void) { allocate("abc"[n]); }                                                               \
    static void child_##n(void)                                                                                        \
    {                                                                                                                  \
        alarm(20);                                                                                                     \
        allocate("xyz"[n]);                                                                                            \
    }
HANDLER(0)
HANDLER(1)
HANDLER(2)

static void *allocate_all_day(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block own[SLOTS] = {0};
    while (!stopping)
        block_step(own, SLOTS, 512 * KIB, &random);
    blocks_free(own, SLOTS);
    return NULL;
}

static _Noreturn void child_main(void)
{
    require(strcmp(calls, "CBAxyz") == 0);
    for (size_t i = 0; i < 200; i++)
        block_step(slots, SLOTS, 256 * KIB, &dice);
    blocks_free(slots, SLOTS);
    _exit(0);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t forks = argument(count, arguments, 1, 300);
    dice = random_stream(0);
    require(pthread_atfork(prepare_0, parent_0, child_0) == 0);
    require(pthread_atfork(prepare_1, parent_1, child_1) == 0);
    require(pthread_atfork(prepare_2, parent_2, child_2) == 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], allocate_all_day, (void *)(i + 1));
    for (size_t i = 0; i < forks; i++) {
        memset(calls, 0, sizeof calls);
        call_count = 0;
        pid_t child = fork();
        if (child < 0)
            fail("fork: errno %d", errno);
        if (child == 0)
            child_main();
        require(strcmp(calls, "CBAabc") == 0);
        require_child_success(child);
    }
    stopping = true;
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    blocks_free(slots, SLOTS);
    return 0;
}
