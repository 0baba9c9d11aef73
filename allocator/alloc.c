/* alloc.c: see alloc.h. */
#include "alloc.h"

/* What a slow path knows of the block it returns. */
enum contents { CONTENTS_UNKNOWN, CONTENTS_ZERO };

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* ---- a heap in place of this one ---- */

/* Does brim_heap_use say so? No heap keeps an alignment beyond a slice in all its processes. */
static bool takes_from_heap(size_t alignment) { return thread_heap && alignment <= SLICE_SIZE; }

COLD void *heap_take(size_t alignment, size_t size, enum contents *contents)
{
    *contents = CONTENTS_UNKNOWN;
    return heap_allocate(thread_heap, size, alignment, false);
}

/* ---- runs: medium blocks ---- */

/* The thread's arena, for what it keeps of runs; NULL if it has none for good. */
static struct arena *medium_arena(void)
{
    thread_leave(thread_enter());
    return thread_home;
}

static void *medium_take(const struct run_request *request, size_t size, enum contents *contents)
{
    bool zero;
    struct slice *head = arena_take_run(thread_home, request, &zero);
    if (!head)
        return NULL;
    head->features = load_relaxed(hardened_features);
    if (unlikely(head->features != 0))
        hardened_medium_begin(head, size);
    run_publish(head, RUN_MEDIUM);
    *contents = zero ? CONTENTS_ZERO : CONTENTS_UNKNOWN;
    return medium_start(head);
}

/* A run that the thread keeps, for requests that have not come by the fast path; else notes that such are asked for. */
static void *medium_find(size_t slices)
{
    struct arena *arena = load_relaxed(hardened_features) == 0 ? medium_arena() : NULL;
    if (!arena)
        return NULL;
    struct slice *head = medium_reuse(&arena->medium, slices);
    if (!head)
        medium_miss(&arena->medium, slices, arena_count());
    return head ? medium_start(head) : NULL;
}

/* The size that glibc's malloc would be asked for: its memalign wants the alignment and a smallest block more. More than
   REQUEST_MAX if there cannot be so much. */
static size_t glibc_request(size_t alignment, size_t size)
{
    if (alignment <= BLOCK_ALIGNMENT || size > REQUEST_MAX)
        return size;
    size_t reach;
    return __builtin_add_overflow(padded_size(size) + 32, alignment, &reach) ? SIZE_MAX : reach;
}

static bool reaches_threshold(size_t request)
{
    return padded_size(request) >= load_relaxed(mapping_policy.threshold);
}

/* When memory ran out: what lies between free runs, and nobody needs. */
RARE void *large_scrape(const struct run_request *request, size_t size, enum contents *contents)
{
    arenas_flush_medium(true);
    if (thread_home)
        arena_yield(thread_home);
    return medium_take(request, size, contents);
}

static void *large_map(size_t alignment, size_t size)
{
    void *p = mapping_allocate(alignment, size);
    if (p)
        regions_settle();
    return p;
}

/* Everything above CLASS_MAX. As in glibc the threshold is asked only when free memory of the heap does not do, and
   each of the two ways to get more is the other's fallback. */
SLOW void *large_allocate(size_t alignment, size_t size, enum contents *contents)
{
    if (unlikely(takes_from_heap(alignment)))
        return heap_take(alignment, size, contents);
    process_init_once();
    size_t reach = glibc_request(alignment, size);
    if (reach > REQUEST_MAX)
        return NULL;
    struct run_request request = {.slices = hardened_slices(max_size(size, 1)),
                                  .alignment = alignment > SLICE_SIZE ? alignment >> SLICE_SHIFT : 1};
    void *p = request.slices <= MEDIUM_LONGEST && request.alignment == 1 ? medium_find(request.slices) : NULL;
    *contents = CONTENTS_UNKNOWN;
    if (p)
        return p;
    bool wants_mapping = reaches_threshold(reach);
    request.spare_top = wants_mapping;
    request.grow = !wants_mapping;
    p = medium_take(&request, size, contents);
    if (!p && wants_mapping) {
        p = large_map(alignment, size);
        if (p) {
            *contents = CONTENTS_ZERO;
            return p;
        }
        request.spare_top = false;
        request.grow = true;
        p = medium_take(&request, size, contents);
    } else if (!p) {
        p = large_map(alignment, size);
        *contents = CONTENTS_ZERO;
    }
    return likely(p != NULL) ? p : large_scrape(&request, size, contents);
}

