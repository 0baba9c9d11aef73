/* heap_check.c: see heap_check.h. */
#include "heap_check.h"

/* ---- walking ---- */

/* Length of the run at a slice, 0 if there is none that makes sense, and its kind; of a slab, the blocks that are free.
   Others may be about to change it, if this is without the lock: then perhaps 0, too. */
LAST static size_t heap_walk_look(const struct brim_heap *heap, size_t index, size_t count, enum heap_run_kind *kind,
                             uint64_t bits[HEAP_BITS])
{
    const struct heap_slice *head = heap_slice(heap, index);
    uint64_t run = load_acquire(head->run);
    size_t span = heap_run_sound(heap, index, count);
    *kind = heap_run_kind(head);
    if (span != 0 && *kind == HEAP_SLAB) {
        if (!heap_slab_makes_sense(heap, index, count))
            return 0;
        struct heap_slab slab = heap_slab_view(heap, index);
        /* The lists of a slab that somebody is at may look like anything. */
        if (!heap_slab_map_free(&slab, &heap->key, bits) && heap_slab_owner(head) == 0)
            return 0;
    }
    return load_acquire(head->run) == run ? span : 0;
}

/* The first slice from `index` on that begins a run; with the lock. SIZE_MAX if runs do not follow each other. */
LAST static size_t heap_walk_find(const struct brim_heap *heap, size_t index, size_t count)
{
    size_t at = 0;
    for (size_t span; at < index; at += span)
        if ((span = heap_run_span(heap, at, count)) == 0)
            return SIZE_MAX;
    return at;
}

/* The same with the lock. A slab of nobody's is claimed, so that nobody is at it. */
LAST static size_t heap_walk_look_locked(struct brim_heap *heap, size_t index, size_t count, enum heap_run_kind *kind,
                                    uint64_t bits[HEAP_BITS])
{
    bool claimed = heap_slab_makes_sense(heap, index, count) &&
                   heap_slab_claim(heap_slice(heap, index), HEAP_OWNER(heap->slot, HEAP_THREAD_NONE), 0);
    size_t span = heap_walk_look(heap, index, count, kind, bits);
    if (!claimed)
        return span;
    struct heap_slab slab = heap_slab_view(heap, index);
    if (!heap_slab_map_free(&slab, &heap->key, bits))
        span = 0;
    heap_slab_leave(heap, index);
    return span;
}

/* What makes no sense at a slice is looked at again under the lock; there may be other runs by now. `*index` moves on
   to where one begins. */
RARE size_t heap_walk_look_again(struct brim_heap *heap, size_t *index, enum heap_run_kind *kind,
                                 uint64_t bits[HEAP_BITS])
{
    if (!heap_lock(heap))
        return 0;
    size_t count = load_relaxed(heap->count), span = 0, at = heap_walk_find(heap, *index, count);
    if (at == count) {
        *kind = HEAP_FREE;
        span = count - *index;
    } else if (at < count) {
        *index = at;
        span = heap_walk_look_locked(heap, at, count, kind, bits);
    }
    if (span == 0)
        heap_fail_damaged(heap);
    heap_unlock(heap);
    return span;
}

LAST static int heap_walk(struct brim_heap *heap, int (*visit)(void *block, size_t size, void *argument), void *argument)
{
    if (!heap_attend(heap) || !heap_lock(heap))
        return -1;
    size_t end = load_relaxed(heap->count), span;
    heap_unlock(heap);
    for (size_t index = 0; index < end; index += span) {
        enum heap_run_kind kind;
        uint64_t bits[HEAP_BITS];
        span = heap_walk_look(heap, index, load_acquire(heap->count), &kind, bits);
        if (span == 0 && (span = heap_walk_look_again(heap, &index, &kind, bits)) == 0)
            return -1;
        int answer = 0;
        if (kind == HEAP_MEDIUM)
            answer = visit((void *)heap_address(heap, index), span << SLICE_SHIFT, argument);
        if (kind == HEAP_SLAB) {
            struct heap_slab slab = heap_slab_view(heap, index);
            const struct size_class *row = heap_slab_class(slab.slice);
            for (size_t i = 0; answer == 0 && i < row->capacity; i++) {
                if (bits[i / 64] >> i % 64 & 1)
                    continue;
                answer = visit((void *)(heap_slab_start(&slab) + i * row->block_size), row->block_size, argument);
                if (heap_run_kind(slab.slice) != HEAP_SLAB || heap_slab_class(slab.slice) != row)
                    break; /* that was its last block */
            }
        }
        if (answer != 0)
            return answer;
    }
    return 0;
}

