/* large-live-set.c: a heap of a GiB and more, of all sizes, with random frees and resizes all over it, by
   several threads that share it. Every byte is verified whenever a block is touched, and the whole heap now
   and then. When all is freed, the memory must be the system's again.

   large-live-set [MIB [STEPS [THREADS]]] */
#include <sys/sysinfo.h>

#include "stress.h"

struct part {
    pthread_t thread;
    struct random random;
    struct block *blocks;
    size_t count, capacity, bytes;
};

static size_t bytes_per_part, steps;
static pthread_barrier_t all_filled, all_checked;

static size_t live_size(struct random *random)
{
    size_t chance = random_below(random, 1000);
    if (chance < 960)
        return random_size(random, 8 * KIB);
    return chance < 998 ? random_between(random, 8 * KIB, 256 * KIB)
                        : random_between(random, 256 * KIB, 6 * MIB);
}

static void add_block(struct part *part)
{
    if (part->count == part->capacity) {
        part->capacity = part->capacity ? 2 * part->capacity : 1000;
        part->blocks = reallocarray(part->blocks, part->capacity, sizeof *part->blocks);
        require(part->blocks);
    }
    struct block *block = &part->blocks[part->count++];
    block_malloc(block, live_size(&part->random), random_next(&part->random));
    part->bytes += block->size;
}

static void remove_block(struct part *part)
{
    size_t index = random_below(&part->random, part->count);
    part->bytes -= part->blocks[index].size;
    block_free(&part->blocks[index]);
    part->blocks[index] = part->blocks[--part->count];
}

static void resize_block(struct part *part)
{
    struct block *block = &part->blocks[random_below(&part->random, part->count)];
    part->bytes -= block->size;
    block_resize(block, live_size(&part->random), random_next(&part->random));
    part->bytes += block->size;
}

static void *live(void *argument)
{
    struct part *part = argument;
    while (part->bytes < bytes_per_part)
        add_block(part);
    for (size_t i = 0; i < steps; i++) {
        if (part->bytes < bytes_per_part)
            add_block(part);
        else
            remove_block(part);
        if (i % 4 == 0)
            resize_block(part);
        if (i % (steps / 2 + 1) == steps / 2)
            for (size_t j = 0; j < part->count; j++)
                block_verify(&part->blocks[j]);
    }
    pthread_barrier_wait(&all_filled);
    pthread_barrier_wait(&all_checked);
    while (part->count != 0)
        remove_block(part);
    free(part->blocks);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t bytes = argument(count, arguments, 1, 1280) * MIB;
    steps = argument(count, arguments, 2, 150000);
    size_t part_count = argument(count, arguments, 3, 2);
    struct sysinfo system;
    require(sysinfo(&system) == 0);
    if (system.totalram * system.mem_unit / 2 < bytes)
        skip("this machine has not twice %zu MiB of memory", bytes / MIB);

    bytes_per_part = bytes / part_count;
    struct part parts[part_count];
    memset(parts, 0, sizeof parts);
    pthread_barrier_init(&all_filled, NULL, (unsigned)part_count + 1);
    pthread_barrier_init(&all_checked, NULL, (unsigned)part_count + 1);
    for (size_t i = 0; i < part_count; i++) {
        parts[i].random = random_stream(i);
        thread_start(&parts[i].thread, live, &parts[i]);
    }
    pthread_barrier_wait(&all_filled);
    size_t full = process_bytes("VmRSS:");
    pthread_barrier_wait(&all_checked);
    for (size_t i = 0; i < part_count; i++)
        thread_join(parts[i].thread);
    size_t empty = process_bytes("VmRSS:");
    printf("resident: %zu MiB for %zu MiB of blocks, %zu MiB when all was freed\n", full / MIB, bytes / MIB,
           empty / MIB);
    if (RESIDENT_IS_OURS && full > bytes + bytes / 3 + 64 * MIB)
        fail("%zu MiB resident for %zu MiB of blocks", full / MIB, bytes / MIB);
    if (RESIDENT_IS_OURS && empty > bytes / 8 + 16 * MIB)
        fail("%zu of %zu MiB still resident when all blocks are free", empty / MIB, full / MIB);
    return 0;
}
