/* fork-signal.c: fork in a handler of a signal that interrupted malloc or free. The child does what a child
   in that place may do (async-signal-safe calls, then _exit); both it and the parent must come out of fork,
   and the interrupted call must go on in the parent as if nothing had been.

   fork-signal [FORKS [THREADS]]
   With one thread, the child returns from the handler now and then and goes on as well: nothing was half-way
   but its own call. With more than one, glibc's own malloc hangs here: its fork takes the lock that the
   interrupted call holds. */
#include "stress.h"

#define SLOTS 64

static _Atomic size_t forks_left;
static bool alone;
static volatile sig_atomic_t is_child;
static int children_said[2];

static void child_says_done(void) { _exit(write(children_said[1], "d", 1) == 1 ? 0 : 1); }

static void fork_in_handler(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    size_t left = atomic_load(&forks_left);
    if (is_child || left == 0 || !atomic_compare_exchange_strong(&forks_left, &left, left - 1))
        return;
    pid_t child = fork();
    if (child < 0)
        fail("fork: errno %d", errno);
    if (child == 0) {
        is_child = 1;
        alarm(20);
        if (!alone || left % 4 != 0)
            child_says_done();
    } else {
        require_child_success(child);
    }
    errno = saved_errno;
}

static void *allocate_until_done(void *argument)
{
    timer_t timer = interrupt_this_thread(SIGUSR1, 300000);
    struct random random = random_stream((uintptr_t)argument);
    struct block slots[SLOTS] = {0};
    for (size_t steps_as_child = 0; atomic_load(&forks_left) != 0 && steps_as_child < 2000;
         steps_as_child += is_child)
        block_step(slots, SLOTS, 32 * KIB, &random);
    blocks_free(slots, SLOTS);
    if (is_child)
        child_says_done();
    timer_delete(timer);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t forks = argument(count, arguments, 1, 400), thread_count = argument(count, arguments, 2, 1);
    forks_left = forks;
    alone = thread_count == 1;
    require(pipe(children_said) == 0);
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);

    pthread_t threads[thread_count];
    for (size_t i = 1; i < thread_count; i++)
        thread_start(&threads[i], allocate_until_done, (void *)i);
    allocate_until_done(NULL);
    for (size_t i = 1; i < thread_count; i++)
        thread_join(threads[i]);

    close(children_said[1]);
    size_t done = 0;
    for (char said; read(children_said[0], &said, 1) == 1; done++)
        require(said == 'd');
    require(done == forks);
    return 0;
}
