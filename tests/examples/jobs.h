/* jobs.h: what produce.c and consume.c agree on: a counter and a queue, in a heap that is a file.

   Each program maps the file at an address of its own, so that the blocks cannot hold pointers to each other. A
   brim_ref holds an offset; brim_get makes the pointer of it, brim_set the offset. */
#ifndef JOBS_H
#define JOBS_H

#include <brim.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "say.h"

struct job {
    brim_ref(struct job) next;
    unsigned long number;
    size_t length;
    unsigned char text[];
};

/* The root of the heap. Atomics and process-shared locks work in a heap as in any memory that processes share. */
struct jobs {
    _Atomic unsigned long steps; /* the counter: what both programs have done together */
    pthread_mutex_t lock;        /* of all below */
    brim_ref(struct job) first, last; /* the oldest job, and the newest; `last` counts only while there is a first */
    bool finished;               /* no more will come */
};

static inline void jobs_initialize(struct jobs *jobs)
{
    *jobs = (struct jobs){.steps = 0};
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&jobs->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* brim keeps the heap right when a process is killed; its own data are the program's to keep right. Here the chain from
   `first` is always whole, and what is derived from it is made anew. */
static inline void jobs_lock(struct brim_heap *heap, struct jobs *jobs)
{
    int error = pthread_mutex_lock(&jobs->lock);
    if (error == EOWNERDEAD) {
        struct job *last = brim_get(heap, jobs->first);
        while (last && brim_get(heap, last->next))
            last = brim_get(heap, last->next);
        brim_set(heap, jobs->last, last);
        pthread_mutex_consistent(&jobs->lock);
    } else if (error != 0) {
        fail("the lock of the queue: error %d", error);
    }
}

static inline void jobs_push(struct brim_heap *heap, struct jobs *jobs, struct job *job)
{
    brim_set(heap, job->next, NULL);
    jobs_lock(heap, jobs);
    if (brim_get(heap, jobs->first))
        brim_set(heap, brim_get(heap, jobs->last)->next, job);
    else
        brim_set(heap, jobs->first, job);
    brim_set(heap, jobs->last, job);
    pthread_mutex_unlock(&jobs->lock);
    atomic_fetch_add(&jobs->steps, 1);
}

/* The oldest job, or NULL if there is none now; then `*finished` says whether there may be one later. */
static inline struct job *jobs_pop(struct brim_heap *heap, struct jobs *jobs, bool *finished)
{
    jobs_lock(heap, jobs);
    struct job *job = brim_get(heap, jobs->first);
    if (job)
        brim_set(heap, jobs->first, brim_get(heap, job->next));
    *finished = jobs->finished;
    pthread_mutex_unlock(&jobs->lock);
    if (job)
        atomic_fetch_add(&jobs->steps, 1);
    return job;
}

static inline void sleep_a_millisecond(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

#endif
