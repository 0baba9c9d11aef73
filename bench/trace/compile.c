/* compile.c: turns a trace into a plan. Each process is walked in the order of its sequence numbers, with a
   map from address to slot; a forked process starts from a copy of its parent's map at the moment of the
   fork.

   Order between threads: an operation on a block that another thread touched last is preceded by a WAIT for
   that thread. A slot is used again only by the thread that freed its block, so that slots bring no order of
   their own. A fork waits for everything recorded before it, and everything after it waits for the fork. All
   waits point backwards in the sequence, so replay cannot deadlock. A thread is started where its first event
   was recorded, by the thread of the event before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "compile.h"
#include "plan.h"

static _Noreturn void fail(const char *message)
{
    fprintf(stderr, "trace: %s\n", message);
    exit(2);
}

static void *checked(void *memory)
{
    if (!memory)
        fail("not enough memory to compile the trace");
    return memory;
}

/* Where a live block is, and who touched it last. */
struct live_block {
    uint64_t address; /* 0: empty */
    uint64_t done;    /* operations of `thread` up to and with the last on this block */
    uint32_t slot, thread;
};

/* Open addressing, linear probing, removal by moving back; the capacity is a power of two. */
struct block_map {
    struct live_block *entries;
    size_t capacity, count;
};

static size_t map_index(const struct block_map *map, uint64_t address)
{
    return (size_t)((address * 0x9e3779b97f4a7c15u) >> 20) & (map->capacity - 1);
}

static struct live_block *map_find(struct block_map *map, uint64_t address)
{
    if (map->capacity == 0)
        return NULL;
    for (size_t i = map_index(map, address);; i = (i + 1) & (map->capacity - 1)) {
        if (map->entries[i].address == address)
            return &map->entries[i];
        if (map->entries[i].address == 0)
            return NULL;
    }
}

static void map_insert(struct block_map *map, const struct live_block *block)
{
    if (2 * (map->count + 1) > map->capacity) {
        struct block_map larger = {.capacity = map->capacity ? 2 * map->capacity : 1024};
        larger.entries = checked(calloc(larger.capacity, sizeof *larger.entries));
        for (size_t i = 0; i < map->capacity; i++)
            if (map->entries[i].address)
                map_insert(&larger, &map->entries[i]);
        free(map->entries);
        *map = larger;
    }
    size_t i = map_index(map, block->address);
    while (map->entries[i].address)
        i = (i + 1) & (map->capacity - 1);
    map->entries[i] = *block;
    map->count++;
}

static void map_remove(struct block_map *map, struct live_block *block)
{
    size_t hole = (size_t)(block - map->entries);
    for (size_t i = (hole + 1) & (map->capacity - 1); map->entries[i].address;
         i = (i + 1) & (map->capacity - 1)) {
        size_t home = map_index(map, map->entries[i].address);
        /* It may move into the hole if its home is not between the hole and where it is. */
        if (((i - home) & (map->capacity - 1)) >= ((i - hole) & (map->capacity - 1))) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole].address = 0;
    map->count--;
}

struct slot_list {
    uint32_t *slots;
    size_t count, capacity;
};

enum { WAITS_KNOWN = 16 };

struct thread_plan {
    struct plan_operation *operations;
    size_t count, capacity;
    int started;
    uint32_t fork_seen;
    struct slot_list free_slots;
    /* What this thread has waited for already; forgetting costs a needless wait only. */
    struct {
        uint32_t thread;
        uint64_t done;
    } known[WAITS_KNOWN];
};

struct process_plan {
    struct thread_plan *threads;
    uint32_t thread_count, main_thread;
    int is_root;
};

static struct {
    const struct trace *trace;
    struct process_plan *plans; /* as the trace's processes */
    uint32_t slot_most;
    struct plan_header header;
} all;

struct walk {
    struct trace_process *process;
    struct process_plan *plan;
    struct block_map map;
    uint32_t slot_count;
    uint32_t forks, fork_thread;
    uint64_t fork_done;
};

