/* quarantine.c: see quarantine.h. */
#include "quarantine.h"

/* Powers of two of places for the classes up to each bound: at most 32, 64 and 128 KiB for each arena. */
enum { GROUP_SMALL = 128, GROUP_MIDDLE = 32, GROUP_LARGE = 4, CLASS_OF_256 = 11, CLASS_OF_2048 = 23 };
static_assert(GROUP_SMALL + GROUP_MIDDLE + GROUP_LARGE == QUARANTINE_PLACES, "the groups fill the ring");

/* A random one for a block of the slab. */
INLINE size_t quarantine_place(const struct slice *slab)
{
    if (likely(slab->size_class <= CLASS_OF_256))
        return chance_below(GROUP_SMALL);
    return slab->size_class <= CLASS_OF_2048 ? GROUP_SMALL + chance_below(GROUP_MIDDLE)
                                             : GROUP_SMALL + GROUP_MIDDLE + chance_below(GROUP_LARGE);
}

INLINE void quarantine_end(struct arena *arena, void *block)
{
    const struct region *region = region_of_likely(block);
    struct slice *slab = slab_at(region, block);
    uintptr_t offset = (uintptr_t)block - slab_start(slab);
    if (unlikely(*(block_word *)block * process_key.decode != QUARANTINE_MARK(offset)))
        diag_fatal("write after free", block);
    arena_release(arena, slab, block, offset);
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

static struct quarantine *quarantine_of(struct arena *arena)
{
    chance_seed_once();
    struct quarantine *quarantine = load_relaxed(arena->quarantine);
    if (unlikely(!quarantine)) {
        quarantine = arena_metadata(sizeof *quarantine);
        store_release(arena->quarantine, quarantine);
    }
    return quarantine;
}

RARE void quarantine_judge(struct slice *slab, const void *block, struct quarantined what)
{
    /* Marked or linked: but the program may have copied that word. */
    uint64_t mark = QUARANTINE_MARK((uintptr_t)block - slab_start(slab));
    bool is_free = what.found == mark ? what.before == block || quarantine_contains(block, what.place)
                                      : slab_lists_contain(slab, block);
    /* Perhaps another thread has marked it, and is about to give it back to us. */
    enum { LOOKS = 1000 };
    for (int looks = 0; what.found == mark && !is_free && looks < LOOKS; looks++) {
        os_yield();
        is_free = slab_lists_contain(slab, block);
    }
    if (is_free)
        diag_fatal("double free", block);
}

/* Marks a block; its first word before, decoded. */
INLINE uint64_t block_mark(const struct slice *slab, void *block, uintptr_t offset)
{
    uint64_t mark = QUARANTINE_MARK(offset) * process_key.encode, found;
    if (likely(os_single_threaded())) {
        found = *(block_word *)block;
        *(block_word *)block = mark;
    } else {
        /* Nothing behind the exchange begins before it is done: the canary's line, too, is best on its way by then. */
        __builtin_prefetch((const char *)block + slab_class(slab)->block_size - 1, 1);
        found = __atomic_exchange_n((block_word *)block, mark, __ATOMIC_ACQ_REL);
    }
    return found * process_key.decode;
}

INLINE struct quarantined quarantine_put(struct quarantine *quarantine, const struct slice *slab, void *block,
                                         uintptr_t offset)
{
    _Atomic(void *) *place = &quarantine->places[quarantine_place(slab)];
    void *before = load_relaxed(*place);
    store_release(*place, block);
    return (struct quarantined){block_mark(slab, block, offset), before, place};
}

INLINE struct quarantined quarantine_put_foreign(const struct slice *slab, void *block, uintptr_t offset)
{
    return (struct quarantined){block_mark(slab, block, offset), NULL, NULL};
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