/* ---- allocate ---- */

/* Fills a block as M_PERTURB asks. */
static void perturb_allocated(void *p, size_t size)
{
    unsigned char byte = load_relaxed(perturb_byte);
    if (unlikely(byte != 0) && p)
        memset(p, byte ^ 0xff, size);
}

/* A mapping for a request that a threshold of CLASS_MAX or less wants mapped, unless a slab has room for it. */
COLD void *small_map(const struct arena *arena, unsigned class, size_t alignment, size_t size)
{
    bool room = arena->open[class] != SLAB_NONE || arena->partial[class];
    return room ? NULL : mapping_allocate(alignment, size);
}

/* Set once memory ran out, and a block had to stay, however small it became, or one of a larger class had to do: any
   size that fits a block may then be what was asked for. */
static _Atomic bool sizes_loose;

/* Blocks of slabs that were freed where there was no memory for an arena. The first word of each is the next one. */
static _Atomic(void *) stranded;
RARE void stranded_release(struct arena *arena);

/* Where sampling sends every allocation to the slow path: counts this one, and says whether it may go on as on the fast
   path, at a dozen instructions more. */
INLINE bool is_unsampled(void)
{
    thread_sample.left--;
    return likely((int32_t)thread_sample.left > 0);
}

INLINE void *pop_unsampled(unsigned class)
{
    return is_unsampled() ? slab_pop(thread_sample.supply->open[class]) : NULL;
}

/* A block of `class`, for an arena that has none on its open slab's list. `*clean`: zero beyond its first word. */
static void *small_find(struct arena *arena, unsigned class, size_t alignment, size_t size, bool *clean)
{
    void *p = NULL;
    if (unlikely(reaches_threshold(glibc_request(alignment, size))))
        *clean = (p = small_map(arena, class, alignment, size)) != NULL;
    if (!p)
        p = arena_refill(arena, class, clean);
    if (unlikely(!p)) {
        arenas_flush_medium(true);
        p = arena_refill(arena, class, clean);
    }
    if (unlikely(!p) && (p = arena_scrape(arena, class, alignment, clean)))
        store_relaxed(sizes_loose, true);
    return p;
}

/* The way of hardened_allocate where the open slab has no block, or other protections than most. */
LAST SLOW void *hardened_find(struct arena *arena, unsigned class, size_t alignment, size_t size, bool *zero)
{
    void *p = slab_pop(arena->open[class]);
    *zero = false;
    if (!p)
        p = small_find(arena, class, alignment, size, zero);
    if (unlikely(!p)) { /* out of memory, there is no waiting */
        quarantine_flush(arena);
        p = small_find(arena, class, alignment, size, zero);
    }
    const struct region *region = region_of(p);
    if (region)
        *zero |= hardened_hand_out(slab_at(region, p), p);
    return p;
}

/* small_allocate, hardened. */
INLINE void *hardened_allocate(size_t alignment, size_t size, enum contents *contents)
{
    size_t room = size + canary_room();
    if (unlikely(room > CLASS_MAX))
        return large_allocate(alignment, size, contents);
    unsigned class = alignment <= BLOCK_ALIGNMENT ? class_of(room) : class_of_aligned(alignment, room);
    struct arena *arena = thread_enter();
    if (unlikely(!arena))
        return NULL;
    bool zero = true;
    void *p = hardened_pop(arena->open[class]);
    if (unlikely(!p))
        p = hardened_find(arena, class, alignment, size, &zero);
    *contents = zero ? CONTENTS_ZERO : CONTENTS_UNKNOWN;
    thread_leave(arena);
    return p;
}

/* The slow path of every allocation that fits a class. `caller`: whose stack it is if the block is sampled. */
SLOW void *small_allocate(unsigned class, size_t alignment, size_t size, const void *caller, enum contents *contents)
{
    if (unlikely(takes_from_heap(alignment)))
        return heap_take(alignment, size, contents);
    bool clean = false;
    void *sampled = guard_is_due(size) ? guard_allocate(alignment, size, caller, &clean) : NULL;
    if (unlikely(sampled)) {
        *contents = clean ? CONTENTS_ZERO : CONTENTS_UNKNOWN;
        return sampled;
    }
    if (unlikely(load_relaxed(hardened_features) != 0))
        return hardened_allocate(alignment, size, contents);
    struct arena *arena = thread_enter();
    if (unlikely(!arena))
        return NULL;
    if (unlikely(load_relaxed(stranded) != NULL))
        stranded_release(arena);
    void *p = slab_pop(arena->open[class]);
    if (!p)
        p = small_find(arena, class, alignment, size, &clean);
    *contents = clean ? CONTENTS_ZERO : CONTENTS_UNKNOWN;
    thread_leave(arena);
    return p;
}

