/* heap.c: see heap.h. */
#include "heap.h"

/* ---- allocation ---- */

LAST static void *heap_allocate_run(struct brim_heap *heap, size_t size, bool *zero)
{
    if (size > REQUEST_MAX || !heap_attend(heap) || !heap_lock(heap)) {
        if (size > REQUEST_MAX)
            heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
        return NULL;
    }
    size_t index = 0;
    if (load_relaxed(heap->damaged))
        heap_fail_damaged(heap);
    else
        index = heap_run_take(heap, slices_for(max_size(size, 1)), 1, zero);
    if (index != 0)
        heap_run_publish(heap_slice(heap, index), HEAP_MEDIUM);
    heap_unlock(heap);
    return index != 0 ? (void *)heap_address(heap, index) : NULL;
}

LAST SLOW void *heap_allocate(struct brim_heap *heap, size_t size, size_t alignment, bool zeroed)
{
    bool zero = false;
    void *block;
    if (size <= CLASS_MAX && alignment <= CLASS_MAX) {
        unsigned class = alignment <= BLOCK_ALIGNMENT ? class_of(size) : class_of_aligned(alignment, size);
        struct heap_shard *shard = heap_shard_get(heap);
        block = shard ? heap_slab_pop(heap_shard_open(shard, class), &shard->key) : NULL;
        if (shard && !block)
            block = heap_shard_refill(shard, class);
    } else {
        block = heap_allocate_run(heap, size, &zero);
    }
    if (block && zeroed && !zero)
        memset(block, 0, size);
    return block;
}

/* Requests whose class must be looked up; all others go on to the slow path. */
LAST SLOW void *heap_allocate_more(struct brim_heap *heap, size_t size)
{
    struct heap_shard *shard = thread_shard;
    if (size > STEPS_MAX && size <= CLASS_MAX && load_relaxed(shard->heap) == heap) {
        void *block = heap_slab_pop(heap_shard_open(shard, class_of(size)), &shard->key);
        if (likely(block != NULL))
            return block;
    }
    return heap_allocate(heap, size, BLOCK_ALIGNMENT, false);
}

LAST EXPORT void *brim_heap_malloc(struct brim_heap *heap, size_t size)
{
    struct heap_shard *shard = thread_shard;
    if (likely(size <= STEPS_MAX && (uintptr_t)load_folded(shard->heap) == (uintptr_t)heap)) {
        void *block = heap_slab_pop(heap_shard_open_for(shard, size), &shard->key);
        if (likely(block != NULL))
            return block;
    }
    return heap_allocate_more(heap, size);
}

LAST EXPORT void *brim_heap_calloc(struct brim_heap *heap, size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM), NULL;
    return heap_allocate(heap, bytes, BLOCK_ALIGNMENT, true);
}

LAST EXPORT void *brim_heap_aligned_alloc(struct brim_heap *heap, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment > SLICE_SIZE)
        return heap_fail(BRIM_HEAP_INVALID, EINVAL), NULL;
    return heap_allocate(heap, size, alignment, false);
}

/* ---- one door for pointers from outside ---- */

enum heap_block_kind {
    HEAP_BLOCK_INVALID,
    HEAP_BLOCK_INTERIOR,
    HEAP_BLOCK_FREE,
    HEAP_BLOCK_UNKNOWN, /* the heap makes no sense there */
    HEAP_BLOCK_SLAB,
    HEAP_BLOCK_MEDIUM
};

struct heap_block {
    enum heap_block_kind kind;
    size_t index; /* slice of the head */
};

