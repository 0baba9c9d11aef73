/* legal-notification.c: no mistake. A timer's notification function (SIGEV_THREAD) runs in a thread that libc
   starts for it: there, free and malloc are as good as anywhere. */
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#include "misuse.h"

static sem_t notified;

static void notify(union sigval value)
{
    free(value.sival_ptr);
    for (size_t i = 0; i < 1000; i++)
        memset(allocate(i), 'x', i);
    sem_post(&notified);
}

int main(void)
{
    require_expected_allocator_for(24);
    sem_init(&notified, 0, 0);
    for (size_t i = 0; i < 50; i++) {
        struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify};
        event.sigev_value.sival_ptr = allocate(i * 5000);
        struct itimerspec once = {.it_value = {0, 1}};
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &once, NULL) != 0)
            return 2;
        while (sem_wait(&notified) != 0)
            ;
        timer_delete(timer);
    }
    return 0;
}