SLOW void *allocate_usual(size_t size)
{
    enum contents contents;
    const void *caller = __builtin_return_address(0); /* malloc's, as all leave by jumps on the way here */
    void *p = size <= CLASS_MAX ? small_allocate(class_of(size), BLOCK_ALIGNMENT, size, caller, &contents)
                                : large_allocate(BLOCK_ALIGNMENT, size, &contents);
    if (unlikely(!p))
        return out_of_memory();
    perturb_allocated(p, size);
    return p;
}

/* malloc's own way there, hardened, for most of what is allocated. */
LAST SLOW void *hardened_malloc(size_t size)
{
    void *p = NULL;
    if (likely(size <= STEPS_MAX - CANARY_SIZE))
        p = hardened_pop(thread_hardened->open_by_step[(size + CANARY_SIZE + 15) / 16]);
    else if (size <= CLASS_MAX - CANARY_SIZE)
        p = hardened_pop(thread_hardened->open[class_of(size + CANARY_SIZE)]);
    return likely(p != NULL) ? p : allocate_usual(size);
}

/* Most often the open slab is used up, and nothing else is the matter. */
INLINE void *allocate_reopened(unsigned class, bool *clean)
{
    struct arena *arena = thread_supply;
    return likely(!thread_has_orders(arena)) ? arena_reopen(arena, class, clean) : NULL;
}

SLOW void *allocate_slow(size_t size)
{
    bool clean;
    void *p = size <= CLASS_MAX ? allocate_reopened(class_of(size), &clean) : NULL;
    if (likely(p != NULL))
        return p;
    return unlikely(load_relaxed(hardened_features) != 0) ? hardened_malloc(size) : allocate_usual(size);
}

SLOW void *allocate_larger_slow(size_t size)
{
    void *p = pop_unsampled(class_of(size));
    return p ? p : allocate_slow(size);
}

/* A medium block: one whose run the thread keeps. */
SLOW void *allocate_medium(size_t size)
{
    struct slice *head = medium_reuse(&thread_supply->medium, slices_for(size));
    return likely(head != NULL) ? medium_start(head) : allocate_usual(size);
}

/* What the fast path has no block for. While sampling sends all here, most go on as if on the fast path. Apart from the
   rest, as that needs no frame. */
SLOW void *allocate_more(size_t size)
{
    if (size > STEPS_MAX) {
        if (unlikely(size > CLASS_MAX))
            return size <= MEDIUM_LONGEST * SLICE_SIZE ? allocate_medium(size) : allocate_usual(size);
        void *p = slab_pop(thread_supply->open[class_of(size)]);
        return likely(p != NULL) ? p : allocate_larger_slow(size);
    }
    void *p = is_unsampled() ? slab_pop(thread_sample.supply->open_by_step[(size + 15) / 16]) : NULL;
    return likely(p != NULL) ? p : allocate_slow(size);
}

/* A block of the open slab; NULL if the rest of alloc_allocate is needed. */
INLINE void *allocate_fast(size_t size)
{
    return likely(size <= STEPS_MAX) ? slab_pop(thread_supply->open_by_step[(size + 15) / 16]) : NULL;
}

INLINE void *alloc_allocate(size_t size)
{
    void *p = allocate_fast(size);
    return likely(p != NULL) ? p : allocate_more(size);
}

static void *alloc_allocate_zeroed(size_t size)
{
    enum contents contents = CONTENTS_UNKNOWN;
    void *p = NULL;
    if (likely(size <= CLASS_MAX)) {
        unsigned class = class_of(size);
        p = slab_pop(thread_supply->open[class]);
        if (unlikely(!p) && !(p = pop_unsampled(class)))
            p = small_allocate(class, BLOCK_ALIGNMENT, size, __builtin_return_address(0), &contents);
    } else {
        p = large_allocate(BLOCK_ALIGNMENT, size, &contents);
    }
    if (unlikely(!p))
        return out_of_memory();
    if (contents != CONTENTS_ZERO)
        memset(p, 0, size);
    return p;
}

