/* one-way.c: blocks that always go the same way, from threads that only allocate to threads that never do.
   What the consumers free belongs to somebody who may not come to look after it; it must be used again, or go
   back to the system, all the same.

   one-way idle   [MIB]               the producer fills MIB of blocks, then stays alive, blocked, and never
                                      allocates again; the consumers free everything: memory must come down
   one-way stream [BLOCKS [BACKLOG]]  the producers go on and on, with a bounded backlog: memory must stay
                                      bounded, too */
#include "stress.h"

#define CONSUMERS 2

static struct block *blocks;

/* Small ones mostly, in an order that leaves every size in every part of the heap. */
static size_t passing_size(struct random *random)
{
    return random_below(random, 256) == 0 ? random_between(random, 32 * KIB, 256 * KIB)
                                          : random_size(random, 8 * KIB);
}

/* ---- idle ---- */

static size_t block_count, bytes_wanted;
static pthread_barrier_t produced, checked;

static void *produce_and_stay(void *unused)
{
    struct random random = random_stream(1);
    for (size_t bytes = 0; bytes < bytes_wanted; bytes += blocks[block_count++].size)
        block_malloc(&blocks[block_count], passing_size(&random), random_next(&random));
    pthread_barrier_wait(&produced);
    pthread_barrier_wait(&checked);
    return unused;
}

/* Each takes a share in an order of its own: all over the heap, not from one end. */
static void *consume_share(void *argument)
{
    size_t share = (size_t)(uintptr_t)argument;
    pthread_barrier_wait(&produced);
    for (size_t stride = 0; stride < 97; stride++)
        for (size_t i = share + CONSUMERS * stride; i < block_count; i += CONSUMERS * 97)
            block_free(&blocks[i]);
    return NULL;
}

static void run_idle(size_t megabytes)
{
    bytes_wanted = megabytes * MIB;
    size_t most = bytes_wanted / 256 + 1; /* their mean is above 600 bytes */
    blocks = calloc(most, sizeof *blocks);
    require(blocks);
    pthread_barrier_init(&produced, NULL, CONSUMERS + 2);
    pthread_barrier_init(&checked, NULL, 2);

    pthread_t producer, consumers[CONSUMERS];
    thread_start(&producer, produce_and_stay, NULL);
    for (size_t i = 0; i < CONSUMERS; i++)
        thread_start(&consumers[i], consume_share, (void *)(uintptr_t)i);
    size_t before = process_bytes("VmRSS:");
    pthread_barrier_wait(&produced);
    require(block_count <= most);
    for (size_t i = 0; i < CONSUMERS; i++)
        thread_join(consumers[i]);
    size_t after = process_bytes("VmRSS:"), peak = process_bytes("VmHWM:");
    printf("resident: %zu MiB at the peak, %zu MiB when all was freed\n", peak / MIB, after / MIB);
    require(peak >= bytes_wanted);
    size_t bookkeeping = block_count * sizeof *blocks;
    if (RESIDENT_IS_OURS && after > before + bookkeeping + (peak - before) / 4 + 16 * MIB)
        fail("%zu of %zu MiB still resident when all blocks are free", after / MIB, peak / MIB);
    pthread_barrier_wait(&checked);
    thread_join(producer);
    free(blocks);
}

/* ---- stream ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t waiting, backlog, producers_left;

static void *produce_stream(void *argument)
{
    size_t count = (size_t)(uintptr_t)argument;
    struct random random = random_stream(count);
    for (size_t i = 0; i < count; i++) {
        struct block block;
        block_malloc(&block, passing_size(&random), random_next(&random));
        pthread_mutex_lock(&lock);
        while (waiting == backlog)
            pthread_cond_wait(&changed, &lock);
        blocks[waiting++] = block;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    producers_left--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *consume_stream(void *unused)
{
    struct block batch[64];
    for (;;) {
        size_t taken = 0;
        pthread_mutex_lock(&lock);
        while (waiting == 0 && producers_left != 0)
            pthread_cond_wait(&changed, &lock);
        while (waiting != 0 && taken < 64)
            batch[taken++] = blocks[--waiting];
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (taken == 0)
            return unused;
        blocks_free(batch, taken);
    }
}

static void run_stream(size_t count, size_t most)
{
    backlog = most;
    producers_left = 2;
    blocks = calloc(backlog, sizeof *blocks);
    require(blocks);
    size_t before = process_bytes("VmRSS:");
    pthread_t threads[2 + CONSUMERS];
    for (uintptr_t i = 0; i < 2; i++)
        thread_start(&threads[i], produce_stream, (void *)(count / 2 + i));
    for (size_t i = 0; i < CONSUMERS; i++)
        thread_start(&threads[2 + i], consume_stream, NULL);
    for (size_t i = 0; i < 2 + CONSUMERS; i++)
        thread_join(threads[i]);
    /* What is in flight is the backlog and a batch per consumer, of 2 KiB on average; without reuse, the peak
       would be all that was ever allocated. */
    size_t peak = process_bytes("VmHWM:") - before, in_flight = (backlog + 64 * CONSUMERS) * 2 * KIB;
    printf("resident: %zu MiB more at the peak, for some %zu MiB in flight\n", peak / MIB, in_flight / MIB);
    if (RESIDENT_IS_OURS && peak > 4 * in_flight + 32 * MIB)
        fail("%zu MiB resident at the peak for %zu MiB in flight", peak / MIB, in_flight / MIB);
    free(blocks);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    if (count > 1 && strcmp(arguments[1], "idle") == 0)
        run_idle(argument(count, arguments, 2, 256));
    else if (count > 1 && strcmp(arguments[1], "stream") == 0)
        run_stream(argument(count, arguments, 2, 1500000), argument(count, arguments, 3, 4096));
    else
        fail("usage: one-way idle|stream [NUMBERS]");
    return 0;
}
