/* heap_shard.c: see heap_shard.h. */
#include "heap_shard.h"

#include <pthread.h>

/* ---- the process ---- */

/* In a page that is wiped in a forked child: who we are. */
static _Atomic uint64_t *heap_process_word;

LAST static bool heap_process_init(void)
{
    if (heap_process_word)
        return true;
    uintptr_t page = os_map(os_page_size);
    if (!page)
        return heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
    int failed = os_wipe_on_fork(page, os_page_size);
    if (failed) {
        os_unmap(page, os_page_size);
        return heap_fail_system(failed);
    }
    heap_process_word = (_Atomic uint64_t *)page;
    return true;
}

LAST static uint64_t heap_process_identity(void)
{
    uint64_t identity = load_acquire(*heap_process_word);
    if (unlikely(identity == 0)) {
        identity = os_process_identity();
        store_release(*heap_process_word, identity);
    }
    return identity;
}

/* The first operation in a forked child. Handles' lock. */
RARE bool heap_attend_locked(struct brim_heap *heap)
{
    if (load_relaxed(heap->identity) == heap_process_identity())
        return true;
    if (heap->kind == BRIM_HEAP_LOCKED)
        return heap_fail(BRIM_HEAP_WIPED, EPERM);
    store_relaxed(heap->shards, NULL);
    memset(heap->threads, 0, sizeof heap->threads);
    if (!heap_is_copy(heap))
        return heap_enter(heap, heap_process_identity());
    /* A copy: nobody else is in it, and whoever was when we were forked has stopped where the copy was made. */
    memset((void *)heap->header->processes, 0, sizeof heap->header->processes);
    store_relaxed(heap->header->lock, 0);
    if (!heap_enter(heap, heap_process_identity()))
        return false;
    heap_lock_word(heap);
    bool recovered = heap_recover(heap, true);
    heap_unlock(heap);
    return recovered;
}

LAST static bool heap_attend(struct brim_heap *heap)
{
    if (likely(load_acquire(heap->identity) == heap_process_identity()))
        return true;
    lock_acquire(&heap_handles_lock);
    bool here = heap_attend_locked(heap);
    lock_release(&heap_handles_lock);
    return here;
}

/* ---- threads ---- */

static _Thread_local struct heap_shard *thread_shards; /* all of this thread. Handles' lock */
static struct heap_shard *heap_shard_pool;             /* of ended threads; linked by thread_next. Handles' lock */
static pthread_key_t heap_exit_key;
static bool heap_exit_key_ready; /* Handles' lock */
static _Thread_local bool heap_exit_hooked;

static bool heap_shard_retire(struct heap_shard *shard);

LAST static void heap_shard_set_open(struct heap_shard *shard, unsigned class, struct heap_slab slab)
{
    size_t size = size_classes[class].block_size, below = class == 0 ? 0 : size_classes[class - 1].block_size;
    shard->open[class] = slab.slice;
    shard->origin[class] = slab.origin;
    if (size > STEPS_MAX)
        return;
    for (size_t step = class == 0 ? 0 : below / 16 + 1; step <= size / 16; step++) {
        shard->open_by_step[step] = slab.slice;
        shard->origin_by_step[step] = slab.origin;
    }
}

/* The shard is of no heap any more. */
LAST static void heap_shard_vacate(struct heap_shard *shard)
{
    store_relaxed(shard->heap, NULL);
    store_relaxed(shard->reach, 0);
}

/* The fast path of free follows the growth of the heap. */
LAST static void heap_shard_reach(struct heap_shard *shard, const struct brim_heap *heap)
{
    size_t reach = load_acquire(heap->count) << SLICE_SHIFT;
    if (likely(reach == load_relaxed(shard->reach)))
        return;
    for (unsigned table = 0; table < HEAP_TABLES; table++)
        store_relaxed(shard->table[table], load_relaxed(heap->table[table]));
    store_relaxed(shard->reach, reach);
}

LAST static void heap_thread_exit(void *value)
{
    (void)value;
    heap_exit_hooked = false; /* a later destructor may come back */
    int saved_errno = errno;
    lock_acquire(&heap_handles_lock);
    thread_shard = (struct heap_shard *)&heap_shard_none;
    while (thread_shards) {
        struct heap_shard *shard = thread_shards;
        struct brim_heap *heap = load_relaxed(shard->heap);
        if (heap && heap_attend_locked(heap))
            heap_shard_retire(shard);
        heap_shard_vacate(shard);
        thread_shards = shard->thread_next;
        shard->thread_next = heap_shard_pool;
        heap_shard_pool = shard;
    }
    lock_release(&heap_handles_lock);
    errno = saved_errno;
}

