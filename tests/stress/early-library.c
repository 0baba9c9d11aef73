/* early-library.c: what constructors.c is linked with. Its constructor claims the place that the dynamic
   linker runs first (-z initfirst; the last library to ask gets it), so it allocates before the allocator's
   own constructor. */
#include "constructors.h"

struct block early_blocks[EARLY_BLOCKS];
static pthread_key_t early_key;
_Atomic size_t early_destroyed;

static void destroy(void *argument)
{
    free(argument);
    early_destroyed++;
}

/* A key from before the allocator's own, if it has one: its destructor runs before the allocator's, and sees
   the thread's heap still whole; those of later keys see it after. */
__attribute__((constructor)) static void allocate_first(void)
{
    struct random random = random_stream(0);
    require(pthread_key_create(&early_key, destroy) == 0);
    for (size_t i = 0; i < EARLY_BLOCKS; i++)
        block_allocate(&early_blocks[i], random_usual_size(&random, 256 * KIB), &random);
    early_set_specific();
}

void early_set_specific(void)
{
    void *block = malloc(100);
    require(block && pthread_setspecific(early_key, block) == 0);
}

/* After the exit handlers, after the program's destructors and perhaps after the allocator's. */
__attribute__((destructor)) static void free_last(void)
{
    blocks_free(early_blocks, EARLY_BLOCKS / 2);
    struct random random = random_stream(1);
    for (size_t i = 0; i < 500; i++)
        block_step(early_blocks, EARLY_BLOCKS, 256 * KIB, &random);
    blocks_free(early_blocks, EARLY_BLOCKS);
}
