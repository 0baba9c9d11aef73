/* malloc_trim: gives back whole pages of free memory wherever they lie, and says whether there were any. */
#include "blocks.h"
#include "fresh.h"

#include <pthread.h>

CONTRACT_OF(malloc_trim);

/* Scattered survivors: most of the pages hold free memory only, but no large piece of it is at the top.
   Unprompted return is off, so that everything is there to be given back. */
FRESH(scattered)
{
    enum { COUNT = 60000, SIZE = 1000, KEEP_EVERY = 64 };
    static char *blocks[COUNT];
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    size_t at_start = resident_bytes();
    for (unsigned i = 0; i < COUNT; i++)
        fill_pattern(blocks[i] = malloc(SIZE), SIZE, i);
    size_t full = resident_bytes();
    check(full - at_start > COUNT * SIZE);
    for (unsigned i = 0; i < COUNT; i++)
        if (i % KEEP_EVERY)
            free(blocks[i]);
    check(resident_bytes() + 2 * MIB > full);

    check(malloc_trim(0) == 1);
    /* Each survivor holds two pages at most. */
    check(resident_bytes() < at_start + COUNT / KEEP_EVERY * 2 * page_size() + 4 * MIB);

    for (unsigned i = 0; i < COUNT; i++)
        if (i % KEEP_EVERY == 0)
            check(verify_pattern(blocks[i], SIZE, i) == SIZE);
    /* What went back is used again as if nothing had happened. */
    for (unsigned i = 0; i < COUNT; i++)
        if (i % KEEP_EVERY)
            fill_pattern(blocks[i] = malloc(SIZE), SIZE, i);
    check(resident_bytes() < full + 8 * MIB);
    for (unsigned i = 0; i < COUNT; i++) {
        check(verify_pattern(blocks[i], SIZE, i) == SIZE);
        free(blocks[i]);
    }
}

Test(malloc_trim, returns_pages_between_survivors)
{
    expect_fresh(scattered);
}

/* Whatever was given back unprompted, after a trim only what is in use is resident. */
FRESH(default_settings)
{
    enum { COUNT = 2000, SIZE = 20000 };
    static char *blocks[COUNT];
    size_t at_start = resident_bytes();
    for (unsigned i = 0; i < COUNT; i++)
        fill_pattern(blocks[i] = malloc(SIZE), SIZE, i);
    for (unsigned i = 0; i < COUNT; i++)
        if (i % 32)
            free(blocks[i]);
    size_t before = resident_bytes();
    int returned = malloc_trim(0);
    size_t after = resident_bytes();
    check(returned == 0 || returned == 1);
    check(returned == 1 || after + MIB > before);
    check(after < at_start + (COUNT / 32 + 1) * (SIZE + 2 * page_size()) + 4 * MIB);
    for (unsigned i = 0; i < COUNT; i += 32)
        check(verify_pattern(blocks[i], SIZE, i) == SIZE);
}

Test(malloc_trim, leaves_only_what_is_in_use)
{
    expect_fresh(default_settings);
}

FRESH(top)
{
    enum { COUNT = 200, SIZE = 100000 };
    static char *blocks[COUNT];
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    for (unsigned i = 0; i < COUNT; i++)
        check(lies_on_break(blocks[i] = malloc(SIZE)));
    char *high = sbrk(0);
    for (unsigned i = COUNT / 2; i < COUNT; i++)
        free(blocks[i]);
    check(sbrk(0) == high);

    check(malloc_trim(4 * MIB) == 1);
    char *padded = sbrk(0), *last = blocks[COUNT / 2 - 1] + SIZE;
    check(padded < high);
    check(padded >= last + 4 * MIB && padded < last + 5 * MIB);
    check(malloc_trim(0) == 1);
    char *low = sbrk(0);
    check(low < padded && low >= last && low < last + MIB);
    /* There is nothing left to return. */
    check(malloc_trim(0) == 0);
    check(sbrk(0) == low);
    for (unsigned i = 0; i < COUNT / 2; i++)
        free(blocks[i]);
}

Test(malloc_trim, lowers_the_break_to_the_pad)
{
    expect_fresh(top);
}

/* A trim is for the memory of every thread, not for the caller's only. A thread may be the one that gives back its
   own, the next time that it asks for memory. */
enum { THREAD_BLOCKS = 6000 };
static pthread_barrier_t barrier;

static void *fill_and_free(void *argument)
{
    static char *all[2][THREAD_BLOCKS];
    char **blocks = all[(intptr_t)argument];
    for (unsigned i = 0; i < THREAD_BLOCKS; i++)
        memset(blocks[i] = malloc(4000), 1, 4000);
    for (unsigned i = 0; i < THREAD_BLOCKS; i++)
        if (i % 50)
            free(blocks[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* the trim is between these two */
    for (size_t size = 16; size <= 64 * 1024; size *= 2)
        free(opaque(malloc(size)));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

FRESH(of_threads)
{
    pthread_t threads[2];
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    pthread_barrier_init(&barrier, NULL, 3);
    size_t at_start = resident_bytes();
    for (intptr_t i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, fill_and_free, (void *)i) == 0);
    pthread_barrier_wait(&barrier);
    malloc_trim(0); /* whether the caller itself had something to give is not the question */
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    check(resident_bytes() < at_start + 2 * THREAD_BLOCKS / 50 * 2 * page_size() + 4 * MIB);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

Test(malloc_trim, reaches_the_memory_of_threads_that_live)
{
    expect_fresh(of_threads);
}
