/* hardened.c: the protections, each by itself and together: that blocks stay what they are, that the rooms' invariants
   hold, and what each promises. What they catch is in tests/misuse. */
#include "unit.h"

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

#include "allocator/alloc.c"

static struct random dice;

static void hardened_begin(void)
{
    dice = random_begin();
    thread_init();
}

TestSuite(hardened, .init = hardened_begin);

static void check_all_valid(void)
{
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
    check(arena_valid(thread_home));
    check(mapping_valid());
}

/* ---- a workload that checks every byte ---- */

struct held {
    unsigned char *block;
    size_t size;
    unsigned char filler;
};

static size_t any_size(void)
{
    static const size_t most[] = {64, 1024, 40000, 200000, 3 * MIB};
    size_t kind = random_below(&dice, 40);
    return random_below(&dice, most[kind < 20 ? 0 : kind < 32 ? 1 : kind < 37 ? 2 : kind < 39 ? 3 : 4]);
}

static void held_check(const struct held *held, size_t size)
{
    for (size_t i = 0; i < size; i++)
        check(held->block[i] == held->filler);
}

static void held_allocate(struct held *held)
{
    size_t size = any_size(), alignment = (size_t)1 << random_below(&dice, 14);
    bool zeroed = random_one_in(&dice, 3), aligned = !zeroed && random_one_in(&dice, 4);
    held->block = zeroed ? alloc_allocate_zeroed(size) : aligned ? alloc_aligned(alignment, size) : alloc_allocate(size);
    check(held->block && (!aligned || (uintptr_t)held->block % alignment == 0));
    held->filler = 0;
    if (zeroed)
        held_check(held, size);
    held->size = alloc_usable_size(held->block);
    check(held->size >= size);
    held->filler = (unsigned char)random_next(&dice);
    memset(held->block, held->filler, held->size);
}

static void held_resize(struct held *held)
{
    size_t size = random_one_in(&dice, 2) ? any_size() : held->size + random_below(&dice, 70000);
    held->block = alloc_resize(held->block, max_size(size, 1));
    check(held->block);
    held_check(held, min_size(held->size, size));
    held->size = alloc_usable_size(held->block);
    memset(held->block, held->filler, held->size);
}

static void work(size_t steps)
{
    static struct held slots[300];
    for (size_t i = 0; i < steps; i++) {
        struct held *held = &slots[random_below(&dice, COUNT_OF(slots))];
        if (!held->block) {
            held_allocate(held);
        } else if (random_one_in(&dice, 4)) {
            held_resize(held);
        } else {
            held_check(held, held->size);
            alloc_release(held->block);
            held->block = NULL;
        }
    }
    check_all_valid();
    for (size_t i = 0; i < COUNT_OF(slots); i++) {
        if (slots[i].block)
            held_check(&slots[i], slots[i].size);
        alloc_release(slots[i].block);
        slots[i].block = NULL;
    }
    check_all_valid();
}

Test(hardened, every_set_of_protections_keeps_the_blocks)
{
    for (uint8_t features = 0; features <= HARDENED_ALL; features++) {
        hardened_start(features);
        work(3000);
    }
}

Test(hardened, guards_by_mprotect)
{
    store_relaxed(guard_method, GUARD_PROTECTION);
    hardened_start(HARDENED_ALL);
    work(20000);
    check(load_relaxed(guards_protected) >= 0 && load_relaxed(guards_protected) < GUARDS_PROTECTED_MAX);
}

Test(hardened, without_guards_where_there_can_be_none)
{
    store_relaxed(guard_method, GUARD_PROTECTION);
    store_relaxed(guards_protected, GUARDS_PROTECTED_MAX);
    hardened_start(HARDENED_ALL);
    work(5000);
    check(load_relaxed(guards_protected) == GUARDS_PROTECTED_MAX);
}

/* ---- what is promised ---- */