static uint64_t emit(struct thread_plan *thread, uint8_t code, uint32_t slot, uint64_t size,
                     uint8_t alignment)
{
    if (thread->count == thread->capacity) {
        thread->capacity = thread->capacity ? 2 * thread->capacity : 256;
        thread->operations = checked(
            realloc(thread->operations, thread->capacity * sizeof *thread->operations));
    }
    thread->operations[thread->count++] = (struct plan_operation){
        .slot = slot, .code = code, .alignment = alignment, .size = size};
    return thread->count;
}

static void wait_for(struct walk *walk, uint32_t waiter, uint32_t thread, uint64_t done)
{
    struct thread_plan *plan = &walk->plan->threads[waiter];
    if (waiter == thread || done == 0)
        return;
    unsigned place = thread % WAITS_KNOWN;
    if (plan->known[place].thread == thread && plan->known[place].done >= done)
        return;
    emit(plan, PLAN_WAIT, thread, done, 0);
    plan->known[place].thread = thread;
    plan->known[place].done = done;
}

/* Before an operation of `thread`: it exists, and it is not ahead of a fork. */
static void enter(struct walk *walk, uint32_t thread, uint32_t previous)
{
    struct thread_plan *plan = &walk->plan->threads[thread];
    if (!plan->started) {
        plan->started = 1;
        if (thread != walk->plan->main_thread)
            emit(&walk->plan->threads[previous], PLAN_START, thread, 0, 0);
    }
    if (plan->fork_seen != walk->forks) {
        plan->fork_seen = walk->forks;
        wait_for(walk, thread, walk->fork_thread, walk->fork_done);
    }
}

static uint32_t take_slot(struct walk *walk, uint32_t thread)
{
    struct slot_list *list = &walk->plan->threads[thread].free_slots;
    if (list->count)
        return list->slots[--list->count];
    if (walk->slot_count == UINT32_MAX)
        fail("more blocks are live at once than can be replayed");
    uint32_t slot = walk->slot_count++;
    if (walk->slot_count > all.slot_most)
        all.slot_most = walk->slot_count;
    return slot;
}

static void give_slot(struct walk *walk, uint32_t thread, uint32_t slot)
{
    struct slot_list *list = &walk->plan->threads[thread].free_slots;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->slots = checked(realloc(list->slots, list->capacity * sizeof *list->slots));
    }
    list->slots[list->count++] = slot;
}

static void release(struct walk *walk, uint32_t thread, struct live_block *block)
{
    wait_for(walk, thread, block->thread, block->done);
    emit(&walk->plan->threads[thread], PLAN_FREE, block->slot, 0, 0);
    give_slot(walk, thread, block->slot);
    map_remove(&walk->map, block);
}

/* The address is taken over from a block whose free was not recorded. */
static void make_room(struct walk *walk, uint32_t thread, uint64_t address)
{
    struct live_block *stale = map_find(&walk->map, address);
    if (stale) {
        all.header.implied_frees++;
        release(walk, thread, stale);
    }
}

static void allocate(struct walk *walk, const struct trace_event *event)
{
    static const uint8_t codes[] = {
        [TRACE_MALLOC] = PLAN_MALLOC, [TRACE_CALLOC] = PLAN_CALLOC, [TRACE_ALIGNED] = PLAN_ALIGNED};
    make_room(walk, event->thread, event->address);
    struct live_block block = {
        .address = event->address, .slot = take_slot(walk, event->thread), .thread = event->thread};
    block.done = emit(&walk->plan->threads[event->thread], codes[event->kind], block.slot, event->size,
                      event->alignment);
    map_insert(&walk->map, &block);
}

static void release_address(struct walk *walk, const struct trace_event *event)
{
    struct live_block *block = map_find(&walk->map, event->address);
    if (block)
        release(walk, event->thread, block);
    else
        all.header.unknown_frees++;
}

