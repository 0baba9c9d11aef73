/* hardened.c: see hardened.h. */
#include "hardened.h"

RARE void hardened_start(uint8_t features)
{
    if (features == load_relaxed(hardened_features))
        return;
    if (thread_home)
        quarantine_flush(thread_home); /* or its blocks would bring slabs of before into use again */
    if (features != 0) {
        hardening_init();
        store_relaxed(hardened_ever, true);
    }
    store_relaxed(hardened_features, features);
    if (thread_home)
        arena_abandon(thread_home);
    thread_slow(SLOW_HARDENED, features != 0);
}

/* ---- blocks of slabs ---- */

/* Blocks of up to so many bytes are cleared without a call. */
enum { STRAIGHT_MAX = 512 };

/* But for the first word, which a pop has just cleared: who reads that store as part of more waits for it. Of a large
   block, only what programs write to first and last: the rest would cost more than clearing it. */
INLINE bool block_is_zero(const void *block, size_t size)
{
    enum { LOOK_MAX = 512 };
    const zero_word *at = block, *end = (const zero_word *)((const char *)block + size);
    zero_word any = {((const block_word *)block)[1], 0};
    if (likely(size <= 80)) { /* the two ends, which meet or overlap */
        if (size > 48)
            any |= at[1] | at[2] | end[-2] | end[-1];
        else if (size > 16)
            any |= at[1] | end[-1];
        return zero_word_is_zero(any);
    }
    if (unlikely(size > 2 * LOOK_MAX)) {
        if (!memory_is_zero(end - LOOK_MAX / sizeof *at, LOOK_MAX))
            return false;
        end = at + LOOK_MAX / sizeof *at;
    }
    for (at++; at < end - 4; at += 4)
        any |= at[0] | at[1] | at[2] | at[3];
    return zero_word_is_zero(any | end[-4] | end[-3] | end[-2] | end[-1]);
}

/* All but the first word. */
INLINE void block_clear(void *block, size_t size)
{
    zero_word *at = block, *end = (zero_word *)((char *)block + size), zero = {0, 0};
    ((block_word *)block)[1] = 0;
    if (size <= 48) {
        if (size > 16)
            at[1] = end[-1] = zero;
        return;
    }
    at[1] = at[2] = end[-2] = end[-1] = zero;
    if (likely(size <= 80))
        return;
    if (unlikely(size > STRAIGHT_MAX)) {
        memset(at + 3, 0, size - 5 * sizeof *at);
        return;
    }
    for (at += 3, end -= 2; at < end; at += 2) {
        at[0] = at[1] = zero;
        __asm__("" : "+r"(at)); /* else it is made a call of memset */
    }
}

INLINE void hand_out(const struct slice *slab, void *block, uint8_t features)
{
    size_t size = slab_class(slab)->block_size;
    if (features & HARDENED_ZERO && unlikely(!block_is_zero(block, size)))
        diag_fatal("write after free", block);
    if (features & HARDENED_CANARY)
        canary_set(block, size - CANARY_SIZE);
}

static bool hardened_hand_out(struct slice *slab, void *block)
{
    hand_out(slab, block, slab->features);
    return slab->features & HARDENED_ZERO;
}

INLINE void *hardened_pop(struct slice *slab)
{
    if (unlikely(!features_are_usual(slab->features)))
        return NULL;
    void *block = slab_pop(slab);
    if (likely(block != NULL))
        hand_out(slab, block, HARDENED_USUAL);
    return block;
}

/* A slab of a time with other features: its blocks stay free for ever. */
static bool slab_is_of_before(const struct slice *slab)
{
    return (slab->features ^ load_relaxed(hardened_features)) & ~HARDENED_GUARD;
}

RARE bool hardened_block_is_free(const struct slice *slab, const void *block)
{
    uint64_t mark = QUARANTINE_MARK((uintptr_t)block - slab_start(slab));
    return *(const block_word *)block * process_key.decode == mark &&
           (slab_is_of_before(slab) || quarantine_contains(block, NULL));
}

RARE void release_of_before(struct slice *slab, void *block)
{
    if (slab_lists_contain(slab, block) || hardened_block_is_free(slab, block))
        diag_fatal("double free", block);
    if (slab->features & HARDENED_CANARY)
        canary_check(block, hardened_room(slab));
    *(block_word *)block = QUARANTINE_MARK((uintptr_t)block - slab_start(slab)) * process_key.encode;
}