LAST static void heap_hook_exit(void)
{
    if (heap_exit_hooked)
        return;
    lock_acquire(&heap_handles_lock);
    if (!heap_exit_key_ready)
        heap_exit_key_ready = pthread_key_create(&heap_exit_key, heap_thread_exit) == 0;
    bool ready = heap_exit_key_ready;
    lock_release(&heap_handles_lock);
    heap_exit_hooked = true; /* first: setspecific may allocate */
    int saved_errno = errno;
    if (ready)
        pthread_setspecific(heap_exit_key, &heap_exit_key);
    errno = saved_errno;
}

/* A shard of no heap, for this thread. */
LAST static struct heap_shard *heap_shard_obtain(void)
{
    for (struct heap_shard *shard = thread_shards; shard; shard = shard->thread_next)
        if (!load_relaxed(shard->heap))
            return shard;
    struct heap_shard *shard = heap_shard_pool;
    if (shard) {
        heap_shard_pool = shard->thread_next;
    } else {
        size_t size = align_up(sizeof *shard, os_page_size);
        shard = (struct heap_shard *)os_map(size);
        if (!shard)
            return NULL;
        os_wipe_on_fork((uintptr_t)shard, size); /* heap_process_init has seen that it can be done */
    }
    shard->thread_next = thread_shards;
    thread_shards = shard;
    return shard;
}

LAST static bool heap_shard_begin(struct heap_shard *shard, struct brim_heap *heap)
{
    size_t word = 0;
    while (word < HEAP_THREADS / 64 && heap->threads[word] == ~0ull)
        word++;
    if (word == HEAP_THREADS / 64)
        return heap_fail(BRIM_HEAP_TOO_MANY, EUSERS);
    size_t thread = word * 64 + (size_t)__builtin_ctzll(~heap->threads[word]);
    heap->threads[word] |= 1ull << thread % 64;
    shard->owner = HEAP_OWNER(heap->slot, thread);
    heap->token += 2;
    shard->token = heap->token;
    enum { NOBODYS = 2 };
    shard->free_token = heap->kind == BRIM_HEAP_LOCKED ? NOBODYS : shard->token;
    shard->key = heap->key;
    shard->waiting = 0;
    memset(shard->partial, 0, sizeof shard->partial);
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        heap_shard_set_open(shard, class, (struct heap_slab){(struct heap_slice *)&heap_slice_none, 0});
    shard->heap_next = load_relaxed(heap->shards);
    store_relaxed(heap->shards, shard);
    shard->base = heap->base;
    heap_shard_reach(shard, heap);
    store_relaxed(shard->heap, heap);
    return true;
}

LAST static struct heap_shard *heap_shard_get(struct brim_heap *heap)
{
    if (unlikely(!heap_attend(heap)))
        return NULL;
    if (likely(load_relaxed(thread_shard->heap) == heap)) {
        heap_shard_reach(thread_shard, heap);
        return thread_shard;
    }
    for (struct heap_shard *shard = thread_shards; shard; shard = shard->thread_next)
        if (load_relaxed(shard->heap) == heap)
            return thread_shard = shard;
    heap_hook_exit();
    lock_acquire(&heap_handles_lock);
    struct heap_shard *shard = heap_shard_obtain();
    if (!shard)
        heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
    else if (!heap_shard_begin(shard, heap))
        shard = NULL;
    lock_release(&heap_handles_lock);
    if (shard)
        thread_shard = shard;
    return shard;
}

/* ---- lists ---- */

INLINE size_t heap_index_of(const struct brim_heap *heap, const struct heap_slab *slab)
{
    return (heap_slab_start(slab) - heap->base) >> SLICE_SHIFT;
}

LAST static void heap_list_add(const struct brim_heap *heap, uint32_t *first, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    slice->previous = 0;
    slice->next = *first;
    if (*first != 0)
        heap_slice(heap, *first)->previous = (uint32_t)index;
    *first = (uint32_t)index;
}

LAST static void heap_list_remove(const struct brim_heap *heap, uint32_t *first, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    if (slice->next != 0)
        heap_slice(heap, slice->next)->previous = slice->previous;
    if (slice->previous != 0)
        heap_slice(heap, slice->previous)->next = slice->next;
    else
        *first = slice->next;
}

/* ---- states ---- */

/* Half of what is missing, as others' frees are not told: they are counted when it is reached. */
LAST static void heap_partial_wake(struct heap_slice *slice)
{
    size_t local = LINK_COUNT(load_relaxed(slice->head));
    size_t missing = load_relaxed(slice->formed) - heap_slab_free_count(slice);
    slice->wake = WAKE_AT(local + (missing + 1) / 2);
}

