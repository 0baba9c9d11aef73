/* late-destructors.c: threads whose last allocations are made while they end. Destructors of thread-local
   objects (__cxa_thread_atexit_impl, what C++'s thread_local registers with), then destructors of
   thread-specific data through all their rounds free blocks and allocate others. Some run before the
   allocator's own exit hook, some after, some in a round after that; none of it may be lost, or leak.

   late-destructors [THREADS] */
#include <limits.h>

#include "stress.h"

#define KEYS 8
/* glibc keeps a thread's first 32 values in its descriptor, and blocks of further ones on the heap, which it
   frees when all destructors have run. */
#define KEYS_IN_DESCRIPTOR 32
#define THREADS_AT_ONCE 6

/* The sanitizers' own destructors forget a thread in the last round. */
#ifdef BRIM_PREFIXED
#define ROUNDS (PTHREAD_DESTRUCTOR_ITERATIONS - 1)
#else
#define ROUNDS PTHREAD_DESTRUCTOR_ITERATIONS
#endif

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *library);
extern void *__dso_handle;

static pthread_key_t keys[KEYS], first_use_key;
static _Atomic size_t specific_destroyed, objects_destroyed, first_uses;

/* Kept in a block of its own, as a program would; a destructor knows nothing but this pointer. */
struct specific {
    size_t key, rounds;
    struct random random;
    struct block blocks[8];
};

static struct specific *specific_new(size_t key, size_t rounds, struct random *random)
{
    struct specific *specific = malloc(sizeof *specific);
    require(specific);
    *specific = (struct specific){.key = key, .rounds = rounds, .random = {random_next(random)}};
    for (size_t i = 0; i < 8; i++)
        block_allocate(&specific->blocks[i], random_usual_size(random, 128 * KIB), random);
    return specific;
}

/* Frees what it was given and, until the last round, sets the key again: glibc then runs another round. */
static void specific_destroy(void *argument)
{
    struct specific *specific = argument;
    blocks_free(specific->blocks, 8);
    for (size_t i = 0; i < 40; i++)
        block_step(specific->blocks, 8, 16 * KIB, &specific->random);
    blocks_free(specific->blocks, 8);
    if (specific->rounds > 1)
        pthread_setspecific(keys[specific->key],
                            specific_new(specific->key, specific->rounds - 1, &specific->random));
    else
        atomic_fetch_add(&specific_destroyed, 1);
    free(specific);
}

static void object_destroy(void *argument)
{
    struct block *block = argument;
    block_free(block);
    struct block late;
    block_malloc(&late, 300, (uintptr_t)argument);
    block_resize(&late, 5000, 1);
    block_free(&late);
    free(block);
    atomic_fetch_add(&objects_destroyed, 1);
}

static void *live_briefly(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    for (size_t i = 0; i < KEYS; i++)
        pthread_setspecific(keys[i], specific_new(i, 1 + i % ROUNDS, &random));
    for (size_t i = 0; i < 4; i++) {
        struct block *block = malloc(sizeof *block);
        require(block);
        block_malloc(block, random_size(&random, 64 * KIB), i);
        __cxa_thread_atexit_impl(object_destroy, block, &__dso_handle);
    }
    return NULL;
}

/* A thread that allocates for the first time when it ends: the allocator meets it after it has met its last
   hook. */
static void first_use_destroy(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block blocks[8] = {0};
    for (size_t i = 0; i < 40; i++)
        block_step(blocks, 8, 16 * KIB, &random);
    blocks_free(blocks, 8);
    atomic_fetch_add(&first_uses, 1);
}

static void *live_without_allocating(void *argument)
{
    pthread_setspecific(first_use_key, argument);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t batches = argument(count, arguments, 1, 3000) / THREADS_AT_ONCE + 1, settled = 0;

    require(pthread_key_create(&first_use_key, first_use_destroy) == 0);
    for (size_t i = 0; i < KEYS; i++) {
        require(pthread_key_create(&keys[i], specific_destroy) == 0);
        pthread_key_t unused;
        for (size_t j = 0; i == KEYS / 2 && j < KEYS_IN_DESCRIPTOR; j++)
            require(pthread_key_create(&unused, NULL) == 0);
    }
    for (size_t batch = 0; batch < batches; batch++) {
        pthread_t running[THREADS_AT_ONCE];
        for (size_t i = 0; i < THREADS_AT_ONCE; i++)
            thread_start(&running[i], i == 0 ? live_without_allocating : live_briefly,
                         (void *)(1 + batch * THREADS_AT_ONCE + i));
        for (size_t i = 0; i < THREADS_AT_ONCE; i++)
            thread_join(running[i]);
        if (batch == batches / 5)
            settled = process_bytes("VmRSS:");
    }
    size_t living = batches * (THREADS_AT_ONCE - 1);
    require(specific_destroyed == living * KEYS);
    require(objects_destroyed == living * 4);
    require(first_uses == batches);

    size_t after = process_bytes("VmRSS:");
    printf("resident: %zu KiB after a fifth of the threads, %zu KiB after all\n", settled / KIB, after / KIB);
    /* Nothing outlives its thread here. A slab lost per thread would be 64 KiB each. */
    if (RESIDENT_IS_OURS && after > settled + 8 * MIB + living * 4 / 5 * 16 * KIB)
        fail("grown from %zu to %zu KiB in %zu threads", settled / KIB, after / KIB, living * 4 / 5);
    return 0;
}
