/* cancelled-threads.c: threads that are cancelled while they allocate. Only deferred cancellation: malloc is
   not async-cancel-safe (POSIX 2.9.5.4). But no allocation function is a cancellation point either: a thread
   with a cancellation pending must come back from each of them, whatever the allocator does inside.

   cancelled-threads [ROUNDS] */
#include "stress.h"

#define THREADS 6
#define SLOTS 32

static _Atomic size_t cleaned, survived;

struct held {
    struct random random;
    struct block blocks[SLOTS];
    bool cancel_pending;
};

static void clean_up(void *argument)
{
    struct held *held = argument;
    blocks_free(held->blocks, SLOTS);
    struct block another;
    block_malloc(&another, 1000, 1);
    block_free(&another);
    free(held);
    atomic_fetch_add(&cleaned, 1);
}

static void *run_until_cancelled(void *argument)
{
    struct held *held = calloc(1, sizeof *held);
    require(held);
    held->random = random_stream((uintptr_t)argument);
    pthread_cleanup_push(clean_up, held);
    for (;;) {
        for (size_t i = 0; i < 50; i++)
            block_step(held->blocks, SLOTS, 512 * KIB, &held->random);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
}

/* Cancels itself first. All that allocates, maps, unmaps and gives back must still complete. */
static void *run_with_cancel_pending(void *argument)
{
    struct held *held = calloc(1, sizeof *held);
    require(held);
    held->random = random_stream((uintptr_t)argument);
    pthread_cleanup_push(clean_up, held);
    pthread_cancel(pthread_self());
    for (size_t i = 0; i < 300; i++)
        block_step(held->blocks, SLOTS, 2 * MIB, &held->random);
    malloc_trim(0);
    atomic_fetch_add(&survived, 1);
    pthread_testcancel();
    fail("a cancelled thread went on");
    pthread_cleanup_pop(1);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t rounds = argument(count, arguments, 1, 120);
    for (size_t round = 0; round < rounds; round++) {
        pthread_t threads[THREADS];
        for (size_t i = 0; i < THREADS; i++)
            thread_start(&threads[i], i % 2 == 0 ? run_until_cancelled : run_with_cancel_pending,
                         (void *)(round * THREADS + i));
        struct timespec moment = {0, (long)(round % 8) * 250000};
        nanosleep(&moment, NULL);
        for (size_t i = 0; i < THREADS; i += 2)
            pthread_cancel(threads[i]);
        for (size_t i = 0; i < THREADS; i++) {
            void *result;
            require(pthread_join(threads[i], &result) == 0);
            require(result == PTHREAD_CANCELED);
        }
    }
    require(survived == rounds * THREADS / 2);
    /* A thread cancelled before its first step has nothing to clean up: it never gets there, testcancel comes
       late. */
    require(cleaned == rounds * THREADS);
    return 0;
}