static void *alloc_aligned(size_t alignment, size_t size)
{
    if (alignment <= BLOCK_ALIGNMENT)
        return alloc_allocate(size);
    enum contents contents;
    void *p;
    if (size <= CLASS_MAX && alignment <= CLASS_MAX) {
        unsigned class = class_of_aligned(alignment, size);
        p = slab_pop(thread_supply->open[class]);
        if (unlikely(!p) && !(p = pop_unsampled(class)))
            p = small_allocate(class, alignment, size, __builtin_return_address(0), &contents);
    } else {
        p = large_allocate(alignment, size, &contents);
    }
    if (unlikely(!p))
        return out_of_memory();
    perturb_allocated(p, size);
    return p;
}

/* ---- one door for pointers from outside ---- */

enum block_kind {
    BLOCK_INVALID,
    BLOCK_INTERIOR,
    BLOCK_FREE,
    BLOCK_FOREIGN,
    BLOCK_SLAB,
    BLOCK_MEDIUM,
    BLOCK_MAPPING,
    BLOCK_GUARDED,
    BLOCK_HEAP
};

struct block {
    enum block_kind kind;
    struct slice *slice; /* head of its run; NULL outside the regions */
};

/* What is `p`? Dereferences it only if it is the start of a slab's block. */
static struct block block_look_up(const void *p)
{
    static const enum block_kind guarded[] = {[GUARD_LIVE] = BLOCK_GUARDED,
                                              [GUARD_FREED] = BLOCK_FREE,
                                              [GUARD_INTERIOR] = BLOCK_INTERIOR,
                                              [GUARD_NOTHING] = BLOCK_INVALID};
    struct region *region = region_of(p);
    if (!region) {
        if (guard_contains(p))
            return (struct block){guarded[guard_look_up(p)], NULL};
        if (mapping_usable_size(p) != 0)
            return (struct block){BLOCK_MAPPING, NULL};
        if (mapping_is_retired(p))
            return (struct block){BLOCK_FREE, NULL};
        if (mapping_contains(p))
            return (struct block){BLOCK_INTERIOR, NULL};
        return (struct block){heap_of(p) ? BLOCK_HEAP : BLOCK_FOREIGN, NULL};
    }
    struct slice *slice = slab_at(region, p);
    struct block block = {BLOCK_INVALID, slice};
    switch (run_kind(slice)) {
    case RUN_SLAB: {
        const struct size_class *row = slab_class(slice);
        uintptr_t offset = (uintptr_t)p - slab_start(slice);
        if (offset % row->block_size != 0)
            block.kind = BLOCK_INTERIOR;
        else if (offset / row->block_size >= row->capacity)
            block.kind = BLOCK_INVALID;
        else
            block.kind = slab_block_is_free(slice, p) ||
                                 (load_relaxed(hardened_ever) && hardened_block_is_free(slice, p))
                             ? BLOCK_FREE
                             : BLOCK_SLAB;
        break;
    }
    case RUN_MEDIUM: block.kind = (uintptr_t)p == slice_address(region, slice) ? BLOCK_MEDIUM : BLOCK_INTERIOR; break;
    case RUN_FREE:
    case RUN_PURGING:
    case RUN_DETACHED:
    case RUN_CACHED: block.kind = BLOCK_FREE; break;
    case RUN_FOREIGN: block.kind = BLOCK_FOREIGN; break;
    case RUN_INSIDE: /* of a free run: perhaps the start of one that joined its neighbour */
        block.kind = region_is_free(region, slice) ? BLOCK_FREE : BLOCK_INTERIOR;
        break;
    }
    return block;
}

/* A block that may be used: ours, or one of libc's that we pass on. */
static bool block_is_live(struct block block, const void *p)
{
    return likely(block.kind >= BLOCK_SLAB) || (block.kind == BLOCK_FOREIGN && foreign_is_block(p));
}

/* As diag_fatal, with what is known of a guarded block. */
_Noreturn RARE void block_fatal(const char *bug, const void *p, const void *caller)
{
    if (guard_contains(p))
        guard_fatal(bug, p, caller);
    diag_fatal(bug, p);
}

_Noreturn RARE void block_refuse(enum block_kind kind, const void *p, const void *caller)
{
    switch (kind) {
    case BLOCK_FREE: block_fatal("double free", p, caller);
    case BLOCK_INTERIOR: block_fatal("invalid free of an interior pointer", p, caller);
    default: block_fatal("invalid free", p, caller);
    }
}

