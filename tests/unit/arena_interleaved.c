/* arena_interleaved.c: what another thread does to an arena's slabs, at every instruction of what their
   owner does. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"

#include "allocator/options.c"
#include "allocator/os.c"

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

#include "arenas.h"
#include "step.h"

static void arena_begin(void) { link_key_init(&process_key, os_init()); }

TestSuite(arena_interleaved, .init = arena_begin);

/* ---- the two threads ----
   The owner's blocks are in `blocks`; its operation is stepped through, and between any two of its
   instructions the other thread does its part. Afterwards nothing may be lost: not a block, not a notice. */
static void *blocks[5000];
static struct arena *owner, *other;
static size_t block_count;

static void other_frees_one(void) { arena_free(other, blocks[--block_count]); }
static void other_frees_some(void)
{
    for (int i = 0; i < 6; i++)
        other_frees_one();
}
static void other_frees_all(void)
{
    while (block_count > 0)
        other_frees_one();
}
static void other_allocates(void)
{
    bool clean;
    for (int i = 0; i < 20; i++) /* adopts what orphans there are, uses them up */
        check((blocks[block_count++] = arena_allocate(other, CLASS, &clean)));
}
static void other_frees_and_retires(void)
{
    other_frees_some();
    arena_retire(other);
    check((other = arena_obtain()));
}
static void other_begins_anew(void)
{
    struct arena *third = arena_obtain(); /* it may be the owner's, when that has just left it */
    bool clean;
    check(third && third != other);
    check((blocks[block_count++] = arena_allocate(third, CLASS, &clean)));
    arena_free(third, blocks[0]);
    blocks[0] = blocks[--block_count];
    arena_retire(third);
}

static void expect_nothing_lost(enum step_part part)
{
    (void)part;
    arenas_check();
    other_frees_all();
    /* All is free, and somebody has been told of each slab: an owner that looks at its notices has only
       open ones. */
    for (uint32_t id = 1; id <= arena_count(); id++)
        if (load_relaxed(arena_by_id(id)->state) == ARENA_ACTIVE)
            arena_drain(arena_by_id(id));
    for (size_t at = 0, length; at < load_relaxed(regions[0].count); at += length) {
        struct slice *slab = &regions[0].map[at];
        length = run_length(slab);
        check(run_kind(slab) != RUN_SLAB || !load_relaxed(slab->owner) || slab->state == SLAB_OPEN ||
              load_relaxed(load_relaxed(slab->owner)->state) == ARENA_IDLE);
    }
    arena_retire(other);
    if (load_relaxed(owner->state) == ARENA_ACTIVE)
        arena_retire(owner);
    for (uint32_t i = arena_count(); i > 0; i--)
        arena_retire(arena_obtain());
    arenas_check();
    check(slabs_there() == 0);
}

/* The owner has a full slab of which `freed` blocks are back, by itself and by others; another open one. */
static void owner_begins(size_t freed, size_t freed_remotely)
{
    bool clean;
    owner = arena_obtain();
    other = arena_obtain();
    while (class_borrows(owner, CLASS) || class_borrows(other, CLASS))
        ;
    block_count = fill_slab(owner, CLASS, blocks);
    check((blocks[block_count++] = arena_allocate(owner, CLASS, &clean)));
    for (size_t i = 0; i < freed; i++)
        arena_free(owner, blocks[i]);
    for (size_t i = freed; i < freed + freed_remotely; i++)
        arena_free(other, blocks[i]);
    for (size_t i = freed + freed_remotely; i < block_count; i++)
        blocks[i - freed - freed_remotely] = blocks[i];
    block_count -= freed + freed_remotely;
}

static void owner_allocates_many(void) /* through the open slab's end, and on with what else there is */
{
    bool clean;
    while (owner->open[CLASS] != SLAB_NONE &&
           (load_relaxed(owner->open[CLASS]->unformed) != 0 || slab_free_count(owner->open[CLASS]) > 1))
        check((blocks[block_count++] = arena_allocate(owner, CLASS, &clean)));
}
static void owner_allocates(void)
{
    bool clean;
    void *first = arena_allocate(owner, CLASS, &clean), *second = arena_allocate(owner, CLASS, &clean);
    void *third = arena_allocate(owner, CLASS, &clean);
    check(first && second && third && first != second && second != third && first != third);
    blocks[block_count++] = first; /* only now: the other thread uses the list, too */
    blocks[block_count++] = second;
    blocks[block_count++] = third;
}
static void *owners[8];
static void owner_frees(void)
{
    for (size_t i = 0; i < COUNT_OF(owners); i++)
        arena_free(owner, owners[i]);
}
static void owner_drains(void) { arena_drain(owner); }
static void owner_trims(void) { arena_trim(owner); }
static void owner_retires(void) { arena_retire(owner); }