/* First half: the old block leaves the map; what is left of it travels in the event, to the second half. */
static void reallocate_begin(struct walk *walk, struct trace_event *event)
{
    struct live_block *old = map_find(&walk->map, event->old_address);
    if (!old) {
        all.header.unknown_frees++;
        event->kind = TRACE_MALLOC;
        event->child = UINT64_MAX;
        return;
    }
    wait_for(walk, event->thread, old->thread, old->done);
    event->child = old->slot;
    map_remove(&walk->map, old);
}

static void reallocate_end(struct walk *walk, struct trace_event *event)
{
    make_room(walk, event->thread, event->address);
    struct live_block block = {
        .address = event->address, .slot = (uint32_t)event->child, .thread = event->thread};
    block.done = emit(&walk->plan->threads[event->thread], PLAN_REALLOC, block.slot, event->size, 0);
    map_insert(&walk->map, &block);
}

static void walk_process(struct trace_process *process, const struct walk *parent, uint32_t forking_number);

static void fork_process(struct walk *walk, const struct trace_event *event)
{
    struct trace_process *child = trace_find(all.trace, event->child);
    uint32_t thread = event->thread;
    for (uint32_t other = 0; other < walk->plan->thread_count; other++)
        wait_for(walk, thread, other, walk->plan->threads[other].count);
    struct process_plan *child_plan = child ? &all.plans[child - all.trace->processes] : NULL;
    if (!child || child == walk->process || child_plan->threads || child->parent != walk->process->identity)
        return; /* fork failed, or the child left nothing */
    walk->fork_done = emit(&walk->plan->threads[thread], PLAN_FORK, (uint32_t)(child - all.trace->processes),
                           0, 0);
    walk->fork_thread = thread;
    walk->plan->threads[thread].fork_seen = ++walk->forks;
    walk_process(child, walk, walk->process->thread_numbers[thread]);
}

/* The events of the process in the order of sequence numbers: an index for each number, sparse ones allowed.
   A realloc is there twice. */
