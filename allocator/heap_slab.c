/* heap_slab.c: see heap_slab.h. */
#include "heap_slab.h"

LAST static struct heap_slab heap_slab_view(const struct brim_heap *heap, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    return (struct heap_slab){slice, heap_address(heap, index) - BLOCK_ALIGNMENT};
}

LAST static bool heap_slab_makes_sense(const struct brim_heap *heap, size_t index, size_t count)
{
    const struct heap_slice *slice = heap_slice(heap, index);
    if (heap_run_kind(slice) != HEAP_SLAB || slice->size_class >= CLASS_COUNT || slice->back != 0)
        return false;
    const struct size_class *row = heap_slab_class(slice);
    uint64_t head = load_relaxed(slice->head), remote = load_relaxed(slice->remote);
    uint32_t bound = heap_class_bound(row);
    /* Aligned: so that its descriptors are in one table. */
    if (heap_run_length(slice) != row->slices || row->slices > count - index || index % row->slices != 0 ||
        slice->reciprocal != row->reciprocal || slice->limit != row->limit || head <= LINK_LOWEST ||
        LINK_COUNT(head) > row->capacity || LINK_PLACE(head) >= bound || REMOTE_COUNT(remote) > row->capacity ||
        LINK_PLACE(REMOTE_LIST(remote)) >= bound || (LINK_PLACE(head) == 0) != (LINK_COUNT(head) == 0) ||
        (LINK_PLACE(REMOTE_LIST(remote)) == 0) != (REMOTE_COUNT(remote) == 0) ||
        load_relaxed(slice->formed) > row->capacity || head > LINK_EMPTY)
        return false;
    for (unsigned i = 1; i < row->slices; i++)
        if (slice[i].back != i || load_relaxed(slice[i].owner) != 0 || heap_run_kind(&slice[i]) != HEAP_INSIDE)
            return false;
    return true;
}

/* ---- a slab's life ---- */

LAST static size_t heap_slab_units(const struct size_class *row) { return row->slices * SLICE_SIZE / HEAP_UNIT; }

LAST static void heap_slab_create(struct brim_heap *heap, size_t index, unsigned class, uint32_t owner, uint64_t token)
{
    const struct size_class *row = &size_classes[class];
    struct heap_slice *slice = heap_slice(heap, index);
    store_relaxed(slice->head, LINK_EMPTY);
    slice->wake = WAKE_NEVER;
    slice->reciprocal = row->reciprocal;
    slice->limit = row->limit;
    slice->back = 0;
    slice->size_class = (uint8_t)class;
    slice->state = HEAP_SLAB_OPEN;
    slice->listed = false;
    store_relaxed(slice->formed, 0);
    store_relaxed(slice->unformed, ~0ull >> (64 - heap_slab_units(row)));
    slice->forming = slice->taken = 0;
    slice->next = slice->previous = 0;
    store_relaxed(slice->remote, (uint64_t)owner << 32);
    for (unsigned i = 1; i < row->slices; i++) {
        slice[i].back = (uint8_t)i;
        store_relaxed(slice[i].owner, 0);
    }
    store_relaxed(slice->owner, token);
    heap_run_publish(slice, HEAP_SLAB);
}

LAST static void heap_slab_destroy(struct brim_heap *heap, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    size_t slices = heap_run_length(slice);
    heap_run_publish(slice, HEAP_DETACHED);
    heap_then();
    store_relaxed(slice->owner, 0);
    store_relaxed(slice->remote, 0);
    slice->state = HEAP_SLAB_NOBODY;
    for (unsigned i = 1; i < slices; i++)
        slice[i].back = 0;
    heap_run_release(heap, index);
}

/* ---- forming: as in slab.c ---- */

/* Number of the first block that starts at or above the unit. */
LAST static size_t unit_first_block(const struct size_class *row, size_t unit)
{
    return min_size((unit * HEAP_UNIT + row->block_size - 1) / row->block_size, row->capacity);
}

/* The unit in which block `number` starts; behind the last block, the number of units. */
LAST static size_t block_first_unit(const struct size_class *row, size_t number)
{
    return number < row->capacity ? number * row->block_size / HEAP_UNIT : heap_slab_units(row);
}

LAST static bool heap_block_is_unformed(const struct heap_slice *slice, size_t number)
{
    return load_relaxed(slice->unformed) >> block_first_unit(heap_slab_class(slice), number) & 1;
}

