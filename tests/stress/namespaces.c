/* namespaces.c: a library in a namespace of its own (dlmopen), with a libc of its own, whose malloc lives beside
   brim's in one process. Thousands of blocks of both, byte for byte, from several threads, while each heap grows and
   gives back.

   namespaces [STEPS] */
#include <dlfcn.h>

#include "other-malloc.h"
#include "stress.h"

#define SLOTS 1000
#define THREADS 3

static const struct other_malloc *inner;
static size_t steps;

static void inner_step(struct block *block, struct random *random)
{
    size_t size = random_usual_size(random, 512 * KIB);
    if (!block->start) {
        *block = (struct block){inner->malloc(size), size, 0};
    } else if (random_below(random, 4) == 0) {
        block_verify(block);
        size_t common = block->size < size + 1 ? block->size : size + 1;
        block->start = inner->realloc(block->start, block->size = size + 1);
        block_verify_prefix(block, common);
    } else {
        block_verify(block);
        inner->free(block->start);
        *block = (struct block){NULL, 0, 0};
        return;
    }
    require(block->start && inner->malloc_usable_size(block->start) >= block->size);
    require(!brim_owns || !brim_owns(block->start));
    block_fill(block, random_next(random));
}

static void *use_both(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block *theirs = calloc(SLOTS, sizeof *theirs), *ours = calloc(SLOTS, sizeof *ours);
    require(theirs && ours);
    for (size_t i = 0; i < steps; i++) {
        inner_step(&theirs[random_below(&random, SLOTS)], &random);
        block_step(ours, SLOTS, 512 * KIB, &random);
        if (i % 4096 == 4095)
            for (size_t j = 0; j < SLOTS; j++) {
                block_verify(&theirs[j]);
                block_verify(&ours[j]);
            }
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (theirs[i].start) {
            block_verify(&theirs[i]);
            inner->free(theirs[i].start);
        }
    blocks_free(ours, SLOTS);
    free(theirs);
    free(ours);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    steps = argument(count, arguments, 1, 60000);
    void *handle = dlmopen(LM_ID_NEWLM, "stress-other-malloc.so", RTLD_NOW);
    if (!handle)
        fail("%s", dlerror());
    inner = dlsym(handle, "other_malloc");
    require(inner && inner->malloc != malloc);
    use_both((void *)10);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], use_both, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    require(dlclose(handle) == 0);
    return 0;
}
