/* heaps.h: the rooms down to heaps, and a model of what is live in one. Include it after unit.h. */
#ifndef TESTS_UNIT_HEAPS_H
#define TESTS_UNIT_HEAPS_H

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/unwind.c"
#include "allocator/stack.c"

#include "allocator/options.c"
#include "allocator/os.c"
#include "allocator/os_heap.c"

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/slab.c"
#include "allocator/spare.c"

#include "allocator/medium.c"
#include "allocator/mapping.c"

#include "allocator/arena.c"
#include "allocator/arena_registry.c"

#include "allocator/quarantine.c"
#include "allocator/thread.c"

#include "allocator/guard.c"
#include "allocator/guard_report.c"

#include "allocator/foreign.c"

#include "allocator/hardened.c"

#include "allocator/heap_map.c"
#include "allocator/heap_slab.c"

#include "allocator/heap_recover.c"

#include "allocator/heap_shard.c"

#include "allocator/heap_check.c"

#include "allocator/heap_open.c"

#include "allocator/heap.c"

#include <fcntl.h>
#include <sys/stat.h>

/* A name for a file of this test's own, which ends with the test's folder. */
static const char *file_name(void)
{
    static char name[64];
    if (name[0] == '\0')
        snprintf(name, sizeof name, "/tmp/brim-heap-test-%d", (int)getpid());
    return name;
}

static struct brim_heap *heap_of_kind(enum brim_heap_kind kind, size_t limit)
{
    struct brim_heap_options options = {.size = sizeof options, .kind = kind, .limit = limit};
    if (kind == BRIM_HEAP_FILE) {
        options.path = file_name();
        options.flags = BRIM_HEAP_OR_OPEN;
    }
    struct brim_heap *heap = brim_heap_create(&options);
    if (!heap)
        dprintf(STDERR_FILENO, "no heap of kind %d: %s\n", (int)kind, brim_heap_strerror(brim_heap_error()));
    check(heap);
    return heap;
}

static void heap_is_good(struct brim_heap *heap)
{
    char fault[200];
    if (brim_heap_check(heap, fault, sizeof fault) != 0) {
        dprintf(STDERR_FILENO, "%s\n", fault);
        check(!"a heap that is right");
    }
}

/* ---- the model ---- */

enum { MODEL_BLOCKS = 2000 };
struct model {
    struct brim_heap *heap;
    struct random random;
    size_t count;
    struct {
        unsigned char *block;
        size_t size;
        unsigned char stamp;
    } live[MODEL_BLOCKS];
};

static void model_stamp(struct model *model, size_t i)
{
    model->live[i].stamp = (unsigned char)random_next(&model->random);
    memset(model->live[i].block, model->live[i].stamp, model->live[i].size);
}

static void model_look(const struct model *model, size_t i, size_t size)
{
    const unsigned char *block = model->live[i].block;
    for (size_t at = 0; at < min_size(size, model->live[i].size); at++)
        check(block[at] == model->live[i].stamp);
}

static size_t model_size(struct model *model)
{
    switch (random_below(&model->random, 8)) {
    case 0: return random_below(&model->random, 32769);
    case 1: return random_below(&model->random, 300000);
    default: return random_below(&model->random, 600);
    }
}

static void model_drop(struct model *model, size_t i)
{
    model_look(model, i, SIZE_MAX);
    brim_heap_free(model->heap, model->live[i].block);
    model->live[i] = model->live[--model->count];
}

static void model_add(struct model *model)
{
    size_t size = model_size(model), alignment = BLOCK_ALIGNMENT;
    unsigned char *block;
    switch (random_below(&model->random, 4)) {
    case 0:
        block = brim_heap_calloc(model->heap, 1, size);
        for (size_t at = 0; block && at < size; at++)
            check(block[at] == 0);
        break;
    case 1:
        alignment = (size_t)1 << random_between(&model->random, 0, 16);
        block = brim_heap_aligned_alloc(model->heap, alignment, size);
        break;
    default: block = brim_heap_malloc(model->heap, size);
    }
    check(block && (uintptr_t)block % max_size(alignment, BLOCK_ALIGNMENT) == 0);
    check(brim_heap_usable_size(model->heap, block) >= size);
    model->live[model->count].block = block;
    model->live[model->count].size = size;
    model_stamp(model, model->count++);
}

static void model_resize(struct model *model, size_t i)
{
    size_t size = model_size(model);
    unsigned char *block = brim_heap_realloc(model->heap, model->live[i].block, size);
    check(block);
    model->live[i].block = block;
    model->live[i].size = min_size(size, model->live[i].size);
    model_look(model, i, SIZE_MAX);
    model->live[i].size = size;
    model_stamp(model, i);
}

static void model_steps(struct model *model, size_t steps)
{
    for (size_t step = 0; step < steps; step++) {
        size_t choice = random_below(&model->random, 10);
        if (model->count == MODEL_BLOCKS || (choice < 4 && model->count > 0))
            model_drop(model, random_below(&model->random, model->count));
        else if (choice == 4 && model->count > 0)
            model_resize(model, random_below(&model->random, model->count));
        else
            model_add(model);
    }
}

static int model_seen(void *block, size_t size, void *argument)
{
    struct model *model = argument;
    for (size_t i = 0; i < model->count; i++)
        if (model->live[i].block == block && size >= model->live[i].size) {
            model->live[i].stamp ^= 0; /* it is one of ours */
            return 0;
        }
    return 1;
}

/* Everything about the heap says what the model says. */
static void model_check(struct model *model)
{
    heap_is_good(model->heap);
    struct brim_heap_stats stats;
    check(brim_heap_stats(model->heap, &stats, sizeof stats) == 0);
    check(stats.blocks == model->count);
    check(stats.live + stats.free + stats.metadata == stats.heap);
    check(brim_heap_walk(model->heap, model_seen, model) == 0);
    for (size_t i = 0; i < model->count; i++)
        model_look(model, i, SIZE_MAX);
}

#endif
