/* plugin-library.c: what plugins.c loads and unloads: a library that allocates in its constructor, keeps
   blocks in thread-local storage, and allocates and frees in its destructor. */
#include "plugins.h"

#define KEPT 200

static struct block kept[KEPT];
static struct random dice = {1};
/* Dynamic TLS: each thread's copy is itself an allocation, made at first use. */
static _Thread_local struct block of_thread[16];

__attribute__((constructor)) static void fill_at_load(void)
{
    for (size_t i = 0; i < KEPT; i++)
        block_allocate(&kept[i], random_usual_size(&dice, 256 * KIB), &dice);
}

__attribute__((destructor)) static void empty_at_unload(void)
{
    for (size_t i = 0; i < 500; i++)
        block_step(kept, KEPT, 256 * KIB, &dice);
    blocks_free(kept, KEPT);
}

struct block plugin_leave_block(uint64_t seed)
{
    struct block left;
    struct random random = random_stream(seed);
    block_allocate(&left, random_usual_size(&random, 256 * KIB), &random);
    return left;
}

void plugin_work_in_thread(uint64_t seed)
{
    struct random random = random_stream(seed);
    for (size_t i = 0; i < 300; i++)
        block_step(of_thread, 16, 128 * KIB, &random);
    blocks_free(of_thread, 16);
}
