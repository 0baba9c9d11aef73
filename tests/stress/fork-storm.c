/* fork-storm.c: many forks at once from threads that all allocate. Each child verifies what its thread held, frees
   it, allocates with a thread beside or without, and exits; each thread goes on allocating until its child has ended.

   fork-storm [FORKS [THREADS]] */
#include "stress.h"

#include <sched.h>

#define SLOTS 96
#define LARGEST (256 * KIB)

static size_t forks_each;

static void *live_beside(void *stream)
{
    struct random random = random_stream((uintptr_t)stream);
    struct block slots[SLOTS / 4] = {0};
    for (size_t i = 0; i < SLOTS; i++)
        block_step(slots, SLOTS / 4, LARGEST, &random);
    blocks_free(slots, SLOTS / 4);
    return NULL;
}

static _Noreturn void child_main(struct block *slots, struct random *random)
{
    alarm(60); /* a hang is a failure */
    for (size_t i = 0; i < SLOTS; i++)
        block_verify(&slots[i]);
    for (size_t i = 0; i < SLOTS; i++)
        block_step(slots, SLOTS, LARGEST, random);
    if (CHILD_STARTS_THREADS && random_below(random, 16) == 0) {
        pthread_t thread;
        thread_start(&thread, live_beside, (void *)(uintptr_t)(random_next(random) >> 1));
        live_beside((void *)1);
        thread_join(thread);
    }
    blocks_free(slots, SLOTS);
    if (random_below(random, 8) == 0)
        malloc_trim(0);
    if (random_below(random, 8) == 0)
        exit(0); /* exit handlers, too; they are libc's own here */
    _exit(0);
}

static void *fork_and_allocate(void *stream)
{
    struct random random = random_stream((uintptr_t)stream);
    struct block slots[SLOTS] = {0};
    for (size_t i = 0; i < forks_each; i++) {
        for (size_t step = 0; step < SLOTS / 2; step++)
            block_step(slots, SLOTS, LARGEST, &random);
        pid_t child = fork();
        if (child < 0)
            fail("fork: errno %d", errno);
        if (child == 0)
            child_main(slots, &random);
        random_next(&random);
        int status;
        pid_t ended;
        while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
            for (size_t step = 0; step < 8; step++)
                block_step(slots, SLOTS, LARGEST, &random);
            sched_yield();
        }
        if (ended != child || status != 0)
            fail("child ended with status %#x%s", status, WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    }
    blocks_free(slots, SLOTS);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t forks = argument(count, arguments, 1, 10000), thread_count = argument(count, arguments, 2, 8);
    forks_each = (forks + thread_count - 1) / thread_count;
    pthread_t threads[thread_count];
    for (size_t i = 0; i < thread_count; i++)
        thread_start(&threads[i], fork_and_allocate, (void *)(i + 1));
    for (size_t i = 0; i < thread_count; i++)
        thread_join(threads[i]);
    return 0;
}
