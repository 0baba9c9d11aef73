/* operations: the hot paths of an allocator, one loop each, to be counted under callgrind by
   scripts/check-instructions, which preloads the allocator.

   usage: operations --list              a line for each operation: its name and two counts
          operations --built             what the figures depend on beside the allocator's source
          operations NAME COUNT          does the operation so many times, and nothing else

   The instructions of the larger count less those of the smaller one, over the difference, are those of one
   operation: what the program costs besides is in both. They include the loop and the jump through the PLT, as a
   program has them. Whatever needs no allocation by itself allocates nothing here: not stdio, no thread but the one
   that frees. Status 2: wrong usage; 3: the blocks are not brim's. */
#include <gnu/libc-version.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brim.h"

/* The preloaded library's; neither libc nor this program has them. */
#pragma weak brim_owns
void free_sized(void *p, size_t size);
#pragma weak free_sized
void *_Znwm(size_t size);
#pragma weak _Znwm
void _ZdlPvm(void *p, size_t size);
#pragma weak _ZdlPvm

enum { BATCH = 1000, FIXED_THRESHOLD = 128 << 10 };

static void *blocks[BATCH];
/* Small sizes in a fixed disorder: half of them up to 64 bytes, the rest up to 1 KiB. */
static size_t mixed_sizes[BATCH];

static void mix_sizes(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < BATCH; i++) {
        state = state * 1664525 + 1013904223;
        uint32_t random = state >> 16;
        mixed_sizes[i] = 1 + (random & 1 ? (random >> 1) % 64 : (random >> 1) % 1024);
    }
}

static void pair(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        free(malloc(size));
}

/* A threshold that was set does not move: each block is a mapping of its own. */
static void mapping(size_t count, size_t size)
{
    mallopt(M_MMAP_THRESHOLD, FIXED_THRESHOLD);
    pair(count, size);
}

static void cleared(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        free(calloc(1, size));
}

/* Steps of 16 bytes up to the limit, then from the start. */
static void grow_by_steps(size_t count, size_t limit)
{
    void *p = NULL;
    for (size_t i = 0, size = 16; i < count; i++) {
        p = realloc(p, size);
        size = size < limit ? size + 16 : 16;
    }
    free(p);
}

static void grow_by_doubling(size_t count, size_t limit)
{
    void *p = NULL;
    for (size_t i = 0, size = 16; i < count; i++) {
        p = realloc(p, size);
        size = size < limit ? 2 * size : 16;
    }
    free(p);
}

static void aligned(size_t count, size_t alignment)
{
    for (size_t i = 0; i < count; i++)
        free(aligned_alloc(alignment, 2 * alignment));
}

static void sized(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        free_sized(malloc(size), size);
}

static void new_delete(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        _ZdlPvm(_Znwm(size), size);
}

static void allocate_batch(void)
{
    for (size_t i = 0; i < BATCH; i++)
        blocks[i] = malloc(mixed_sizes[i]);
}

static void batch_lifo(size_t count, size_t unused)
{
    (void)unused;
    for (size_t done = 0; done < count; done += BATCH) {
        allocate_batch();
        for (size_t i = BATCH; i-- > 0;)
            free(blocks[i]);
    }
}

static void batch_fifo(size_t count, size_t unused)
{
    (void)unused;
    for (size_t done = 0; done < count; done += BATCH) {
        allocate_batch();
        for (size_t i = 0; i < BATCH; i++)
            free(blocks[i]);
    }
}

/* A thousand blocks live, one after another replaced, in a fixed disorder: slabs are used up and opened again all the
   time. */
static void replace(size_t count, size_t size)
{
    uint32_t state = 2;
    for (size_t i = 0; i < BATCH; i++)
        blocks[i] = malloc(size);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        size_t place = (state >> 16) % BATCH;
        free(blocks[place]);
        blocks[place] = malloc(size);
    }
}

static sem_t filled, emptied;

