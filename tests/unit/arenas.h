/* arenas.h: threads as the arena's room sees them, without thread-local storage: each has an arena,
   allocates from it, and frees any block. Several can be played by one thread, so that an order of events
   can be chosen. Include it after the rooms down to the registry of arenas. */
#ifndef TESTS_UNIT_ARENAS_H
#define TESTS_UNIT_ARENAS_H

enum { CLASS = 19 }; /* 1024 bytes: lends to others, borrows from none */

static void *arena_allocate(struct arena *arena, unsigned class, bool *clean)
{
    *clean = false;
    void *block = slab_pop(arena->open[class]);
    return block ? block : arena_refill(arena, class, clean);
}

static struct slice *slab_of(const void *block)
{
    struct region *region = region_of(block);
    check(region);
    struct slice *slab = slab_head(&region->map[((uintptr_t)block - region->base) >> SLICE_SHIFT]);
    check(run_kind(slab) == RUN_SLAB);
    return slab;
}

static void arena_free(struct arena *arena, void *block)
{
    struct slice *slab = slab_of(block);
    uintptr_t offset = (uintptr_t)block - slab_start(slab);
    if (load_relaxed(slab->owner) != arena)
        arena_release_foreign(arena, slab, block, offset);
    else if (slab_push(slab, block, offset))
        arena_wake(arena, slab);
}

/* Slabs in all regions. */
static size_t slabs_there(void)
{
    size_t slabs = 0;
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        for (size_t at = 0, length; at < load_relaxed(regions[i].count); at += length) {
            length = run_length(&regions[i].map[at]);
            slabs += run_kind(&regions[i].map[at]) == RUN_SLAB;
        }
    return slabs;
}

/* What holds whenever no thread is in the middle of anything: regions, arenas and slabs are valid, each
   slab's owner has it in a list and nobody's slabs are full or listed as orphans. */
static void arenas_check(void)
{
    size_t listed = 0, owned = 0, orphaned = 0, nobodys = 0;
    for (size_t i = 0; i < load_relaxed(region_count); i++) {
        size_t hollow = 0;
        check(region_valid(&regions[i]));
        for (size_t at = 0, length; at < load_relaxed(regions[i].count); at += length) {
            struct slice *slab = &regions[i].map[at];
            length = run_length(slab);
            if (run_kind(slab) != RUN_SLAB)
                continue;
            check(slab_valid(slab));
            if (slab->purged)
                hollow += (size_t)__builtin_popcountll(load_relaxed(slab->unformed)) * os_page_size;
            if (load_relaxed(slab->owner)) {
                owned++;
                check(REMOTE_ID(load_relaxed(slab->remote)) == load_relaxed(slab->owner)->id &&
                      !slab->orphan);
            } else {
                nobodys++;
                check(load_relaxed(slab->remote) == 0);
                check(slab->orphan || (slab_free_count(slab) == 0 && load_relaxed(slab->unformed) == 0));
            }
        }
        check(load_relaxed(regions[i].hollow) == hollow);
    }
    for (uint32_t id = 1; id <= arena_count(); id++) {
        struct arena *arena = arena_by_id(id);
        check(arena_valid(arena) && arena->id == id);
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            listed += arena->open[class] != SLAB_NONE && arena->open[class]->size_class == class;
            for (struct slice *slab = arena->partial[class]; slab; slab = slab->next)
                listed++;
            for (struct slice *slab = arena->waiting[class]; slab; slab = slab->next)
                listed++;
        }
    }
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        for (struct slice *slab = orphans.first[class]; slab; slab = slab->next) {
            check(slab->orphan && !load_relaxed(slab->owner) && slab->size_class == class);
            orphaned++;
        }
    check(listed == owned && orphaned <= nobodys);
}

/* Fills one slab of the class; the blocks in address order. */
static size_t fill_slab(struct arena *arena, unsigned class, void **blocks)
{
    bool clean;
    size_t capacity = size_classes[class].capacity;
    for (size_t i = 0; i < capacity; i++)
        check((blocks[i] = arena_allocate(arena, class, &clean)));
    check(slab_of(blocks[0]) == slab_of(blocks[capacity - 1]));
    return capacity;
}

/* ---- blocks whose contents are known ---- */

struct known_block {
    unsigned char *start;
    unsigned class;
    unsigned char stamp;
};

/* The first and last bytes are written beyond the first word, too: what a link overwrites is not told
   apart. */
static void known_fill(struct known_block *block)
{
    size_t size = size_classes[block->class].block_size;
    memset(block->start, block->stamp, 16);
    memset(block->start + size - 16, block->stamp, 16);
}

static void known_verify(const struct known_block *block)
{
    size_t size = size_classes[block->class].block_size;
    for (size_t i = 0; i < 16; i++)
        check(block->start[i] == block->stamp && block->start[size - 16 + i] == block->stamp);
}

static bool known_allocate(struct known_block *block, struct arena *arena, unsigned class,
                           unsigned char stamp)
{
    bool clean;
    *block = (struct known_block){arena_allocate(arena, class, &clean), class, stamp};
    if (!block->start)
        return false;
    size_t size = size_classes[class].block_size;
    check(!slab_double_free_candidate(block->start));
    for (size_t i = 0; i < 8; i++) /* the first word is cleared in any case */
        check(block->start[i] == 0 &&
              (!clean || (block->start[8 + i] == 0 && block->start[size - 1 - i] == 0)));
    known_fill(block);
    return true;
}

#endif