LAST static void heap_slab_nobody_to_waiting(struct heap_shard *shard, size_t index)
{
    struct heap_slice *slice = heap_slice(shard->heap, index);
    slice->state = HEAP_SLAB_WAITING;
    slice->wake = WAKE_AT(max_size(heap_slab_class(slice)->capacity / 8, 1));
    heap_list_add(shard->heap, &shard->waiting, index);
}

LAST static void heap_slab_waiting_to_partial(struct heap_shard *shard, size_t index)
{
    struct heap_slice *slice = heap_slice(shard->heap, index);
    heap_list_remove(shard->heap, &shard->waiting, index);
    slice->state = HEAP_SLAB_PARTIAL;
    heap_list_add(shard->heap, &shard->partial[slice->size_class], index);
    heap_partial_wake(slice);
}

LAST static void heap_slab_to_open(struct heap_shard *shard, size_t index)
{
    struct heap_slice *slice = heap_slice(shard->heap, index);
    slice->state = HEAP_SLAB_OPEN;
    slice->wake = WAKE_NEVER;
    heap_shard_set_open(shard, slice->size_class, heap_slab_view(shard->heap, index));
}

LAST static void heap_shard_wake(struct heap_shard *shard, const void *block)
{
    struct brim_heap *heap = shard->heap;
    size_t at = ((uintptr_t)block - heap->base) >> SLICE_SHIFT, index = at - heap_slice(heap, at)->back;
    struct heap_slice *slice = heap_slice(heap, index);
    if (slice->state == HEAP_SLAB_WAITING) {
        heap_slab_waiting_to_partial(shard, index);
        return;
    }
    if (!heap_slab_is_idle(slice)) {
        heap_partial_wake(slice);
        return;
    }
    int saved_errno = errno;
    if (heap_lock(heap)) {
        heap_list_remove(heap, &shard->partial[slice->size_class], index);
        heap_slab_end(heap, index);
        heap_unlock(heap);
    } else {
        slice->wake = WAKE_NEVER;
    }
    errno = saved_errno;
}

/* ---- allocation ---- */

/* The open slab has no block on its list: is there another way to one in it? */
LAST static void *heap_open_refill(struct heap_shard *shard, const struct heap_slab *open)
{
    if (load_relaxed(open->slice->head) != LINK_EMPTY) {
        /* The list is no list: what is on it is lost, with the belief in this heap. */
        store_relaxed(open->slice->head, LINK_EMPTY);
        heap_fail_damaged(shard->heap);
        return NULL;
    }
    while (heap_slab_take_remote(open) || heap_slab_form(open, &shard->key)) {
        void *block = heap_slab_pop(*open, &shard->key);
        if (block)
            return block;
        if (load_relaxed(open->slice->head) != LINK_EMPTY)
            return heap_open_refill(shard, open);
    }
    return NULL;
}

/* Before the heap grows for us: has a process left something? Not more than ten times a second. Lock. */
LAST static bool heap_look_for_dead(struct brim_heap *heap)
{
    enum { INTERVAL_MS = 100 };
    uint64_t now = os_now_ms();
    if (heap_is_copy(heap) || now - heap->looked_ms < INTERVAL_MS)
        return false;
    heap->looked_ms = now;
    return heap_has_dead(heap) && heap_recover(heap, false);
}

/* A slab of the class that nobody has, or a new one; with the lock. 0 and an error if there is none. */
LAST static size_t heap_shard_supply(struct heap_shard *shard, unsigned class)
{
    struct brim_heap *heap = shard->heap;
    if (!heap_lock(heap))
        return 0;
    size_t index = heap_orphan_take(heap, class, shard->owner, shard->token);
    if (index == 0 && heap_look_for_dead(heap))
        index = heap_orphan_take(heap, class, shard->owner, shard->token);
    if (index == 0 && !load_relaxed(heap->damaged)) {
        bool zero;
        index = heap_run_take(heap, size_classes[class].slices, size_classes[class].slices, &zero);
        if (index != 0)
            heap_slab_create(heap, index, class, shard->owner, shard->token);
    }
    heap_unlock(heap);
    return index;
}

/* A slab of ours that waits for more free blocks, when there is no other. */
LAST static size_t heap_shard_scrape(struct heap_shard *shard, unsigned class)
{
    for (uint32_t index = shard->waiting; index != 0; index = heap_slice(shard->heap, index)->next)
        if (heap_slice(shard->heap, index)->size_class == class) {
            heap_list_remove(shard->heap, &shard->waiting, index);
            return index;
        }
    return 0;
}