/* ---- release ---- */

/* A push has made its slab want attention. */
COLD void release_wake(struct slice *slab)
{
    int saved_errno = errno;
    arena_wake(thread_arena, slab);
    thread_enter(); /* a thread that only frees sees its orders here */
    errno = saved_errno;
}

/* Is there nothing unusual about the free of this block of the slab? `sized`: the caller says that it asked for `size`
   bytes, at most CLASS_MAX. */
INLINE bool release_is_plain(const struct slice *slab, const void *p, bool sized, size_t size)
{
    return likely(!slab_double_free_candidate(p)) && (!sized || likely(slab->size_class == class_of(size)));
}

static size_t block_usable_size(struct block block, const void *p)
{
    switch (block.kind) {
    case BLOCK_SLAB: return hardened_room(block.slice);
    case BLOCK_MEDIUM:
        return block.slice->features == 0 ? run_length(block.slice) << SLICE_SHIFT : block.slice->usable;
    case BLOCK_FOREIGN: return foreign_usable_size(p);
    case BLOCK_GUARDED: return guard_size(p);
    case BLOCK_HEAP: return heap_usable_size(heap_of(p), p);
    default: return mapping_usable_size(p);
    }
}

/* Puts a block by that a thread without an arena has freed, as there is no memory for one: free cannot fail. The next
   slow path of any thread that has an arena frees it. */
RARE void strand(void *p)
{
    void *first = load_relaxed(stranded);
    do {
        *(block_word *)p = (uintptr_t)first;
    } while (!atomic_compare_exchange_weak_explicit(&stranded, &first, p, memory_order_release, memory_order_relaxed));
}

RARE void stranded_release(struct arena *arena)
{
    void *p = atomic_exchange_explicit(&stranded, NULL, memory_order_acquire), *next;
    for (; p; p = next) {
        next = (void *)(uintptr_t)*(block_word *)p; /* itself if it was freed twice */
        struct block block = block_look_up(p);
        if (block.kind != BLOCK_SLAB)
            block_refuse(block.kind, p, NULL);
        arena_release(arena, block.slice, p, (uintptr_t)p - slab_start(block.slice));
    }
}

/* Whatever it is but NULL. */
SLOW void release_usual(void *p)
{
    int saved_errno = errno;
    unsigned char byte = load_relaxed(perturb_byte);
    struct block block = block_look_up(p);
    size_t trim_threshold;
    switch (block.kind) {
    case BLOCK_SLAB: {
        struct arena *arena = thread_enter();
        if (unlikely(byte != 0))
            memset(p, byte, slab_class(block.slice)->block_size);
        if (unlikely(!arena)) {
            strand(p);
            break;
        }
        arena_release(arena, block.slice, p, (uintptr_t)p - slab_start(block.slice));
        if (unlikely(load_relaxed(stranded) != NULL))
            stranded_release(arena);
        thread_leave(arena);
        break;
    }
    case BLOCK_MEDIUM:
        if (unlikely(byte != 0))
            memset(p, byte, block_usable_size(block, p));
        if (unlikely(block.slice->features != 0)) {
            run_in_hand = true; /* before: as in run_publish */
            if (!run_detach(block.slice, RUN_WORD(RUN_MEDIUM, run_length(block.slice))))
                block_refuse(BLOCK_FREE, p, NULL); /* another thread was faster */
            if (hardened_medium_end(block.slice))
                region_release(block.slice);
            else
                run_in_hand = false; /* nobody's for ever */
        } else if (!medium_keep(&thread_arena->medium, block.slice) &&
                   !region_release_if(block.slice, RUN_WORD(RUN_MEDIUM, run_length(block.slice)))) {
            block_refuse(BLOCK_FREE, p, NULL); /* another thread was faster */
        }
        break;
    case BLOCK_MAPPING:
        if (!mapping_release(p, &trim_threshold))
            block_refuse(BLOCK_FREE, p, NULL); /* another thread was faster */
        if (trim_threshold != 0 && !region_policy.trim_explicit)
            store_relaxed(region_policy.trim_threshold, trim_threshold);
        break;
    case BLOCK_HEAP: heap_release(heap_of(p), p); break;
    case BLOCK_FOREIGN:
        if (!foreign_is_block(p))
            block_refuse(BLOCK_FOREIGN, p, NULL);
        foreign_release(p);
        break;
    case BLOCK_GUARDED:
        if (!guard_release(p, __builtin_return_address(0)))
            block_refuse(BLOCK_FREE, p, __builtin_return_address(0));
        break;
    default: block_refuse(block.kind, p, __builtin_return_address(0));
    }
    errno = saved_errno;
}

