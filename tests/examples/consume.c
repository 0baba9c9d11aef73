/* consume: takes the jobs out of the queue that produce.c fills, in the order in which they came.

     consume FILE

   It waits for the file if it comes first, and ends when the producer has. If it is killed another one can go on: what
   is lost is the job that it had in hand. */
#include "jobs.h"

/* The heap, as soon as somebody has made it. */
static struct brim_heap *wait_for_heap(const char *path)
{
    for (int i = 0; i < 60000; i++) {
        struct brim_heap *heap = brim_heap_open(path, BRIM_HEAP_FILE);
        if (heap)
            return heap;
        bool soon = errno == ENOENT || brim_heap_error() == BRIM_HEAP_EMPTY;
        if (!soon)
            break;
        sleep_a_millisecond();
    }
    fail_heap(path);
}

int main(int count, char **arguments)
{
    if (count != 2)
        fail("usage: consume FILE");
    struct brim_heap *heap = wait_for_heap(arguments[1]);
    struct jobs *jobs;
    while (!(jobs = brim_heap_root(heap)))
        sleep_a_millisecond();

    unsigned long taken = 0, sum = 0, last = 0;
    for (;;) {
        bool finished;
        struct job *job = jobs_pop(heap, jobs, &finished);
        if (!job && finished)
            break;
        if (!job) {
            sleep_a_millisecond();
            continue;
        }
        taken++;
        if (job->number <= last)
            fail("job %lu came after job %lu", job->number, last);
        last = job->number;
        for (size_t i = 0; i < job->length; i++)
            sum += job->text[i];
        brim_heap_free(heap, job); /* a block of the other program's */
    }
    printf("consumed %lu sum %lu steps %lu\n", taken, sum, atomic_load(&jobs->steps));
    brim_heap_close(heap);
    return 0;
}