/* Of a block that is the thread's to end: looks at its canary, and clears it or fills it. */
INLINE void release_check(void *p, size_t size, uint8_t features, unsigned char fill)
{
    if (features & HARDENED_CANARY)
        canary_check(p, size - CANARY_SIZE);
    if (features & HARDENED_ZERO)
        block_clear(p, size);
    else if (unlikely(fill != 0))
        memset((block_word *)p + 1, fill, size - sizeof(block_word));
}

/* A block of any slab that is not of before. */
static void release_block(struct arena *arena, struct slice *slab, void *p, uintptr_t offset, unsigned char fill)
{
    uint8_t features = slab->features;
    bool mine = load_relaxed(slab->owner) == arena;
    struct quarantine *quarantine = features & HARDENED_QUARANTINE ? quarantine_of(arena) : NULL;
    struct quarantined what = {0, NULL, NULL};
    if (quarantine) {
        what = mine ? quarantine_put(quarantine, slab, p, offset) : quarantine_put_foreign(slab, p, offset);
        if (unlikely(what.found > LINK_LOWEST))
            quarantine_judge(slab, p, what);
    } else if (unlikely(slab_double_free_candidate(p)) && slab_lists_contain(slab, p)) {
        diag_fatal("double free", p);
    }
    release_check(p, slab_class(slab)->block_size, features, fill);
    if (!quarantine || !mine)
        arena_release(arena, slab, p, offset);
    else if (what.before)
        quarantine_end(arena, what.before);
}

/* The end of the quick way. */
INLINE void release_quick_end(struct arena *arena, void *p, size_t size, void *before)
{
    release_check(p, size, HARDENED_USUAL, 0);
    if (likely(before != NULL))
        quarantine_end(arena, before);
}

LAST SLOW void release_quick_large(struct arena *arena, void *p, size_t size, void *before)
{
    release_quick_end(arena, p, size, before);
}

/* A block that may have been free. */
RARE void release_quick_doubtful(struct arena *arena, struct slice *slab, void *p, uint64_t found, void *before,
                                 const _Atomic(void *) *place)
{
    quarantine_judge(slab, p, (struct quarantined){found, before, place});
    release_quick_end(arena, p, slab_class(slab)->block_size, before);
}

/* A block of another thread's slab, or of nobody's; or no slab at all: only an owner is proof of that. */
LAST SLOW bool release_quick_foreign(struct arena *arena, struct slice *slab, void *p, uintptr_t offset)
{
    if (unlikely(run_kind(slab) != RUN_SLAB))
        return false;
    release_block(arena, slab, p, offset, 0);
    return true;
}

/* All that is not straight leaves by a jump: so there is no frame. */
INLINE bool hardened_release_quick(void *p)
{
    const struct region *region = &regions[0];
    size_t index = ((uintptr_t)p - region->base) >> SLICE_SHIFT;
    if (unlikely(index >= load_folded(region->count)))
        return false;
    struct slice *slab = slab_at(region, p);
    uintptr_t offset = (uintptr_t)p - slab_start(slab);
    struct arena *arena = thread_hardened;
    struct quarantine *quarantine = load_relaxed(arena->quarantine);
    /* The limit is exact here: the slabs for which it never is are formed at once where order is random. But the guard
       behind a slab of the largest class is no block, either. */
    if (unlikely(!slab_is_block(slab, offset) || offset >> LINK_PLACE_BITS != 0 || !features_are_usual(slab->features) ||
                 !quarantine || chance_state == 0 || thread_has_orders(arena)))
        return false;
    if (unlikely(load_relaxed(slab->owner) != arena))
        return release_quick_foreign(arena, slab, p, offset);
    struct quarantined what = quarantine_put(quarantine, slab, p, offset);
    size_t size = slab_class(slab)->block_size;
    if (unlikely(what.found > LINK_LOWEST))
        release_quick_doubtful(arena, slab, p, what.found, what.before, what.place);
    else if (size <= STRAIGHT_MAX)
        release_quick_end(arena, p, size, what.before);
    else
        release_quick_large(arena, p, size, what.before);
    return true;
}

