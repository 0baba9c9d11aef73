/* sync.h: the lock excludes, wakes, keeps errno, checks its rank, and changes hands in a forked child. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include <semaphore.h>

enum { THREADS = 4 };

static struct lock lock = {.rank = RANK_REGION};
static pthread_barrier_t start;

/* Plain memory that only the lock protects. */
static struct {
    unsigned long count, copy;
    bool inside;
} shared;

static void shared_add(void)
{
    check(!shared.inside && shared.count == shared.copy);
    shared.inside = true;
    shared.count++;
    shared.copy++;
    shared.inside = false;
}

static void threads_run(void *(*body)(void *))
{
    pthread_t threads[THREADS];
    check(pthread_barrier_init(&start, NULL, THREADS) == 0);
    for (size_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

enum { ROUNDS = 50000 };

static void *contender(void *argument)
{
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        errno = 1000 + i % 7;
        if ((size_t)argument % 2 == 0) {
            lock_acquire(&lock);
        } else {
            while (!lock_try(&lock))
                sched_yield();
        }
        shared_add();
        lock_release(&lock);
        check(errno == 1000 + i % 7);
    }
    return NULL;
}

Test(sync, excludes)
{
    threads_run(contender);
    check(shared.count == (unsigned long)THREADS * ROUNDS);
    check(load_relaxed(lock.word) == 0 && locks_held == 0);
}

/* Whoever waits long enough to sleep is woken, and none is forgotten. */
static void *sleeper(void *argument)
{
    struct timespec nap = {0, 3 * 1000 * 1000};
    pthread_barrier_wait(&start);
    for (int i = 0; i < 20; i++) {
        errno = ERANGE;
        lock_acquire(&lock);
        check(errno == ERANGE);
        shared_add();
        nanosleep(&nap, NULL);
        lock_release(&lock);
    }
    return argument;
}

Test(sync, wakes_every_sleeper)
{
    alarm(60);
    threads_run(sleeper);
    check(shared.count == THREADS * 20 && load_relaxed(lock.word) == 0);
}

Test(sync, try_fails_when_held)
{
    check(lock_try(&lock) && !lock_try(&lock));
    lock_release(&lock);
    lock_acquire(&lock);
    check(!lock_try(&lock));
    lock_release(&lock);
    check(lock_try(&lock));
    lock_release(&lock);
}

/* ---- ranks ---- */

Test(sync, ranks_upward)
{
    static struct lock locks[RANK_COUNT];
    for (unsigned rank = 0; rank < RANK_COUNT; rank++)
        locks[rank].rank = (uint8_t)rank;
    for (unsigned rank = 0; rank < RANK_COUNT; rank++)
        lock_acquire(&locks[rank]);
    for (unsigned rank = RANK_COUNT; rank-- > 0;)
        lock_release(&locks[rank]);
    check(locks_held == 0);
    lock_acquire(&locks[RANK_COUNT - 1]);
    lock_release(&locks[RANK_COUNT - 1]);
    lock_acquire(&locks[0]); /* a lower one after, not while */
    lock_release(&locks[0]);
}

static void expect_order_assertion(unsigned first, unsigned second, bool try)
{
    struct child child = child_begin();
    if (child.process == 0) {
        struct lock held = {.rank = (uint8_t)first}, wanted = {.rank = (uint8_t)second};
        lock_acquire(&held);
        if (!try)
            lock_acquire(&wanted);
        else if (!lock_try(&wanted))
            _exit(1);
        _exit(0);
    }
    char output[1024];
    check(child_end(&child, output, sizeof output) == -SIGABRT);
    check(strstr(output, "lock order"));
}

Test(sync, other_orders_are_asserted)
{
    for (unsigned first = 0; first < RANK_COUNT; first++)
        for (unsigned second = 0; second <= first; second++)
            expect_order_assertion(first, second, second % 2);
}

/* ---- fork ---- */

static sem_t held, enough;

static void *holder(void *argument)
{
    lock_acquire(&lock);
    sem_post(&held);
    sem_wait(&enough);
    lock_release(&lock);
    return argument;
}

static void *waiter(void *argument)
{
    lock_acquire(&lock);
    lock_release(&lock);
    return argument;
}

static void expect_taken_over(void)
{
    check(lock_break_in_child(&lock)); /* what it protects may be half done */
    check(!lock_break_in_child(&lock));
    check(lock_try(&lock));
    lock_release(&lock);
    lock_acquire(&lock);
    lock_release(&lock);
    check(load_relaxed(lock.word) == 0);
}

Test(sync, taken_over_from_a_thread_that_is_gone)
{
    pthread_t threads[2];
    check(sem_init(&held, 0, 0) == 0 && sem_init(&enough, 0, 0) == 0);
    check(pthread_create(&threads[0], NULL, holder, NULL) == 0);
    sem_wait(&held);
    expect_in_child(expect_taken_over());
    check(pthread_create(&threads[1], NULL, waiter, NULL) == 0);
    struct timespec nap = {0, 20 * 1000 * 1000};
    nanosleep(&nap,
              NULL); /* as likely as not it sleeps by now: the lock may be held with or without a waiter */
    expect_in_child(expect_taken_over());
    check(!lock_try(&lock)); /* nothing has changed here */
    sem_post(&enough);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    check(load_relaxed(lock.word) == 0);
}

Test(sync, own_lock_is_kept)
{
    expect_in_child({
        check(!lock_break_in_child(&lock)); /* nobody holds it */
        check(lock_try(&lock));
    });
    lock_acquire(&lock);
    expect_in_child({
        check(!lock_break_in_child(&lock));
        check(!lock_try(&lock));
        lock_release(&lock);
        check(lock_try(&lock));
    });
    lock_release(&lock);
}

/* A lock that was taken and released is nobody's, whoever had it. */
static void *taker(void *argument)
{
    lock_acquire(&lock);
    lock_release(&lock);
    return argument;
}

Test(sync, released_lock_is_nobodys)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, taker, NULL) == 0);
    pthread_join(thread, NULL);
    expect_in_child(check(!lock_break_in_child(&lock)));
    lock_acquire(&lock);
    expect_in_child(check(!lock_break_in_child(&lock)));
    lock_release(&lock);
}
