/* calloc-zero.c: calloc's blocks are zero, whatever was in that memory before. An allocator that skips
   clearing what it takes to be fresh must know exactly what is: dirtied blocks of every size are freed, here
   or by another thread, resized, given back to the system, merged and cut anew, and then come back by calloc.

   calloc-zero [ROUNDS [THREADS [LARGEST]]]  LARGEST in bytes */
#include "stress.h"

#define BATCH 24

static size_t rounds, largest;

/* Somebody else frees some of a thread's blocks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *left_behind[512];

static void free_elsewhere(void *p, struct random *random)
{
    size_t slot = random_below(random, 512);
    pthread_mutex_lock(&lock);
    void *others = left_behind[slot];
    left_behind[slot] = p;
    pthread_mutex_unlock(&lock);
    free(others);
}

static unsigned char *dirty(unsigned char *p)
{
    require(p);
    memset(p, 0xa5, malloc_usable_size(p));
    return p;
}

static void check_size(size_t size, struct random *random)
{
    unsigned char *blocks[BATCH];
    size_t batch = size <= 16 * KIB ? BATCH : size <= 256 * KIB ? 6 : 2;
    for (size_t i = 0; i < batch; i++)
        blocks[i] = dirty(malloc(size));
    for (size_t i = 0; i < batch; i++) {
        if (random_below(random, 4) == 0) { /* a block that was cut off another, or moved */
            blocks[i] = realloc(blocks[i], 1 + random_below(random, 2 * size + 2));
            dirty(blocks[i]);
        }
        if (random_below(random, 8) == 0)
            free_elsewhere(blocks[i], random);
        else
            free(blocks[i]);
    }
    if (random_below(random, 64) == 0)
        malloc_trim(0);
    for (size_t i = 0; i < batch; i++) {
        size_t count = random_below(random, 2) == 0 || size % 4 != 0 ? 1 : 4;
        blocks[i] = calloc(count, size / count);
        require(blocks[i]);
        require_zero(blocks[i], size);
        dirty(blocks[i]);
    }
    for (size_t i = 0; i < batch; i++)
        free(blocks[i]);
}

static void *check_sizes(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t size = 0; size <= 1100; size += 1 + round % 3)
            check_size(size, &random);
        for (size_t i = 0; i < 1000; i++)
            check_size(random_size(&random, 64 * KIB), &random);
        for (size_t i = 0; i < 60; i++)
            check_size(random_between(&random, 32 * KIB, largest / 10), &random);
        check_size(random_between(&random, largest / 10, largest), &random);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    rounds = argument(count, arguments, 1, 5);
    size_t thread_count = argument(count, arguments, 2, 2);
    largest = argument(count, arguments, 3, 40 * MIB);
    require(largest >= MIB);
    pthread_t threads[thread_count];
    for (size_t i = 0; i < thread_count; i++)
        thread_start(&threads[i], check_sizes, (void *)i);
    for (size_t i = 0; i < thread_count; i++)
        thread_join(threads[i]);
    for (size_t i = 0; i < 512; i++)
        free(left_behind[i]);
    return 0;
}
