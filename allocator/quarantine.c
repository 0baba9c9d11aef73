/* quarantine.c: see quarantine.h. */
#include "quarantine.h"

/* Powers of two of places for the classes up to each bound: at most 32, 64 and 128 KiB for each arena. */
enum { GROUP_SMALL = 128, GROUP_MIDDLE = 32, GROUP_LARGE = 4, CLASS_OF_256 = 11, CLASS_OF_2048 = 23 };
static_assert(GROUP_SMALL + GROUP_MIDDLE + GROUP_LARGE == QUARANTINE_PLACES, "the groups fill the ring");

static size_t quarantine_place(const struct slice *slab)
{
    uint64_t chance = chance_bits();
    if (likely(slab->size_class <= CLASS_OF_256))
        return chance % GROUP_SMALL;
    return slab->size_class <= CLASS_OF_2048 ? GROUP_SMALL + chance % GROUP_MIDDLE
                                             : GROUP_SMALL + GROUP_MIDDLE + chance % GROUP_LARGE;
}

/* With errno kept, as the release has it. */
RARE void block_give_back_slow(struct arena *arena, struct slice *slab, void *block, uintptr_t offset, bool mine)
{
    int saved_errno = errno;
    if (mine)
        arena_wake(arena, slab);
    else
        arena_release_foreign(arena, slab, block, offset);
    errno = saved_errno;
}

INLINE void block_give_back(struct arena *arena, struct slice *slab, void *block, uintptr_t offset)
{
    bool mine = load_relaxed(slab->owner) == arena;
    if (unlikely(!mine || slab_push(slab, block, offset)))
        block_give_back_slow(arena, slab, block, offset, mine);
}

INLINE void quarantine_end(struct arena *arena, void *block)
{
    const struct region *region = region_of_likely(block);
    struct slice *slab = slab_at(region, block);
    uintptr_t offset = (uintptr_t)block - slab_start(slab);
    if (unlikely(*(block_word *)block * process_key.decode != QUARANTINE_MARK(offset)))
        diag_fatal("write after free", block);
    block_give_back(arena, slab, block, offset);
}

RARE bool quarantine_contains(const void *block, const _Atomic(void *) *except)
{
    for (uint32_t id = arena_count(); id > 0; id--) {
        const struct quarantine *quarantine = load_acquire(arena_by_id(id)->quarantine);
        for (size_t i = 0; quarantine && i < QUARANTINE_PLACES; i++)
            if (load_relaxed(quarantine->places[i]) == block && &quarantine->places[i] != except)
                return true;
    }
    return false;
}

RARE struct quarantine *quarantine_create(struct arena *arena)
{
    struct quarantine *quarantine = arena_metadata(sizeof *quarantine);
    store_release(arena->quarantine, quarantine);
    return quarantine;
}

/* The first word of a block that is being freed was a mark or a link: by what it was before, is the block free? The
   program may have copied the word. */
RARE void quarantine_judge(struct slice *slab, const void *block, uint64_t found, const void *before,
                           const _Atomic(void *) *place)
{
    uint64_t mark = QUARANTINE_MARK((uintptr_t)block - slab_start(slab));
    bool is_free = found == mark ? before == block || quarantine_contains(block, place)
                                 : slab_lists_contain(slab, block);
    /* Perhaps another thread has marked it, and is about to give it back to us. */
    enum { LOOKS = 1000 };
    for (int looks = 0; found == mark && !is_free && looks < LOOKS; looks++) {
        os_yield();
        is_free = slab_lists_contain(slab, block);
    }
    if (is_free)
        diag_fatal("double free", block);
}

INLINE bool quarantine_put(struct arena *arena, struct slice *slab, void *block, uintptr_t offset, bool mine,
                           void **before)
{
    static _Atomic(void *) nowhere;
    _Atomic(void *) *place = &nowhere;
    if (likely(mine)) {
        struct quarantine *quarantine = load_relaxed(arena->quarantine);
        if (unlikely(!quarantine) && !(quarantine = quarantine_create(arena)))
            return false;
        place = &quarantine->places[quarantine_place(slab)];
        *before = load_relaxed(*place);
        store_release(*place, block);
    }
    uint64_t mark = QUARANTINE_MARK(offset) * process_key.encode, found;
    if (likely(os_single_threaded())) {
        found = *(block_word *)block;
        *(block_word *)block = mark;
    } else {
        found = __atomic_exchange_n((block_word *)block, mark, __ATOMIC_ACQ_REL);
    }
    found *= process_key.decode;
    if (unlikely(found > LINK_LOWEST))
        quarantine_judge(slab, block, found, *before, place);
    return true;
}

static void quarantine_flush(struct arena *arena)
{
    struct quarantine *quarantine = load_relaxed(arena->quarantine);
    for (size_t i = 0; quarantine && i < QUARANTINE_PLACES; i++) {
        void *block = load_relaxed(quarantine->places[i]);
        store_relaxed(quarantine->places[i], NULL);
        if (block)
            quarantine_end(arena, block);
    }
}