LAST static bool heap_slab_form(const struct heap_slab *slab, const struct link_key *key)
{
    struct heap_slice *slice = slab->slice;
    const struct size_class *row = heap_slab_class(slice);
    uint64_t unformed = load_relaxed(slice->unformed) & ~0ull >> (64 - heap_slab_units(row));
    if (unformed == 0)
        return false;
    size_t unit = (size_t)__builtin_ctzll(unformed);
    size_t batch = 1 + (size_t)load_relaxed(slice->formed) * row->block_size / HEAP_UNIT / 4, last = unit + 1;
    while (last < unit + batch && last < 64 && unformed >> last & 1)
        last++;
    size_t first_block = unit_first_block(row, unit);
    size_t end_block = min_size(max_size(unit_first_block(row, last), first_block + 1), row->capacity);
    uint64_t head = LINK_EMPTY;
    for (size_t i = end_block; i > first_block; i--) {
        size_t offset = (i - 1) * row->block_size;
        *(block_word *)(heap_slab_start(slab) + offset) = head * key->encode;
        head = link_pushed(head, offset);
    }
    uint64_t units = page_mask(unit, max_size(block_first_unit(row, end_block), unit + 1));
    slice->forming = units;
    heap_then();
    store_relaxed(slice->unformed, unformed & ~units);
    store_relaxed(slice->formed, (uint16_t)(load_relaxed(slice->formed) + (end_block - first_block)));
    heap_then();
    store_release(slice->head, head);
    heap_then();
    slice->forming = 0;
    heap_then();
    return head != LINK_EMPTY;
}

LAST static size_t heap_slab_count_formed(const struct heap_slice *slice)
{
    size_t formed = 0;
    for (size_t i = 0; i < heap_slab_class(slice)->capacity; i++)
        formed += !heap_block_is_unformed(slice, i);
    return formed;
}

/* ---- owners and remote frees ---- */

LAST static bool heap_slab_take_remote(const struct heap_slab *slab)
{
    struct heap_slice *slice = slab->slice;
    uint64_t remote = load_relaxed(slice->remote);
    do {
        if (REMOTE_COUNT(remote) == 0 || LINK_PLACE(REMOTE_LIST(remote)) >= heap_slab_bound(slab))
            return false;
        slice->taken = REMOTE_LIST(remote);
        heap_then();
    } while (!atomic_compare_exchange_weak_explicit(&slice->remote, &remote, remote & ~0xffffffffull,
                                                    memory_order_acquire, memory_order_relaxed));
    store_release(slice->head, REMOTE_LIST(remote));
    heap_then();
    slice->taken = 0;
    heap_then();
    return true;
}

LAST static bool heap_slab_push_remote(struct heap_slice *slice, uint64_t *remote, void *block, uintptr_t offset,
                                  const struct link_key *key)
{
    *(block_word *)block = REMOTE_LIST(*remote) * key->encode;
    uint64_t pushed = (*remote & ~0xffffffffull) | (REMOTE_COUNT(*remote) + 1) << LINK_PLACE_BITS |
                      LINK_PLACE_OF(offset);
    return atomic_compare_exchange_weak_explicit(&slice->remote, remote, pushed, memory_order_acq_rel,
                                                 memory_order_acquire);
}

LAST static bool heap_slab_claim(struct heap_slice *slice, uint32_t owner, uint64_t token)
{
    uint64_t remote = load_relaxed(slice->remote);
    do {
        if (HEAP_REMOTE_OWNER(remote) != 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&slice->remote, &remote, remote | (uint64_t)owner << 32,
                                                    memory_order_acq_rel, memory_order_relaxed));
    store_relaxed(slice->owner, token);
    return true;
}

