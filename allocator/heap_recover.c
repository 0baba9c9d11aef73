/* heap_recover.c: see heap_recover.h. */
#include "heap_recover.h"

/* ---- orphans ---- */

LAST static bool heap_orphan_is_near(const struct brim_heap *heap, size_t index)
{
    return index < load_relaxed(heap->count);
}

LAST static void heap_orphan_add(struct brim_heap *heap, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    if (slice->listed)
        return;
    uint32_t *first = &heap->header->orphans[slice->size_class];
    slice->orphan_previous = 0;
    slice->orphan_next = heap_orphan_is_near(heap, *first) ? *first : 0;
    if (slice->orphan_next != 0)
        heap_slice(heap, slice->orphan_next)->orphan_previous = (uint32_t)index;
    *first = (uint32_t)index;
    slice->listed = true;
}

LAST static void heap_orphan_remove(struct brim_heap *heap, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    if (!slice->listed)
        return;
    slice->listed = false;
    uint32_t next = slice->orphan_next, previous = slice->orphan_previous;
    if (!heap_orphan_is_near(heap, next) || !heap_orphan_is_near(heap, previous)) {
        store_relaxed(heap->damaged, true);
        return;
    }
    if (next != 0)
        heap_slice(heap, next)->orphan_previous = previous;
    if (previous != 0)
        heap_slice(heap, previous)->orphan_next = next;
    else
        heap->header->orphans[slice->size_class] = next;
}

LAST static size_t heap_orphan_take(struct brim_heap *heap, unsigned class, uint32_t owner, uint64_t token)
{
    uint32_t *first = &heap->header->orphans[class];
    while (*first != 0) {
        size_t index = *first;
        if (!heap_orphan_is_near(heap, index) || !heap_slice(heap, index)->listed ||
            heap_slice(heap, index)->size_class != class) {
            heap_fail_damaged(heap);
            return 0;
        }
        heap_orphan_remove(heap, index);
        struct heap_slice *slice = heap_slice(heap, index);
        if (!heap_slab_has_room(slice) || !heap_slab_claim(slice, owner, token))
            continue;
        if (heap_slab_makes_sense(heap, index, load_relaxed(heap->count))) {
            struct heap_slab slab = heap_slab_view(heap, index);
            if (heap_slab_lists_hold(&slab, &heap->key))
                return index;
        }
        heap_fail_damaged(heap);
        return 0;
    }
    return 0;
}

LAST static void heap_slab_end(struct brim_heap *heap, size_t index)
{
    heap_orphan_remove(heap, index);
    heap_slab_destroy(heap, index);
}

/* ---- who is there ---- */

LAST static bool heap_has_dead(const struct brim_heap *heap)
{
    for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++)
        if (load_relaxed(heap->header->processes[slot]) != 0 && heap_slot_is_dead(heap, slot))
            return true;
    return false;
}

LAST static size_t heap_processes(const struct brim_heap *heap)
{
    size_t count = 0;
    for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++)
        count += load_relaxed(heap->header->processes[slot]) != 0;
    return count;
}

LAST static bool heap_enter(struct brim_heap *heap, uint64_t identity)
{
    for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++) {
        uint64_t nobody = 0;
        if (atomic_compare_exchange_strong_explicit(&heap->header->processes[slot], &nobody, identity,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            heap->slot = slot;
            heap->token = os_random() | 1;
            store_release(heap->identity, identity);
            return true;
        }
    }
    return heap_fail(BRIM_HEAP_TOO_MANY, EUSERS);
}

/* ---- recovery ---- */

/* Whoever has the lock sees all slices, as lists lead to any of them. */
LAST static bool heap_follow_all(struct brim_heap *heap)
{
    return heap_follow(heap) && (likely(load_relaxed(heap->count) == load_relaxed(heap->header->count)) ||
                                 heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM)); /* others have more address space */
}

