/* burst: what remains of a peak. 100 MiB of blocks of 16 to 1,024 bytes (some of 8 to 64 KiB) are filled, 90
   % of them freed at random, then the program idles, and then goes on with a little traffic. Resident memory
   over live bytes is taken at every step. After Maas et al., "Learning-based Memory Allocation for C++ Server
   Workloads" (ASPLOS 2020), section 2: the peak of a server is short, its fragments stay. One iteration is
   one burst; time is reported, but memory is the point. */
#include <unistd.h>

#include "footprint.h"

enum {
    FILL_STEPS = 16,
    FREE_STEPS = 16,
    IDLE_STEPS = 6,
    TRAFFIC_STEPS = 24,
    TRAFFIC = 4000,
    IDLE_MICROSECONDS = 10000
};

struct slot {
    void *block;
    uint32_t size;
};

struct heap {
    struct slot *slots;
    uint32_t *order;
    uint32_t count, capacity;
    size_t live;
    random_source source;
};

static void fill(struct heap *heap, struct slot *slot)
{
    uint32_t dice = random_below(&heap->source, 1000);
    slot->size = dice < 5 ? 8192 + random_below(&heap->source, 57345)
                          : 16 + random_below(&heap->source, 1009);
    slot->block = stamped_malloc(slot->size);
    touch_pages(slot->block, slot->size);
    stamp(slot->block, slot->size);
    heap->live += slot->size;
}

static void empty(struct heap *heap, struct slot *slot)
{
    heap->live -= slot->size;
    stamped_free(slot->block, slot->size);
    slot->block = NULL;
}

static void burst(struct heap *heap, footprint *f, size_t peak, double *step)
{
    heap->count = 0;
    for (int i = 1; i <= FILL_STEPS; i++) {
        while (heap->live < peak / FILL_STEPS * (size_t)i && heap->count < heap->capacity)
            fill(heap, &heap->slots[heap->count++]);
        footprint_step(f, (*step)++, heap->live);
    }
    shuffle(heap->order, heap->count, &heap->source);
    uint32_t freed = 0, to_free = (uint32_t)((uint64_t)heap->count * 9 / 10);
    for (int i = 1; i <= FREE_STEPS; i++) {
        for (; freed < (uint32_t)((uint64_t)to_free * (uint32_t)i / FREE_STEPS); freed++)
            empty(heap, &heap->slots[heap->order[freed]]);
        footprint_step(f, (*step)++, heap->live);
    }
    for (int i = 0; i < IDLE_STEPS; i++) {
        usleep(IDLE_MICROSECONDS);
        footprint_step(f, (*step)++, heap->live);
    }
    for (int i = 0; i < TRAFFIC_STEPS; i++) {
        for (int j = 0; j < TRAFFIC; j++) {
            struct slot *slot =
                &heap->slots[heap->order[to_free + random_below(&heap->source, heap->count - to_free)]];
            empty(heap, slot);
            fill(heap, slot);
        }
        footprint_step(f, (*step)++, heap->live);
    }
    for (uint32_t i = to_free; i < heap->count; i++)
        empty(heap, &heap->slots[heap->order[i]]);
    footprint_step(f, (*step)++, heap->live);
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    static footprint f;
    size_t peak = (size_t)scaled(100, 4) * MIB;
    struct heap heap = {.capacity = (uint32_t)(peak / 512), .source = {23}};
    heap.slots = private_pages(heap.capacity * sizeof *heap.slots);
    heap.order = private_pages(heap.capacity * sizeof *heap.order);
    /* Our own tables must not count as the allocator's: have them resident before the baseline is taken. */
    memset(heap.slots, 1, heap.capacity * sizeof *heap.slots);
    memset(heap.order, 1, heap.capacity * sizeof *heap.order);
    footprint_begin(&f);
    double step = 0;
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        for (int64_t i = 0; i < n; i++)
            burst(&heap, &f, peak, &step);
    footprint_report(&f, state, "step");
    release_private_pages(heap.slots, heap.capacity * sizeof *heap.slots);
    release_private_pages(heap.order, heap.capacity * sizeof *heap.order);
}

void register_burst(void)
{
    gbench *benchmark = gbench_iterations(gbench_register("burst", run, NULL), 2);
    gbench_time_unit(gbench_use_real_time(benchmark), GBENCH_MILLISECOND);
}