LAST static struct heap_block heap_block_look_up(struct brim_heap *heap, const void *p)
{
    size_t index = ((uintptr_t)p - heap->base) >> SLICE_SHIFT;
    if (!heap_reaches(heap, index))
        return (struct heap_block){HEAP_BLOCK_INVALID, 0};
    size_t back = heap_slice(heap, index)->back;
    if (back >= SLAB_SLICES_MAX || back > index)
        return (struct heap_block){HEAP_BLOCK_UNKNOWN, 0};
    struct heap_block block = {HEAP_BLOCK_INVALID, index - back};
    struct heap_slice *head = heap_slice(heap, block.index);
    size_t length = heap_run_length(head); /* the run may end behind what we have seen of the heap's growth */
    if ((back != 0 && heap_run_kind(head) != HEAP_SLAB) || (length > 1 && !heap_reaches(heap, block.index + length - 1)))
        return (struct heap_block){HEAP_BLOCK_UNKNOWN, 0};
    size_t count = load_relaxed(heap->count);
    switch (heap_run_kind(head)) {
    case HEAP_SLAB: {
        if (!heap_slab_makes_sense(heap, block.index, count)) {
            block.kind = HEAP_BLOCK_UNKNOWN;
            break;
        }
        const struct size_class *row = heap_slab_class(head);
        struct heap_slab slab = heap_slab_view(heap, block.index);
        uintptr_t offset = (uintptr_t)p - heap_slab_start(&slab);
        if (offset % row->block_size != 0)
            block.kind = HEAP_BLOCK_INTERIOR;
        else if (offset / row->block_size < row->capacity)
            block.kind = heap_slab_block_is_free(&slab, p, &heap->key) ? HEAP_BLOCK_FREE : HEAP_BLOCK_SLAB;
        break;
    }
    case HEAP_MEDIUM:
        block.kind = (uintptr_t)p == heap_address(heap, block.index) ? HEAP_BLOCK_MEDIUM : HEAP_BLOCK_INTERIOR;
        if (heap_run_sound(heap, block.index, count) == 0)
            block.kind = HEAP_BLOCK_UNKNOWN;
        break;
    case HEAP_FREE:
    case HEAP_DETACHED: block.kind = HEAP_BLOCK_FREE; break;
    case HEAP_INSIDE: block.kind = HEAP_BLOCK_INTERIOR; break;
    default: break;
    }
    return block;
}

/* A block that can be used; else false, and the process ends if that is its own fault. */
LAST static bool heap_block_is_live(struct brim_heap *heap, struct heap_block block, const void *p)
{
    switch (block.kind) {
    case HEAP_BLOCK_SLAB:
    case HEAP_BLOCK_MEDIUM: return true;
    case HEAP_BLOCK_UNKNOWN: return heap_fail_damaged(heap);
    case HEAP_BLOCK_FREE: diag_fatal("double free", p);
    case HEAP_BLOCK_INTERIOR: diag_fatal("invalid free of an interior pointer", p);
    default: diag_fatal("invalid free", p);
    }
}

LAST static size_t heap_block_size(struct brim_heap *heap, struct heap_block block)
{
    const struct heap_slice *head = heap_slice(heap, block.index);
    return block.kind == HEAP_BLOCK_SLAB ? heap_slab_class(head)->block_size : heap_run_length(head) << SLICE_SHIFT;
}

/* ---- release ---- */

/* Not to be left out because nobody reads it. */
LAST static void heap_erase(void *block, size_t size)
{
    memset(block, 0, size);
    __asm__ volatile("" : : "r"(block) : "memory");
}

LAST SLOW void heap_release(struct brim_heap *heap, void *p)
{
    if (!p)
        return;
    int saved_errno = errno;
    struct heap_shard *shard = heap_shard_get(heap);
    struct heap_block block = {HEAP_BLOCK_UNKNOWN, 0};
    if (shard)
        block = heap_block_look_up(heap, p);
    if (shard && heap_block_is_live(heap, block, p)) {
        if (heap->kind == BRIM_HEAP_LOCKED)
            heap_erase(p, heap_block_size(heap, block));
        if (block.kind == HEAP_BLOCK_SLAB) {
            struct heap_slab slab = heap_slab_view(heap, block.index);
            heap_shard_release(shard, &slab, p);
        } else if (heap_lock(heap)) {
            heap_run_release(heap, block.index);
            heap_unlock(heap);
        }
    }
    errno = saved_errno;
}

/* A push has made its slab want attention. */
RARE void heap_release_wake(const void *p) { heap_shard_wake(thread_shard, p); }

/* Is it a block of the thread's own slab, with nothing unusual about it? The slab's token says that its descriptor has
   been looked at. */
INLINE bool heap_release_is_plain(const struct heap_shard *shard, const struct heap_slice *slice, const void *p,
                                  uintptr_t offset)
{
    return likely(load_folded(slice->owner) == shard->free_token) &&
           likely((uint32_t)offset * slice->reciprocal < slice->limit) &&
           likely(!link_is_at(p, &shard->key));
}

INLINE void heap_release_plain(const struct heap_shard *shard, struct heap_slice *slice, void *p, uintptr_t offset)
{
    if (unlikely(heap_slab_push(slice, p, offset, &shard->key)))
        heap_release_wake(p);
}

/* The slow path's first door: a plain block that starts in a further slice of its slab, and so is larger than 8 KiB. */
LAST SLOW void heap_release_further(struct brim_heap *heap, void *p)
{
    struct heap_shard *shard = thread_shard;
    uintptr_t at = (uintptr_t)p - shard->base;
    if (at < load_folded(shard->reach)) {
        struct heap_slice *slice = heap_slice_in(shard->table, at >> SLICE_SHIFT);
        size_t back = slice->back & (SLAB_SLICES_MAX - 1);
        uintptr_t offset = (at & (SLICE_SIZE - 1)) + (back << SLICE_SHIFT);
        if (back != 0 && heap_release_is_plain(shard, slice - back, p, offset)) {
            heap_release_plain(shard, slice - back, p, offset);
            return;
        }
    }
    heap_release(heap, p);
}