LAST SLOW void release_hardened_slow(void *p)
{
    if (!hardened_release(p, load_relaxed(perturb_byte)))
        release_usual(p);
}

/* The same, hardened. */
LAST SLOW void release_hardened(void *p)
{
    if (unlikely(!hardened_release_quick(p)))
        release_hardened_slow(p);
}

INLINE void release_any(void *p)
{
    if (unlikely(load_relaxed(hardened_ever)))
        release_hardened(p);
    else
        release_usual(p);
}

/* Is it a medium block whose run the thread keeps from now on? `sized` as above. */
INLINE bool release_is_kept(struct slice *head, const void *p, bool sized, size_t size)
{
    return (uintptr_t)p % SLICE_SIZE == 0 && head->features == 0 &&
           (!sized || size <= run_length(head) << SLICE_SHIFT) && medium_keep(&thread_arena->medium, head);
}

/* The slow path's first door: a plain block that starts in a further slice of its slab, or of a slab of which pages are
   purged, or which is another thread's or nobody's; or a medium block that the thread keeps. (A thread that must look at
   everything that it frees has arena_none, whose id is 0.) */
INLINE bool release_elsewhere(void *p, bool sized, size_t size)
{
    const struct region *region = &regions[0];
    struct arena *arena = thread_arena;
    size_t index = ((uintptr_t)p - region->base) >> SLICE_SHIFT;
    if (index >= load_folded(region->count) || arena->id == 0)
        return false;
    struct slice *slab = slab_at(region, p);
    enum run_kind kind = run_kind(slab);
    if (kind != RUN_SLAB)
        return kind == RUN_MEDIUM && release_is_kept(slab, p, sized, size);
    uintptr_t offset = (uintptr_t)p - slab_start(slab);
    if (slab->features != 0 || (unlikely(!slab_is_block(slab, offset)) && !slab_is_formed_block(slab, offset)))
        return false;
    if ((sized && size > CLASS_MAX) || !release_is_plain(slab, p, sized, size) || thread_has_orders(arena))
        return false;
    arena_release(arena, slab, p, offset);
    return true;
}

/* The slow path of every release. */
SLOW void release_slow(void *p)
{
    if (!release_elsewhere(p, false, 0) && p)
        release_any(p);
}

/* realloc keeps a slab's block unless it grows out of it, or shrinks so far that a smaller class is worth the copy. */
static bool resize_stays(size_t usable, size_t size)
{
    return size <= usable && (size > usable / 2 || usable <= 64);
}

/* Frees a block if it could have been handed out for `size` bytes at `alignment`. */
SLOW void release_sized_any(void *p, size_t alignment, size_t size)
{
    if (!p)
        return;
    struct block block = block_look_up(p);
    if (unlikely(!block_is_live(block, p)))
        block_refuse(block.kind, p, __builtin_return_address(0));
    bool possible = size <= block_usable_size(block, p) && (uintptr_t)p % alignment == 0 &&
                    (alignment <= CLASS_MAX || block.kind != BLOCK_SLAB);
    if (possible && block.kind == BLOCK_SLAB) {
        size_t room = hardened_room(block.slice), all = size + size_classes[block.slice->size_class].block_size - room;
        unsigned class = alignment <= BLOCK_ALIGNMENT ? class_of(all) : class_of_aligned(alignment, all);
        unsigned actual = block.slice->size_class;
        possible = actual == class || actual == size_classes[class].lender || resize_stays(room, size) ||
                   load_relaxed(sizes_loose);
    }
    if (block.kind == BLOCK_GUARDED)
        possible &= size == guard_size(p) || load_relaxed(sizes_loose);
    if (unlikely(!possible))
        block_fatal("size mismatch in sized free", p, __builtin_return_address(0));
    release_any(p);
}

SLOW void release_sized_slow(void *p, size_t size)
{
    if (!release_elsewhere(p, true, size))
        release_sized_any(p, BLOCK_ALIGNMENT, size);
}

/* The fast path, and its one exit. Only the head slice of a slab has an owner: blocks that start in a further one, which
   are larger than 8 KiB, go by the slow path's first door. */