LAST static void *heap_shard_refill(struct heap_shard *shard, unsigned class)
{
    struct brim_heap *heap = shard->heap;
    for (;;) {
        if (shard->open[class] != &heap_slice_none) {
            struct heap_slab open = heap_shard_open(shard, class);
            void *block = heap_slab_pop(open, &shard->key);
            if (!block)
                block = heap_open_refill(shard, &open);
            if (block)
                return block;
            if (load_relaxed(heap->damaged))
                return heap_fail_damaged(heap), NULL;
            if (!heap_slab_disown(open.slice, true))
                continue; /* somebody has just freed a block of it */
            heap_shard_set_open(shard, class, (struct heap_slab){(struct heap_slice *)&heap_slice_none, 0});
        }
        size_t index = shard->partial[class];
        if (index != 0)
            heap_list_remove(heap, &shard->partial[class], index);
        else
            index = heap_shard_supply(shard, class);
        if (index == 0)
            index = heap_shard_scrape(shard, class);
        if (index == 0)
            return NULL;
        heap_slab_to_open(shard, index);
    }
}

/* ---- release ---- */

LAST static void heap_shard_release(struct heap_shard *shard, const struct heap_slab *slab, void *block)
{
    struct heap_slice *slice = slab->slice;
    uintptr_t offset = (uintptr_t)block - heap_slab_start(slab);
    uint64_t remote = load_acquire(slice->remote);
    for (;;) {
        uint32_t owner = HEAP_REMOTE_OWNER(remote);
        if (owner == 0) {
            if (heap_slab_claim(slice, shard->owner, shard->token)) {
                if (unlikely(!heap_slab_lists_hold(slab, &shard->key))) {
                    heap_fail_damaged(shard->heap); /* it stays ours, and in no list */
                    return;
                }
                heap_slab_nobody_to_waiting(shard, heap_index_of(shard->heap, slab));
                owner = shard->owner;
            } else {
                remote = load_acquire(slice->remote);
                continue;
            }
        }
        if (owner == shard->owner) {
            if (unlikely(load_relaxed(slice->owner) != shard->token)) {
                heap_fail_damaged(shard->heap); /* a name that the file had before we took it */
                return;
            }
            if (heap_slab_push(slice, block, offset, &shard->key))
                heap_shard_wake(shard, block);
            return;
        }
        if (heap_slab_push_remote(slice, &remote, block, offset, &shard->key))
            return;
    }
}

/* ---- giving up ---- */

LAST static void heap_slab_leave(struct brim_heap *heap, size_t index)
{
    struct heap_slice *slice = heap_slice(heap, index);
    bool idle = heap_slab_is_idle(slice);
    heap_slab_disown(slice, false);
    if (idle)
        heap_slab_end(heap, index);
    else if (heap_slab_has_room(slice))
        heap_orphan_add(heap, index);
}

LAST static void heap_list_leave(struct brim_heap *heap, uint32_t *first)
{
    while (*first != 0) {
        size_t index = *first;
        *first = heap_slice(heap, index)->next;
        heap_slab_leave(heap, index);
    }
}

/* Ends what the shard has of its heap. False if that cannot be. Handles' lock. */
LAST static bool heap_shard_retire(struct heap_shard *shard)
{
    struct brim_heap *heap = shard->heap;
    bool can = heap_lock(heap);
    if (can) {
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            if (shard->open[class] != &heap_slice_none)
                heap_slab_leave(heap, (shard->origin[class] + BLOCK_ALIGNMENT - heap->base) >> SLICE_SHIFT);
            heap_list_leave(heap, &shard->partial[class]);
        }
        heap_list_leave(heap, &shard->waiting);
        heap_unlock(heap);
        size_t thread = shard->owner & ((1u << 20) - 1);
        heap->threads[thread / 64] &= ~(1ull << thread % 64);
    }
    struct heap_shard *list = load_relaxed(heap->shards);
    if (list == shard)
        store_relaxed(heap->shards, shard->heap_next);
    for (; list; list = list->heap_next)
        if (list->heap_next == shard)
            list->heap_next = shard->heap_next;
    return can;
}

LAST static void heap_shards_retire(struct brim_heap *heap)
{
    struct heap_shard *shard;
    bool all = true;
    while ((shard = load_relaxed(heap->shards)) != NULL) {
        all &= heap_shard_retire(shard);
        heap_shard_vacate(shard);
    }
    /* Last, and without the lock: a slot that nobody has must not be the holder's. */
    store_release(heap->header->processes[heap->slot], all ? 0 : HEAP_IDENTITY_NOBODY);
}