static uint32_t *order_events(const struct trace_process *process, size_t *length)
{
    *length = (size_t)(process->last_sequence - process->first_sequence) + 1;
    if (process->event_count >= UINT32_MAX)
        fail("a process of more than 4 billion events");
    uint32_t *order = mmap(NULL, *length * sizeof *order, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (order == MAP_FAILED)
        fail("not enough memory to compile the trace");
    for (uint64_t i = 0; i < process->event_count; i++) {
        const struct trace_event *event = &process->events[i];
        uint32_t *first = &order[event->sequence - process->first_sequence];
        uint32_t *last = &order[event->end_sequence - process->first_sequence];
        if (*first || *last)
            fail("corrupt: two events of a process have the same sequence number");
        *first = *last = (uint32_t)i + 1;
    }
    return order;
}

static void walk_process(struct trace_process *process, const struct walk *parent, uint32_t forking_number)
{
    struct walk walk = {.process = process, .plan = &all.plans[process - all.trace->processes]};
    struct process_plan *plan = walk.plan;
    plan->is_root = parent == NULL;
    /* A child that recorded nothing still has the thread that forked it. */
    uint32_t thread_count = process->thread_count ? process->thread_count : 1;
    int main_is_known = 0;
    for (uint32_t i = 0; parent && i < process->thread_count; i++) {
        if (process->thread_numbers[i] == forking_number) {
            plan->main_thread = i;
            main_is_known = 1;
        }
    }
    if (parent && !main_is_known && process->thread_count)
        plan->main_thread = thread_count++; /* it only starts others */
    plan->thread_count = thread_count;
    plan->threads = checked(calloc(thread_count, sizeof *plan->threads));
    if (parent) {
        walk.slot_count = parent->slot_count;
        walk.map = parent->map;
        if (walk.map.capacity) {
            size_t bytes = walk.map.capacity * sizeof *walk.map.entries;
            walk.map.entries = checked(malloc(bytes));
            memcpy(walk.map.entries, parent->map.entries, bytes);
        }
        /* What was done before the fork is done: the child waits for none of it. */
        for (size_t i = 0; i < walk.map.capacity; i++)
            walk.map.entries[i].done = 0;
    }
    if (process->event_count) {
        size_t length;
        uint32_t *order = order_events(process, &length);
        uint32_t previous = UINT32_MAX;
        for (size_t i = 0; i < length; i++) {
            if (!order[i])
                continue;
            struct trace_event *event = &process->events[order[i] - 1];
            uint64_t sequence = process->first_sequence + i;
            if (previous == UINT32_MAX) {
                if (!parent)
                    plan->main_thread = event->thread;
                previous = plan->main_thread;
                plan->threads[plan->main_thread].started = 1;
            }
            enter(&walk, event->thread, previous);
            previous = event->thread;
            if (event->kind == TRACE_FREE)
                release_address(&walk, event);
            else if (event->kind == TRACE_FORK)
                fork_process(&walk, event);
            else if (event->kind == TRACE_REALLOC && sequence == event->sequence)
                reallocate_begin(&walk, event);
            else if (event->kind == TRACE_REALLOC)
                reallocate_end(&walk, event);
            else if (sequence == event->end_sequence)
                allocate(&walk, event);
        }
        munmap(order, length * sizeof *order);
    }
    free(walk.map.entries);
}

static void write_plan(FILE *file)
{
    struct plan_header *header = &all.header;
    size_t processes = all.trace->process_count;
    header->magic = PLAN_MAGIC;
    header->process_count = (uint32_t)processes;
    header->slot_count = all.slot_most;
    header->event_count = all.trace->event_count;
    for (size_t p = 0; p < processes; p++) {
        header->thread_count += all.plans[p].thread_count;
        for (uint32_t t = 0; t < all.plans[p].thread_count; t++)
            header->operation_count += all.plans[p].threads[t].count;
    }
    fwrite(header, sizeof *header, 1, file);
    uint32_t first_thread = 0;
    for (size_t p = 0; p < processes; p++) {
        const struct process_plan *plan = &all.plans[p];
        struct plan_process entry = {first_thread, plan->thread_count, plan->main_thread,
                                     (uint32_t)plan->is_root};
        fwrite(&entry, sizeof entry, 1, file);
        first_thread += plan->thread_count;
    }
    uint64_t first_operation = 0;
    for (size_t p = 0; p < processes; p++) {
        for (uint32_t t = 0; t < all.plans[p].thread_count; t++) {
            struct plan_thread entry = {first_operation, all.plans[p].threads[t].count};
            fwrite(&entry, sizeof entry, 1, file);
            first_operation += entry.operation_count;
        }
    }
    for (size_t p = 0; p < processes; p++)
        for (uint32_t t = 0; t < all.plans[p].thread_count; t++)
            fwrite(all.plans[p].threads[t].operations, sizeof(struct plan_operation),
                   all.plans[p].threads[t].count, file);
}

void compile_trace(const struct trace *trace, const char *path)
{
    all.trace = trace;
    all.plans = checked(calloc(trace->process_count ? trace->process_count : 1, sizeof *all.plans));
    for (size_t p = 0; p < trace->process_count; p++)
        if (!trace_find(trace, trace->processes[p].parent))
            walk_process(&trace->processes[p], NULL, 0);
    /* Forked, but the fork itself was not recorded: replayed on its own. */
    for (size_t p = 0; p < trace->process_count; p++)
        if (!all.plans[p].threads)
            walk_process(&trace->processes[p], NULL, 0);
    FILE *file = fopen(path, "wb");
    if (!file)
        fail(strerror(errno));
    write_plan(file);
    int failed = ferror(file);
    if (fclose(file) != 0 || failed)
        fail("cannot write the plan");
    if (all.header.unknown_frees + all.header.implied_frees)
        fprintf(stderr,
                "trace: %llu frees of unknown blocks left out, %llu frees that were not recorded filled in\n",
                (unsigned long long)all.header.unknown_frees, (unsigned long long)all.header.implied_frees);
}