/* ---- counting ---- */

LAST static bool heap_tally(struct brim_heap *heap, struct brim_heap_stats *stats)
{
    if (!heap_attend(heap) || !heap_lock(heap))
        return false;
    bool good = true;
    size_t count = load_relaxed(heap->count), metadata = 0, free = 0;
    for (size_t index = 0, span; good && index < count; index += span) {
        const struct heap_slice *head = heap_slice(heap, index);
        span = heap_run_sound(heap, index, count);
        enum heap_run_kind kind = heap_run_kind(head);
        if (span == 0 || (kind == HEAP_SLAB && !heap_slab_makes_sense(heap, index, count))) {
            good = heap_fail_damaged(heap);
        } else if (kind == HEAP_SLAB) {
            const struct size_class *row = heap_slab_class(head);
            size_t formed = load_relaxed(head->formed), idle = min_size(heap_slab_free_count(head), formed);
            stats->slabs++;
            stats->blocks += formed - idle;
            stats->live += (formed - idle) * row->block_size;
            free += (span << SLICE_SHIFT) - (formed - idle) * row->block_size;
        } else if (kind == HEAP_MEDIUM) {
            stats->runs++;
            stats->blocks++;
            stats->live += span << SLICE_SHIFT;
        } else if (kind == HEAP_TABLE) {
            metadata += span << SLICE_SHIFT;
        } else {
            free += span << SLICE_SHIFT;
        }
    }
    stats->heap = count << SLICE_SHIFT;
    stats->free = free;
    stats->metadata = metadata;
    stats->processes = heap_processes(heap);
    stats->recovered = heap->header->recovered;
    heap_unlock(heap);
    return good;
}

/* ---- checking ---- */

struct heap_fault {
    char *text;
    size_t room, length;
    bool found;
};

LAST static void fault_add(struct heap_fault *fault, const char *text)
{
    while (*text != '\0' && fault->length + 1 < fault->room)
        fault->text[fault->length++] = *text++;
}

LAST static void fault_add_number(struct heap_fault *fault, size_t number)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    fault_add(fault, digits + at);
}

/* Notes the first fault. */
RARE bool fault_note(struct heap_fault *fault, size_t slice, const char *what)
{
    if (!fault->found && fault->text && fault->room != 0) {
        fault_add(fault, "slice ");
        fault_add_number(fault, slice);
        fault_add(fault, ": ");
        fault_add(fault, what);
        fault->text[fault->length] = '\0';
    }
    fault->found = true;
    return false;
}

#define HEAP_HOLDS(condition, slice, what) ((condition) || fault_note(fault, (slice), (what)))

LAST static bool check_slab(struct brim_heap *heap, size_t index, size_t count, struct heap_fault *fault)
{
    struct heap_slice *head = heap_slice(heap, index);
    if (!HEAP_HOLDS(heap_slab_makes_sense(heap, index, count), index, "a slab whose descriptor makes no sense"))
        return false;
    struct heap_slab slab = heap_slab_view(heap, index);
    uint64_t bits[HEAP_BITS];
    uint32_t owner = heap_slab_owner(head), slot = HEAP_OWNER_SLOT(owner);
    return HEAP_HOLDS(heap_slab_map_free(&slab, &heap->key, bits), index, "a free list that is none") &&
           HEAP_HOLDS(heap_slab_count_formed(head) == load_relaxed(head->formed), index,
                      "another count of formed blocks than are formed") &&
           HEAP_HOLDS(heap_slab_free_count(head) <= load_relaxed(head->formed), index,
                      "more blocks are free than formed") &&
           HEAP_HOLDS(head->forming == 0 && head->taken == 0, index, "announces what nobody is doing") &&
           HEAP_HOLDS((load_relaxed(head->owner) != 0) == (owner != 0), index, "two opinions of who the owner is") &&
           HEAP_HOLDS(owner == 0 || (slot < HEAP_PROCESSES && load_relaxed(heap->header->processes[slot]) != 0), index,
                      "an owner that is not there") &&
           HEAP_HOLDS(owner != 0 || head->listed || !heap_slab_has_room(head), index, "a slab with room that is lost");
}