LAST static void heap_recover_slab(struct brim_heap *heap, size_t index, const uint64_t dead[HEAP_PROCESSES], bool everyone)
{
    struct heap_slab slab = heap_slab_view(heap, index);
    struct heap_slice *slice = slab.slice;
    slice->listed = false;
    uint32_t owner = heap_slab_owner(slice), slot = HEAP_OWNER_SLOT(owner);
    /* Read after the owner: it had entered before. Who has entered since dead[] was made lives. */
    uint64_t now = slot < HEAP_PROCESSES ? load_acquire(heap->header->processes[slot]) : 0;
    if (owner != 0 && (everyone || slot >= HEAP_PROCESSES || now == 0 || now == dead[slot]))
        heap_slab_settle(&slab, &heap->key);
    /* Nobody's may become anybody's at any time who frees a block of it. */
    if (!heap_slab_claim(slice, HEAP_OWNER(heap->slot, HEAP_THREAD_NONE), 0))
        return;
    if (heap_slab_is_idle(slice)) {
        heap_slab_destroy(heap, index);
        return;
    }
    heap_slab_disown(slice, false);
    if (heap_slab_has_room(slice))
        heap_orphan_add(heap, index);
}

/* Makes what is behind the head of a run as it should be. */
LAST static void heap_recover_run(struct brim_heap *heap, size_t index, size_t length)
{
    for (size_t i = index + 1; i < index + length; i++) {
        struct heap_slice *slice = heap_slice(heap, i);
        if (heap_run_kind(slice) != HEAP_INSIDE)
            store_relaxed(slice->run, HEAP_RUN(HEAP_INSIDE, 0));
        if (heap_run_kind(heap_slice(heap, index)) != HEAP_SLAB && slice->back != 0)
            slice->back = 0;
    }
    heap_mark(heap, index, length, true);
}

LAST static bool heap_is_tiled(const struct brim_heap *heap)
{
    size_t count = load_relaxed(heap->count);
    for (size_t index = 0, span; index < count; index += span) {
        span = heap_run_span(heap, index, count); /* what is behind the head, recovery makes right */
        bool good = span != 0 && (heap_run_kind(heap_slice(heap, index)) != HEAP_SLAB ||
                                  heap_slab_makes_sense(heap, index, count));
        if (!good)
            return false;
    }
    return true;
}

LAST static bool heap_recover(struct brim_heap *heap, bool everyone)
{
    struct heap_header *header = heap->header;
    uint64_t dead[HEAP_PROCESSES]; /* the identity that is there is that of a dead process; 0: nobody's, or it lives */
    for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++) {
        uint64_t identity = load_acquire(header->processes[slot]);
        dead[slot] = heap_identity_is_dead(heap, identity) ? identity : 0;
    }
    if (!heap_follow_all(heap))
        return false;
    size_t count = load_relaxed(heap->count);
    if (!heap_is_tiled(heap))
        return heap_fail_damaged(heap);
    header->unrecovered = true;
    heap_then();
    memset(header->orphans, 0, sizeof header->orphans);
    for (size_t index = 0, span; index < count; index += span) {
        struct heap_slice *head = heap_slice(heap, index);
        span = heap_run_span(heap, index, count);
        switch (heap_run_kind(head)) {
        case HEAP_FREE: heap_mark(heap, index, 1, false); break;
        case HEAP_DETACHED:
            heap_recover_run(heap, index, span);
            store_relaxed(head->owner, 0);
            head->listed = false;
            heap_run_release(heap, index);
            break;
        case HEAP_SLAB:
            heap_recover_run(heap, index, span);
            heap_recover_slab(heap, index, dead, everyone);
            break;
        default: heap_recover_run(heap, index, span);
        }
    }
    header->first_free = 1;
    for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++)
        if (dead[slot]) {
            header->recovered++;
            store_release(header->processes[slot], 0);
        }
    heap_then();
    header->unrecovered = false;
    return true;
}

LAST static bool heap_lock(struct brim_heap *heap)
{
    bool inherited = heap_lock_word(heap) == HEAP_LOCK_INHERITED;
    if (inherited)
        heap->header->unrecovered = true;
    if (heap_follow_all(heap) && (likely(!heap->header->unrecovered) || heap_recover(heap, false)))
        return true;
    heap_unlock(heap);
    return false;
}