LAST static bool hardened_release(void *p, unsigned char fill)
{
    const struct region *region = region_of_likely(p);
    if (unlikely(!region))
        return false;
    struct slice *slab = slab_at(region, p);
    if (unlikely(run_kind(slab) != RUN_SLAB))
        return false;
    uintptr_t offset = (uintptr_t)p - slab_start(slab);
    /* Not slab->limit, which says that frees had better look for unformed pages: here they always do. */
    if (unlikely(offset >= slab_class(slab)->slices * SLICE_SIZE || !slab_is_formed_block(slab, offset)))
        return false;
    if (unlikely(slab_is_of_before(slab))) {
        release_of_before(slab, p);
        return true;
    }
    struct arena *arena = thread_enter();
    if (unlikely(!arena))
        return true; /* no memory for an arena: the block is lost, which no later operation can notice */
    release_block(arena, slab, p, offset, fill);
    thread_leave(arena);
    return true;
}

/* ---- medium blocks ---- */

/* Bytes of the run before its guard. */
static size_t medium_bytes(const struct slice *head)
{
    return (run_length(head) - (head->features & HARDENED_GUARD ? 1 : 0)) << SLICE_SHIFT;
}

static bool medium_has_canary(const struct slice *head)
{
    return head->features & HARDENED_CANARY && head->usable + CANARY_SIZE <= medium_bytes(head);
}

/* Makes the run one for `size` bytes, as far as canaries go. */
static void medium_fit(struct slice *head, size_t size)
{
    bool room = head->features & HARDENED_CANARY && canary_place(size) + CANARY_SIZE <= medium_bytes(head);
    head->usable = room ? canary_place(size) : medium_bytes(head);
    if (room)
        canary_set(medium_start(head), head->usable);
}

/* Looks at the canary, and leaves zero in its place. */
static void medium_unfit(struct slice *head)
{
    if (!medium_has_canary(head))
        return;
    canary_check(medium_start(head), head->usable);
    *(block_word *)((uintptr_t)medium_start(head) + head->usable) = 0;
}

static uintptr_t medium_guard(const struct slice *head)
{
    return (uintptr_t)medium_start(head) + ((run_length(head) - 1) << SLICE_SHIFT);
}

/* Clears what is not zero already, a page at a time, so that pages which nobody has touched stay so. Giving back instead
   would cost less now, and several times as much when the memory is used again. */
static void medium_clear(uintptr_t from, uintptr_t to)
{
    enum { LOOK = 256 };                /* bytes: most pages that are not zero show it at once */
    const size_t clear_max = 32 * MIB; /* what is larger is a mapping, unless those are not to be had */
    if (to - from > clear_max && os_discard(from, to - from))
        return;
    for (; from < to; from += os_page_size)
        if (!memory_is_zero((void *)from, LOOK) || !memory_is_zero((void *)(from + LOOK), os_page_size - LOOK))
            memset((void *)from, 0, os_page_size);
}

static size_t hardened_slices(size_t size)
{
    return slices_for(size) + (hardened_has(HARDENED_GUARD) ? 1 : 0);
}

LAST static void hardened_medium_begin(struct slice *head, size_t size)
{
    if (head->features & HARDENED_GUARD && !os_guard(medium_guard(head), SLICE_SIZE))
        head->features &= (uint8_t)~HARDENED_GUARD;
    medium_fit(head, size);
}

LAST static bool hardened_medium_end(struct slice *head)
{
    medium_unfit(head);
    if (head->features & HARDENED_ZERO)
        medium_clear((uintptr_t)medium_start(head), (uintptr_t)medium_start(head) + medium_bytes(head));
    return !(head->features & HARDENED_GUARD) || os_unguard(medium_guard(head), SLICE_SIZE);
}

LAST static bool hardened_medium_resize(struct slice *head, size_t size)
{
    size_t behind = head->features & HARDENED_GUARD ? 1 : 0, length = run_length(head), usable = head->usable;
    size_t slices = slices_for(size) + behind;
    if (slices != length && behind != 0 && !os_unguard(medium_guard(head), SLICE_SIZE))
        return false;
    medium_unfit(head);
    if (slices < length && head->features & HARDENED_ZERO)
        medium_clear((uintptr_t)medium_start(head) + (slices << SLICE_SHIFT),
                     (uintptr_t)medium_start(head) + ((length - behind) << SLICE_SHIFT));
    bool done = slices == length || region_resize(head, slices);
    if (slices != length && behind != 0 && !os_guard(medium_guard(head), SLICE_SIZE))
        head->features &= (uint8_t)~HARDENED_GUARD;
    medium_fit(head, done ? size : usable);
    return done;
}