static void *free_batches(void *count)
{
    for (size_t done = 0; done < (size_t)count; done += BATCH) {
        sem_wait(&filled);
        for (size_t i = 0; i < BATCH; i++)
            free(blocks[i]);
        sem_post(&emptied);
    }
    return NULL;
}

/* Blocks of one size, allocated here and freed by another thread: malloc, free and the way back. */
static void remote(size_t count, size_t size)
{
    pthread_t thread;
    sem_init(&filled, 0, 0);
    sem_init(&emptied, 0, 0);
    int error = pthread_create(&thread, NULL, free_batches, (void *)count);
    if (error) {
        dprintf(STDERR_FILENO, "operations: no thread: %s\n", strerror(error));
        exit(2);
    }
    for (size_t done = 0; done < count; done += BATCH) {
        for (size_t i = 0; i < BATCH; i++)
            blocks[i] = malloc(size);
        sem_post(&filled);
        sem_wait(&emptied);
    }
    pthread_join(thread, NULL);
}

/* Counts 0 and 1: the first block that the program ever asks for. */
static void first(size_t count, size_t size)
{
    if (count)
        blocks[0] = malloc(size);
}

static const struct operation {
    const char *name;
    void (*run)(size_t count, size_t argument);
    size_t argument, fewer, more;
} operations[] = {
    {"malloc-free-16", pair, 16, 20000, 60000},
    {"malloc-free-64", pair, 64, 20000, 60000},
    {"malloc-free-2000", pair, 2000, 20000, 60000},
    {"malloc-free-16000", pair, 16000, 20000, 60000},
    {"malloc-free-40000", pair, 40000, 5000, 15000},
    {"malloc-free-100000", pair, 100000, 5000, 15000},
    {"malloc-free-1000000", pair, 1000000, 2000, 6000},
    {"mapping-1000000", mapping, 1000000, 1000, 3000},
    {"calloc-free-64", cleared, 64, 20000, 60000},
    {"realloc-by-16-to-4096", grow_by_steps, 4096, 5120, 15360},
    {"realloc-doubling-to-65536", grow_by_doubling, 65536, 5200, 15600},
    {"aligned-free-64", aligned, 64, 10000, 30000},
    {"aligned-free-4096", aligned, 4096, 10000, 30000},
    {"malloc-free_sized-64", sized, 64, 20000, 60000},
    {"new-delete-64", new_delete, 64, 20000, 60000},
    {"mixed-lifo", batch_lifo, 0, 20000, 60000},
    {"mixed-fifo", batch_fifo, 0, 20000, 60000},
    {"replace-1000", replace, 1000, 40000, 120000},
    {"remote-free-64", remote, 64, 20000, 60000},
    {"remote-free-2000", remote, 2000, 20000, 60000},
    {"first-malloc", first, 64, 0, 1},
};

enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static int describe(const char *wanted)
{
    if (!strcmp(wanted, "--built")) {
        printf("%s, glibc %s\n", BUILT, gnu_get_libc_version());
        return 0;
    }
    if (strcmp(wanted, "--list")) {
        fprintf(stderr, "operations: there is no %s\n", wanted);
        return 2;
    }
    for (size_t i = 0; i < OPERATIONS; i++)
        printf("%s %zu %zu\n", operations[i].name, operations[i].fewer, operations[i].more);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return describe(argv[1]);
    for (size_t i = 0; argc == 3 && i < OPERATIONS; i++) {
        if (strcmp(argv[1], operations[i].name))
            continue;
        mix_sizes();
        operations[i].run(strtoul(argv[2], NULL, 10), operations[i].argument);
        /* Only now: the first block may be what is counted. */
        void *block = malloc(1);
        int is_brims = brim_owns && brim_owns(block);
        free(block);
        if (!is_brims)
            dprintf(STDERR_FILENO, "operations: the blocks are not brim's\n");
        return is_brims ? 0 : 3;
    }
    fprintf(stderr, "usage: operations --list | --built | NAME COUNT\n");
    return 2;
}