LAST static bool check_run(struct brim_heap *heap, size_t index, size_t span, size_t count, struct heap_fault *fault)
{
    struct heap_slice *head = heap_slice(heap, index);
    enum heap_run_kind kind = heap_run_kind(head);
    bool used = kind != HEAP_FREE;
    if (!HEAP_HOLDS(kind != HEAP_DETACHED, index, "a run that nobody has") ||
        !HEAP_HOLDS(heap_run_sound(heap, index, span + index) == span, index,
                    "slices behind it that say otherwise, or descriptors where the header has none") ||
        !HEAP_HOLDS(used || index >= heap->header->first_free, index, "free, below what is said to be the first"))
        return false;
    for (size_t i = index; i < index + span; i++) {
        const struct heap_slice *slice = heap_slice(heap, i);
        if (!HEAP_HOLDS(heap_slice_is_used(heap, i) == used, i, "the bitmap says something else") ||
            !HEAP_HOLDS(kind == HEAP_SLAB || load_relaxed(slice->owner) == 0, i, "has an owner, and is no slab"))
            return false;
    }
    return kind != HEAP_SLAB || check_slab(heap, index, count, fault);
}

LAST static bool check_orphans(const struct brim_heap *heap, unsigned class, size_t count, size_t *listed,
                          struct heap_fault *fault)
{
    size_t previous = 0;
    for (size_t index = heap->header->orphans[class], steps = 0; index != 0; steps++) {
        if (!HEAP_HOLDS(index < count && steps < count, index, "a list of orphans that leads nowhere"))
            return false;
        const struct heap_slice *slice = heap_slice(heap, index);
        if (!HEAP_HOLDS(heap_run_kind(slice) == HEAP_SLAB && slice->listed && slice->size_class == class &&
                            slice->orphan_previous == previous,
                        index, "listed as an orphan that it is not"))
            return false;
        ++*listed;
        previous = index;
        index = slice->orphan_next;
    }
    return true;
}

LAST static bool check_all(struct brim_heap *heap, struct heap_fault *fault)
{
    size_t count = load_relaxed(heap->count), span, saying = 0, listed = 0;
    const struct heap_header *header = heap->header;
    for (size_t index = 0; index < count; index += span) {
        span = heap_run_span(heap, index, count);
        if (!HEAP_HOLDS(span != 0, index, "no run begins where one should") ||
            !check_run(heap, index, span, count, fault))
            return false;
        saying += heap_run_kind(heap_slice(heap, index)) == HEAP_SLAB && heap_slice(heap, index)->listed;
    }
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        if (!check_orphans(heap, class, count, &listed, fault))
            return false;
    return HEAP_HOLDS(listed == saying, 0, "slabs say that they are orphans, and are not listed") &&
           HEAP_HOLDS(load_relaxed(header->root) < count << SLICE_SHIFT, 0, "a root outside the heap") &&
           HEAP_HOLDS(memcmp(header->magic, HEAP_MAGIC, sizeof header->magic) == 0 && heap_build() == header->build, 0,
                      "a header that is none");
}

LAST static bool heap_check(struct brim_heap *heap, char *message, size_t size)
{
    struct heap_fault found = {.text = message, .room = size}, *fault = &found;
    if (message && size != 0)
        message[0] = '\0';
    if (!heap_attend(heap))
        return false;
    if (!heap_lock(heap)) {
        fault_note(fault, 0, "the heap is larger than its mapping, or cannot be walked");
        return false;
    }
    bool good = !heap_has_dead(heap) || heap_recover(heap, false);
    good = good ? check_all(heap, fault) : fault_note(fault, 0, "what a killed process left cannot be walked");
    heap_unlock(heap);
    return good ? true : heap_fail_damaged(heap);
}