Test(hardened, blocks_of_before_stay_good_and_are_never_used_again)
{
    enum { BEFORE = 100 };
    unsigned char *before[BEFORE];
    for (size_t i = 0; i < BEFORE; i++)
        before[i] = memset(alloc_allocate(100), 1, 100);
    hardened_start(HARDENED_ALL);
    for (size_t i = 0; i < BEFORE; i++) {
        check(before[i][0] == 1 && before[i][99] == 1);
        alloc_release(before[i]);
    }
    for (size_t i = 0; i < 5000; i++) {
        const unsigned char *p = alloc_allocate(100);
        for (size_t j = 0; j < BEFORE; j++)
            check(p != before[j]);
    }
    check_all_valid();
}

Test(hardened, freed_blocks_are_clear_but_for_the_first_word)
{
    hardened_start(HARDENED_ALL);
    for (size_t i = 0; i < 1000; i++) {
        size_t size = 16 + random_below(&dice, CLASS_MAX - 100), usable;
        unsigned char *neighbour = alloc_allocate(size), *p = alloc_allocate(size);
        usable = alloc_usable_size(p);
        memset(p, 'x', usable);
        alloc_release(p);
        for (size_t j = sizeof(block_word); j < usable; j++)
            check(p[j] == 0);
        alloc_release(neighbour);
    }
}

Test(hardened, canaries_differ_and_begin_with_zero)
{
    hardened_start(HARDENED_CANARY);
    uint64_t before = 0;
    for (size_t i = 0; i < 1000; i++) {
        const unsigned char *p = alloc_allocate(100);
        uint64_t canary;
        memcpy(&canary, p + alloc_usable_size(p), sizeof canary);
        check((canary & 0xff) == 0 && canary != before && canary == canary_of(p));
        before = canary;
    }
}

Test(hardened, a_flush_empties_the_quarantine)
{
    hardened_start(HARDENED_ALL);
    for (size_t i = 0; i < 2000; i++)
        alloc_release(alloc_allocate(random_below(&dice, CLASS_MAX - CANARY_SIZE)));
    const struct quarantine *quarantine = load_relaxed(thread_home->quarantine);
    size_t held = 0;
    for (size_t i = 0; i < QUARANTINE_PLACES; i++)
        held += load_relaxed(quarantine->places[i]) != NULL;
    check(held > 0);
    quarantine_flush(thread_home);
    for (size_t i = 0; i < QUARANTINE_PLACES; i++)
        check(!load_relaxed(quarantine->places[i]));
    check_all_valid();
}

Test(hardened, empty_slabs_stay_as_they_are_up_to_a_bound)
{
    enum { BLOCKS = 4000, SIZE = 1000 };
    static void *blocks[BLOCKS];
    hardened_start(HARDENED_ALL);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++)
            check((blocks[i] = alloc_allocate(SIZE)));
        check(round == 0 || spares.slices == 0); /* used before any new slab is */
        for (size_t i = 0; i < BLOCKS; i++)
            alloc_release(blocks[i]);
        quarantine_flush(thread_home);
        check(spares.slices == SPARE_SLICES_MAX);
        check(spare_valid());
        check_all_valid();
    }
    thread_trim();
    check(spares.slices == 0 && !load_relaxed(spares.newest));
    check(spare_valid());
    check_all_valid();
}

Test(hardened, off_again_blocks_of_the_mode_stay_good)
{
    hardened_start(HARDENED_ALL);
    unsigned char *small = memset(alloc_allocate(100), 1, 100), *medium = memset(alloc_allocate(70000), 2, 70000);
    unsigned char *mapping = memset(alloc_allocate(MIB), 3, MIB);
    hardened_start(0);
    small = alloc_resize(small, 5000);
    medium = alloc_resize(medium, 90000);
    mapping = alloc_resize(mapping, 2 * MIB);
    check(small[99] == 1 && medium[69999] == 2 && mapping[MIB - 1] == 3);
    alloc_release(small);
    alloc_release(medium);
    alloc_release(mapping);
    work(3000);
}
