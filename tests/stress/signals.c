/* signals.c: threads that allocate under a hail of signals. The handlers do only what POSIX lets them; a
   system call of the allocator that is interrupted, an errno that a handler changes and restores, or a red
   zone that the allocator's code would not expect to be used, must make no difference.

   signals [STEPS [NANOSECONDS]] */
#include <semaphore.h>

#include "stress.h"

#define THREADS 4
#define SLOTS 100

static size_t steps, interval;
static _Atomic size_t handled;
static int null_device;
static sem_t posted;

static void handle(int signal_number)
{
    int saved_errno = errno;
    char text[200];
    memset(text, signal_number, sizeof text);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ssize_t written = write(null_device, text, sizeof text);
    (void)written;
    sem_post(&posted);
    atomic_fetch_add(&handled, 1);
    errno = EINTR;
    errno = saved_errno;
}

static void *allocate_under_signals(void *argument)
{
    size_t index = (uintptr_t)argument;
    timer_t timer = interrupt_this_thread(index % 2 == 0 ? SIGPROF : SIGALRM, (long)interval);
    struct random random = random_stream(index);
    struct block slots[SLOTS] = {0};
    for (size_t i = 0; i < steps; i++)
        block_step(slots, SLOTS, 2 * MIB, &random);
    blocks_free(slots, SLOTS);
    timer_delete(timer);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    steps = argument(count, arguments, 1, 60000);
    interval = argument(count, arguments, 2, 30000);
    null_device = open("/dev/null", O_WRONLY | O_CLOEXEC);
    require(null_device >= 0 && sem_init(&posted, 0, 0) == 0);
    struct sigaction action = {.sa_handler = handle};
    sigaction(SIGPROF, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], allocate_under_signals, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    printf("%zu signals handled\n", (size_t)handled);
    require(handled > THREADS);
    return 0;
}