static void (*const acts[])(void) = {other_frees_one, other_frees_some,        other_frees_all,
                                     other_allocates, other_frees_and_retires, other_begins_anew};

static struct step owner_step(void (*operation)(void), void (*act)(void))
{
    return (struct step){
        .operation = operation,
        .act = act,
        .verify = expect_nothing_lost,
        .locks = {&arenas.lock, &orphans.lock, &regions_lock, &regions[0].growth, &regions[0].lock},
        .watched = {{regions[0].map, min_size(load_relaxed(regions[0].count), 32) * sizeof(struct slice)},
                    {owner, sizeof *owner},
                    {&arenas, sizeof arenas},
                    {&orphans, sizeof orphans}}};
}

static void step_owner(void (*operation)(void), void (*act)(void))
{
    struct step step = owner_step(operation, act);
    check(step_through(&step) > 0);
    expect_nothing_lost(STEP_ACT); /* undisturbed, too; and so the next begins with nothing */
}

Test(arena_interleaved, others_while_a_slab_is_used_up)
{
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        owner_begins(0, 0);
        owner_allocates_many();
        step_owner(owner_allocates, acts[i]);
    }
}

/* There are partial slabs, waiting slabs, and notices that have not been seen. */
Test(arena_interleaved, others_while_the_owner_goes_on)
{
    static const struct {
        size_t freed, freed_remotely;
    } states[] = {{1, 0}, {1, 1}, {3, 5}, {20, 0}, {20, 20}, {0, 30}};
    for (size_t state = 0; state < COUNT_OF(states); state++)
        for (size_t i = 0; i < COUNT_OF(acts); i++) {
            owner_begins(states[state].freed, states[state].freed_remotely);
            owner_allocates_many();
            step_owner(owner_allocates, acts[i]);
        }
}

Test(arena_interleaved, others_while_the_owner_frees)
{
    for (size_t freed = 0; freed < 60; freed += 7)
        for (size_t i = 0; i < 3; i++) {
            owner_begins(freed, freed / 7 % 3);
            size_t left = min_size(block_count - 1, COUNT_OF(owners));
            memcpy(owners, blocks + block_count - 1 - left, left * sizeof *owners);
            blocks[block_count - 1 - left] = blocks[block_count - 1];
            block_count -= left;
            while (left < COUNT_OF(owners)) {
                bool clean;
                check((owners[left++] = arena_allocate(owner, CLASS, &clean)));
            }
            while (block_count < 6) {
                bool clean;
                check((blocks[block_count++] = arena_allocate(owner, CLASS, &clean)));
            }
            step_owner(owner_frees, acts[i]);
        }
}

Test(arena_interleaved, others_while_the_owner_drains)
{
    for (size_t i = 0; i < COUNT_OF(acts); i++)
        for (size_t remotely = 1; remotely < 50; remotely += 15) {
            owner_begins(2, remotely);
            step_owner(owner_drains, acts[i]);
        }
}

Test(arena_interleaved, others_while_the_owner_trims)
{
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        owner_begins(20, 15);
        step_owner(owner_trims, acts[i]);
    }
}

Test(arena_interleaved, others_while_the_owner_leaves)
{
    for (size_t i = 0; i < COUNT_OF(acts); i++)
        for (size_t remotely = 0; remotely < 50; remotely += 24) {
            owner_begins(1, remotely);
            step_owner(owner_retires, acts[i]);
        }
}

/* All live blocks of an orphan are freed while the owner, with the orphans' lock, is adopting it: as soon as it is not
   listed, whoever frees needs no lock to end it. */
static struct slice *orphan_slab;

static void other_frees_the_orphans(void)
{
    if (load_relaxed(orphans.lock.word) == 0 || !load_relaxed(orphan_slab->orphan))
        other_frees_all();
}

static void owner_adopts(void)
{
    bool clean;
    void *block = arena_allocate(owner, CLASS, &clean);
    check(block);
    blocks[block_count++] = block;
}

Test(arena_interleaved, others_while_an_orphan_is_adopted)
{
    owner = arena_obtain();
    other = arena_obtain();
    struct arena *third = arena_obtain();
    while (class_borrows(owner, CLASS) || class_borrows(third, CLASS))
        ;
    for (int i = 0; i < 5; i++) {
        bool clean;
        check((blocks[block_count++] = arena_allocate(third, CLASS, &clean)));
    }
    orphan_slab = slab_of(blocks[0]);
    arena_retire(third);
    check(load_relaxed(orphan_slab->orphan));
    struct step step = owner_step(owner_adopts, other_frees_the_orphans);
    step.locks[1] = NULL; /* the orphans' lock is looked at by the act itself */
    check(step_through(&step) > 0);
    expect_nothing_lost(STEP_ACT);
}