LAST static bool heap_slab_disown(struct heap_slice *slice, bool full)
{
    uint64_t token = load_relaxed(slice->owner);
    slice->state = HEAP_SLAB_NOBODY;
    slice->wake = WAKE_NEVER;
    store_relaxed(slice->owner, 0); /* before the word says so, or the next owner's name could be overwritten */
    uint64_t remote = load_relaxed(slice->remote);
    while (!full || REMOTE_COUNT(remote) == 0)
        if (atomic_compare_exchange_weak_explicit(&slice->remote, &remote, HEAP_REMOTE_LIST(remote),
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    store_relaxed(slice->owner, token);
    return false;
}

LAST static block_word *heap_link_block(const struct heap_slab *slab, uint64_t link)
{
    return (block_word *)(slab->origin + LINK_PLACE(link));
}

/* Searches one list, in which every link is checked before it is followed. */
LAST static bool heap_list_contains(const struct heap_slab *slab, uint64_t link, const void *block,
                               const struct link_key *key)
{
    while (link < LINK_EMPTY && LINK_PLACE(link) != 0 && LINK_PLACE(link) < heap_slab_bound(slab)) {
        const block_word *at = heap_link_block(slab, link);
        if (at == block)
            return true;
        uint64_t next = __atomic_load_n(at, __ATOMIC_RELAXED) * key->decode;
        if (!heap_link_follows(next, link, heap_slab_bound(slab)))
            return false;
        link = next;
    }
    return false;
}

LAST static bool heap_slab_block_is_free(const struct heap_slab *slab, const void *block, const struct link_key *key)
{
    const struct heap_slice *slice = slab->slice;
    if (heap_block_is_unformed(slice, ((uintptr_t)block - heap_slab_start(slab)) / heap_slab_class(slice)->block_size))
        return true;
    return link_is_at(block, key) &&
           (heap_list_contains(slab, load_acquire(slice->head), block, key) ||
            heap_list_contains(slab, REMOTE_LIST(load_acquire(slice->remote)), block, key));
}

LAST static bool heap_list_map(const struct heap_slab *slab, uint64_t link, const struct link_key *key, uint64_t *bits)
{
    const struct size_class *row = heap_slab_class(slab->slice);
    while (link != LINK_EMPTY) {
        size_t offset = LINK_OFFSET(link), number = offset / row->block_size;
        if (link < LINK_LOWEST || link > LINK_EMPTY || LINK_PLACE(link) == 0 || offset % row->block_size != 0 ||
            number >= row->capacity || bits[number / 64] >> number % 64 & 1)
            return false;
        bits[number / 64] |= 1ull << number % 64;
        uint64_t next = __atomic_load_n(heap_link_block(slab, link), __ATOMIC_RELAXED) * key->decode;
        if (!heap_link_follows(next, link, heap_slab_bound(slab)))
            return false;
        link = next;
    }
    return true;
}

LAST static bool heap_slab_map_free(const struct heap_slab *slab, const struct link_key *key, uint64_t bits[HEAP_BITS])
{
    const struct heap_slice *slice = slab->slice;
    memset(bits, 0, HEAP_BITS * sizeof *bits);
    for (size_t i = 0; load_relaxed(slice->unformed) != 0 && i < heap_slab_class(slice)->capacity; i++)
        if (heap_block_is_unformed(slice, i))
            bits[i / 64] |= 1ull << i % 64;
    return heap_list_map(slab, load_acquire(slice->head), key, bits) &&
           heap_list_map(slab, REMOTE_LIST(load_acquire(slice->remote)), key, bits);
}

LAST static bool heap_slab_lists_hold(const struct heap_slab *slab, const struct link_key *key)
{
    const struct heap_slice *slice = slab->slice;
    bool all = load_relaxed(slice->unformed) == 0;
    size_t formed = all ? heap_slab_class(slice)->capacity : heap_slab_count_formed(slice);
    uint64_t bits[HEAP_BITS];
    return formed == load_relaxed(slice->formed) && heap_slab_free_count(slice) <= formed &&
           heap_slab_map_free(slab, key, bits);
}

LAST static void heap_slab_settle(const struct heap_slab *slab, const struct link_key *key)
{
    struct heap_slice *slice = slab->slice;
    /* Both of these begin with an empty list, and what comes first of the two stores is not the list. */
    bool begun = load_relaxed(slice->head) == LINK_EMPTY;
    if (slice->forming != 0 && begun)
        store_relaxed(slice->unformed, load_relaxed(slice->unformed) | slice->forming);
    slice->forming = 0;
    if (slice->taken != 0 && begun && LINK_PLACE(slice->taken) < heap_slab_bound(slab) &&
        !heap_list_contains(slab, REMOTE_LIST(load_acquire(slice->remote)),
                            heap_link_block(slab, slice->taken), key))
        store_relaxed(slice->head, slice->taken);
    slice->taken = 0;
    store_relaxed(slice->formed, (uint16_t)heap_slab_count_formed(slice));
    slice->next = slice->previous = 0;
    heap_slab_disown(slice, false);
}