LAST EXPORT void brim_heap_free(struct brim_heap *heap, void *p)
{
    struct heap_shard *shard = thread_shard;
    uintptr_t at = (uintptr_t)p - shard->base;
    if (likely(at < load_folded(shard->reach))) { /* so this is the shard's heap */
        struct heap_slice *slice = heap_slice_in(shard->table, at >> SLICE_SHIFT);
        if (heap_release_is_plain(shard, slice, p, at & (SLICE_SIZE - 1))) {
            heap_release_plain(shard, slice, p, at & (SLICE_SIZE - 1));
            return;
        }
    }
    heap_release_further(heap, p);
}

/* ---- resize, usable size ---- */

LAST static void *heap_resize(struct brim_heap *heap, void *p, size_t size)
{
    if (!heap_attend(heap))
        return NULL;
    struct heap_block block = heap_block_look_up(heap, p);
    if (!heap_block_is_live(heap, block, p))
        return NULL;
    size_t usable = heap_block_size(heap, block);
    bool stays = size <= usable && (size > usable / 2 || usable <= 64);
    if (block.kind == HEAP_BLOCK_MEDIUM && size > CLASS_MAX && size <= REQUEST_MAX) {
        size_t slices = slices_for(max_size(size, 1));
        stays = slices << SLICE_SHIFT == usable;
        if (slices << SLICE_SHIFT < usable && heap->kind == BRIM_HEAP_LOCKED)
            heap_erase((char *)p + (slices << SLICE_SHIFT), usable - (slices << SLICE_SHIFT));
        if (!stays && heap_lock(heap)) {
            stays = heap_run_resize(heap, block.index, slices);
            heap_unlock(heap);
        }
    }
    if (stays)
        return p;
    void *moved = heap_allocate(heap, size, BLOCK_ALIGNMENT, false);
    if (!moved)
        return size <= usable ? p : NULL; /* shrinking cannot fail */
    memcpy(moved, p, min_size(size, usable));
    heap_release(heap, p);
    return moved;
}

LAST EXPORT void *brim_heap_realloc(struct brim_heap *heap, void *p, size_t size)
{
    return p ? heap_resize(heap, p, size) : brim_heap_malloc(heap, size);
}

LAST static size_t heap_usable_size(struct brim_heap *heap, const void *p)
{
    if (!p || !heap_attend(heap))
        return 0;
    struct heap_block block = heap_block_look_up(heap, p);
    return heap_block_is_live(heap, block, p) ? heap_block_size(heap, block) : 0;
}

LAST EXPORT size_t brim_heap_usable_size(struct brim_heap *heap, const void *p) { return heap_usable_size(heap, p); }

COLD_EXPORT struct brim_heap *brim_heap_use(struct brim_heap *heap)
{
    struct brim_heap *before = thread_heap;
    thread_heap = heap;
    thread_choose_paths();
    return before;
}

/* ---- the heap as a whole ---- */

LAST static void heap_after_fork(void) { lock_break_in_child(&heap_handles_lock); }

COLD_EXPORT struct brim_heap *brim_heap_create(const struct brim_heap_options *options) { return heap_create(options); }

COLD_EXPORT struct brim_heap *brim_heap_open(const char *path, enum brim_heap_kind mode)
{
    return heap_open(path, mode);
}

COLD_EXPORT void brim_heap_close(struct brim_heap *heap)
{
    if (heap)
        heap_close(heap);
}

COLD_EXPORT int brim_heap_destroy(struct brim_heap *heap) { return heap_destroy(heap) ? 0 : -1; }

COLD_EXPORT int brim_heap_sync(struct brim_heap *heap)
{
    if (heap->kind != BRIM_HEAP_FILE)
        return heap_fail(BRIM_HEAP_INVALID, EINVAL) - 1;
    if (!heap_attend(heap) || !heap_follow(heap))
        return -1;
    int failed = os_sync_memory(heap->base, load_relaxed(heap->count) << SLICE_SHIFT);
    return failed ? heap_fail_system(failed) - 1 : 0;
}

/* ---- offsets, root ---- */

LAST EXPORT brim_offset brim_heap_offset(struct brim_heap *heap, const void *p)
{
    uintptr_t offset = (uintptr_t)p - load_relaxed(heap->base);
    return p && offset < load_relaxed(heap->limit) << SLICE_SHIFT ? offset : 0;
}