INLINE void release_inline(void *p, bool sized, size_t size)
{
    const struct region *region = &regions[0];
    size_t index = ((uintptr_t)p - region->base) >> SLICE_SHIFT;
    if (likely(index < load_folded(region->count))) {
        struct slice *slab = &region->map[index];
        uintptr_t offset = (uintptr_t)p % SLICE_SIZE;
        if (likely(load_relaxed(slab->owner) == thread_arena) && likely(slab_is_block(slab, offset)) &&
            release_is_plain(slab, p, sized, size)) {
            if (unlikely(slab_push(slab, p, offset)))
                release_wake(slab);
            return;
        }
    }
    if (sized)
        release_sized_slow(p, size);
    else
        release_slow(p);
}

INLINE void alloc_release(void *p) { release_inline(p, false, 0); }

INLINE void alloc_release_sized(void *p, size_t size)
{
    if (likely(size <= CLASS_MAX))
        release_inline(p, true, size);
    else
        release_sized_slow(p, size);
}

static void alloc_release_aligned_sized(void *p, size_t alignment, size_t size)
{
    release_sized_any(p, max_size(is_power_of_two(alignment) ? alignment : 1, BLOCK_ALIGNMENT), size);
}

/* ---- resize, usable size, ownership ---- */

/* Where a block that moves stays in its heap, though another is in use. */
COLD void *allocate_beside_heap(size_t size)
{
    struct brim_heap *used = brim_heap_use(NULL);
    void *p = alloc_allocate(size);
    brim_heap_use(used);
    return p;
}

static void *resize_by_copy(void *p, size_t usable, size_t size)
{
    void *moved = unlikely(thread_heap != NULL) ? allocate_beside_heap(size) : alloc_allocate(size);
    if (unlikely(!moved))
        return NULL;
    memcpy(moved, p, min_size(usable, size));
    alloc_release(p);
    return moved;
}

static void *alloc_resize(void *p, size_t size)
{
    struct block block = block_look_up(p);
    if (unlikely(!block_is_live(block, p)))
        block_fatal("invalid pointer passed to realloc", p, __builtin_return_address(0));
    if (size > REQUEST_MAX)
        return out_of_memory();
    if (unlikely(block.kind == BLOCK_HEAP))
        return heap_resize(heap_of(p), p, size);
    size_t usable = block_usable_size(block, p);
    bool large = size + canary_room() > CLASS_MAX;
    switch (block.kind) {
    case BLOCK_SLAB:
        if (unlikely(block.slice->features & HARDENED_CANARY))
            canary_check(p, usable);
        if (resize_stays(usable, size))
            return p;
        break;
    case BLOCK_MEDIUM:
        if (unlikely(block.slice->features != 0)) {
            if (large && hardened_medium_resize(block.slice, size))
                return p;
        } else if (large && (slices_for(size) == run_length(block.slice) ||
                             medium_resize(block.slice, slices_for(size)))) {
            return p;
        }
        break;
    case BLOCK_FOREIGN:
        /* Moves to us: libc's realloc could make a mapping of it, which our free must not pass on unasked. */
        break;
    case BLOCK_GUARDED:
        if (size == usable)
            return p;
        break;
    default: {
        void *moved = mapping_resize(p, size);
        if (moved && size > usable)
            regions_settle();
        if (moved)
            return moved;
        if (size <= usable)
            return p;
    }
    }
    if (size <= usable && large)
        return p; /* shrinking cannot fail */
    void *moved = resize_by_copy(p, usable, size);
    if (unlikely(!moved) && size <= usable) {
        store_relaxed(sizes_loose, true);
        return p;
    }
    return moved;
}

static size_t alloc_usable_size(const void *p)
{
    struct block block = block_look_up(p);
    if (unlikely(!block_is_live(block, p)))
        block_fatal("invalid pointer passed to malloc_usable_size", p, __builtin_return_address(0));
    return block_usable_size(block, p);
}

static bool alloc_owns(const void *p)
{
    struct region *region = region_of(p);
    if (region)
        return run_kind(slab_at(region, p)) != RUN_FOREIGN;
    return guard_contains(p) || mapping_contains(p) || heap_of(p);
}

static void alloc_set_perturb(unsigned char byte)
{
    store_relaxed(perturb_byte, byte);
    thread_slow(SLOW_PERTURB, byte != 0);
}
