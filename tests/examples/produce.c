/* produce: puts jobs into a queue that lies in a file, for another program to take out.

     produce FILE COUNT          and, before, after or at the same time:          consume FILE

   It makes the heap if there is none yet. The jobs are blocks of this program that the other one frees. */
#include "jobs.h"

int main(int count, char **arguments)
{
    if (count != 3)
        fail("usage: produce FILE COUNT");
    struct brim_heap *heap = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options),
        .kind = BRIM_HEAP_FILE,
        .path = arguments[1],
        .limit = (size_t)1 << 30,
        .flags = BRIM_HEAP_OR_OPEN,
    });
    if (!heap)
        fail_heap(arguments[1]);

    /* The root is how the other program finds the queue. It is set when the queue is complete, and not before. */
    struct jobs *jobs = brim_heap_root(heap);
    if (!jobs) {
        jobs = brim_heap_malloc(heap, sizeof *jobs);
        if (!jobs)
            fail_heap("the queue");
        jobs_initialize(jobs);
        brim_heap_set_root(heap, jobs);
    }

    unsigned long sum = 0, jobs_wanted = strtoul(arguments[2], NULL, 10);
    for (unsigned long number = 1; number <= jobs_wanted; number++) {
        size_t length = number * 37 % 1000;
        struct job *job = brim_heap_malloc(heap, sizeof *job + length);
        if (!job)
            fail_heap("a job");
        job->number = number;
        job->length = length;
        for (size_t i = 0; i < length; i++)
            sum += job->text[i] = (unsigned char)(number + i);
        jobs_push(heap, jobs, job);
    }
    jobs_lock(heap, jobs);
    jobs->finished = true;
    pthread_mutex_unlock(&jobs->lock);
    printf("produced %lu sum %lu\n", jobs_wanted, sum);
    brim_heap_close(heap);
    return 0;
}