LAST EXPORT void *brim_heap_pointer(struct brim_heap *heap, brim_offset offset)
{
    if (unlikely(offset == 0 || (offset >> SLICE_SHIFT >= load_relaxed(heap->count) &&
                                 !heap_reaches(heap, offset >> SLICE_SHIFT))))
        return NULL;
    return (void *)(load_relaxed(heap->base) + offset);
}

COLD_EXPORT void *brim_heap_root(struct brim_heap *heap)
{
    return brim_heap_pointer(heap, load_acquire(heap->header->root));
}

COLD_EXPORT int brim_heap_set_root(struct brim_heap *heap, void *block)
{
    brim_offset offset = brim_heap_offset(heap, block);
    if (block && !brim_heap_pointer(heap, offset))
        return heap_fail(BRIM_HEAP_INVALID, EINVAL) - 1;
    store_release(heap->header->root, offset);
    return 0;
}

/* ---- looking at heaps ---- */

COLD_EXPORT struct brim_heap *brim_heap_of(const void *p) { return heap_of(p); }

COLD_EXPORT int brim_heap_list(int (*visit)(struct brim_heap *heap, void *argument), void *argument)
{
    int answer = 0;
    for (struct brim_heap *heap = load_acquire(heap_handles); heap && answer == 0; heap = heap->next)
        if (load_acquire(heap->in_use))
            answer = visit(heap, argument);
    return answer;
}

COLD_EXPORT int brim_heap_walk(struct brim_heap *heap, int (*visit)(void *block, size_t size, void *argument),
                               void *argument)
{
    return heap_walk(heap, visit, argument);
}

COLD_EXPORT int brim_heap_check(struct brim_heap *heap, char *message, size_t size)
{
    return heap_check(heap, message, size) ? 0 : -1;
}

COLD_EXPORT int brim_heap_stats(struct brim_heap *heap, struct brim_heap_stats *given, size_t size)
{
    if (!heap || !given)
        return heap_fail(BRIM_HEAP_INVALID, EINVAL) - 1;
    struct brim_heap_stats stats = {
        .kind = heap->kind, .address = heap->base, .limit = load_relaxed(heap->limit) << SLICE_SHIFT};
    if (!heap_tally(heap, &stats))
        return -1;
    struct os_memory_facts facts;
    if (!os_memory_facts(heap->base, stats.limit, &facts))
        facts = (struct os_memory_facts){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    stats.resident = facts.resident;
    stats.proportional = facts.proportional;
    stats.shared = facts.shared;
    stats.private_ = facts.unshared;
    stats.dirty = facts.dirty;
    stats.swapped = facts.swapped;
    stats.locked = facts.locked;
    memcpy(given, &stats, min_size(size, sizeof stats));
    return 0;
}

/* ---- errors ---- */

COLD_EXPORT enum brim_heap_error brim_heap_error(void) { return heap_error_last; }

COLD_EXPORT const char *brim_heap_strerror(enum brim_heap_error error)
{
    switch (error) {
    case BRIM_HEAP_OK: return "no error";
    case BRIM_HEAP_INVALID: return "an argument is not valid";
    case BRIM_HEAP_NO_MEMORY: return "there is no memory, or no address space";
    case BRIM_HEAP_LIMIT: return "the heap is as large as its limit allows";
    case BRIM_HEAP_NO_SPACE: return "the disk or the quota is full";
    case BRIM_HEAP_SYSTEM: return "the system refused, see errno";
    case BRIM_HEAP_EXISTS: return "the file holds a heap already";
    case BRIM_HEAP_EMPTY: return "the file holds no heap yet";
    case BRIM_HEAP_FOREIGN: return "the file is something else than a heap";
    case BRIM_HEAP_VERSION: return "the heap is of another version or build of brim";
    case BRIM_HEAP_BYTE_ORDER: return "the heap is of a machine with the other byte order";
    case BRIM_HEAP_PAGE_SIZE: return "the heap is of a system with another page size";
    case BRIM_HEAP_TRUNCATED: return "the file is shorter than the heap in it";
    case BRIM_HEAP_DAMAGED: return "the heap contradicts itself";
    case BRIM_HEAP_BUSY: return "the heap is open in a way that excludes this";
    case BRIM_HEAP_TOO_MANY: return "too many processes or threads have the heap open";
    case BRIM_HEAP_LOCK_LIMIT: return "RLIMIT_MEMLOCK does not let so much memory be locked";
    case BRIM_HEAP_WIPED: return "a locked heap is not there in a forked child";
    }
    return "an unknown error";
}
