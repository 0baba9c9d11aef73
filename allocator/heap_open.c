/* heap_open.c: see heap_open.h. */
#include "heap_open.h"

/* ---- handles ---- */

LAST static struct brim_heap *heap_of(const void *p)
{
    struct brim_heap *heap = load_acquire(heap_handles);
    while (heap && !(load_acquire(heap->in_use) &&
                     (uintptr_t)p - load_relaxed(heap->base) < load_relaxed(heap->limit) << SLICE_SHIFT))
        heap = heap->next;
    return heap;
}

/* A handle that nobody uses, empty but for its place in the list. Handles' lock. */
LAST static struct brim_heap *heap_handle_obtain(enum brim_heap_kind kind)
{
    struct brim_heap *first = load_relaxed(heap_handles), *heap = first;
    while (heap && load_relaxed(heap->in_use))
        heap = heap->next;
    if (heap) {
        memset((void *)heap, 0, offsetof(struct brim_heap, in_use));
    } else {
        heap = (struct brim_heap *)os_map(align_up(sizeof *heap, os_page_size));
        if (!heap) {
            heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
            return NULL;
        }
        heap->next = first;
        store_release(heap_handles, heap);
    }
    heap->kind = kind;
    heap->file = -1;
    return heap;
}

LAST static void heap_let_go(struct brim_heap *heap)
{
    uintptr_t base = heap->base;
    size_t limit = heap->limit;
    heap->limit = 0; /* before somebody else has the addresses */
    if (base != 0)
        os_unreserve_alone(base, limit << SLICE_SHIFT);
    if (heap->file >= 0)
        os_file_close(heap->file);
    heap->base = 0;
    heap->file = -1;
}

/* ---- mapping ---- */

/* Reserves address space for the heap, at least for `least` slices: as much as asked for, or what can be had. */
LAST static bool heap_reserve(struct brim_heap *heap, size_t slices, size_t least, bool exactly)
{
    for (;;) {
        heap->base = os_reserve_alone(slices << SLICE_SHIFT, SLICE_SIZE);
        heap->limit = slices;
        if (heap->base && heap->kind == BRIM_HEAP_FAMILY && os_map_family(heap->base, slices << SLICE_SHIFT) != 0) {
            os_unreserve_alone(heap->base, slices << SLICE_SHIFT);
            heap->base = 0;
        }
        if (heap->base) {
            heap->header = (struct heap_header *)heap->base;
            return true;
        }
        if (exactly || slices / 2 < least)
            return heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
        slices /= 2;
    }
}

/* The header is there: takes what this process needs to know of it, and a place among its processes. */
LAST static bool heap_enter_first(struct brim_heap *heap)
{
    link_key_init(&heap->key, heap->header->key);
    return heap_follow(heap) && heap_enter(heap, heap_process_identity());
}

/* ---- anonymous heaps ---- */

LAST static const char *heap_name(enum brim_heap_kind kind)
{
    switch (kind) {
    case BRIM_HEAP_PRIVATE: return "brim heap private";
    case BRIM_HEAP_FAMILY: return "brim heap family";
    case BRIM_HEAP_LOCKED: return "brim heap locked";
    case BRIM_HEAP_SNAPSHOT: return "brim heap snapshot";
    default: return "brim heap";
    }
}

LAST static bool heap_create_anonymous(struct brim_heap *heap, size_t limit, bool exactly)
{
    if (!heap_reserve(heap, limit, HEAP_LIMIT_LEAST >> SLICE_SHIFT, exactly))
        return false;
    os_name_memory(heap->base, heap->limit << SLICE_SHIFT, heap_name(heap->kind));
    if (heap->kind == BRIM_HEAP_LOCKED) {
        int failed = os_keep_secret(heap->base, heap->limit << SLICE_SHIFT);
        if (failed)
            return heap_fail_system(failed);
    }
    if (!heap_provide(heap, 0, 1))
        return false;
    heap_format(heap->header, heap->limit, os_random());
    memcpy(heap->header->magic, HEAP_MAGIC, sizeof heap->header->magic);
    heap->header->realm = os_process_realm();
    if (!heap_enter_first(heap))
        return false;
    if (heap->kind != BRIM_HEAP_LOCKED)
        return true;
    /* What cannot be locked is better known now. */
    bool zero;
    heap_lock_word(heap);
    size_t index = heap_run_take(heap, 1, 1, &zero);
    if (index != 0)
        heap_run_release(heap, index);
    heap_unlock(heap);
    return index != 0;
}

/* ---- files ---- */

/* What the file is: EMPTY if it is to be, or was, begun. */
LAST static enum brim_heap_error heap_file_judge(int file, size_t size, struct heap_header *header)
{
    if (size == 0)
        return BRIM_HEAP_EMPTY;
    memset((void *)header, 0, sizeof *header);
    long length = os_file_read(file, header, sizeof *header, 0);
    if (length < 0)
        return BRIM_HEAP_SYSTEM;
    static const char nothing[sizeof header->magic];
    if (memcmp(header->magic, HEAP_MAGIC_UNFINISHED, sizeof header->magic) == 0 && size <= SLICE_SIZE)
        return BRIM_HEAP_EMPTY;
    if (memcmp(header->magic, nothing, sizeof nothing) == 0 && size <= SLICE_SIZE) {
        uint64_t words[512], sum = 0;
        size_t offset = 0;
        while ((length = os_file_read(file, words, sizeof words, offset)) > 0) {
            memset((char *)words + length, 0, sizeof words - (size_t)length);
            for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
                sum |= words[i];
            offset += (size_t)length;
        }
        if (length == 0 && sum == 0)
            return BRIM_HEAP_EMPTY;
    }
    if ((size_t)length < offsetof(struct heap_header, orphans) &&
        memcmp(header->magic, HEAP_MAGIC, sizeof header->magic) == 0)
        return BRIM_HEAP_TRUNCATED;
    return heap_judge(header, size);
}

LAST static bool heap_fail_judged(enum brim_heap_error error)
{
    static const int numbers[] = {[BRIM_HEAP_SYSTEM] = EIO,          [BRIM_HEAP_EMPTY] = ENODATA,
                                  [BRIM_HEAP_FOREIGN] = EBADMSG,     [BRIM_HEAP_VERSION] = ENOTSUP,
                                  [BRIM_HEAP_BYTE_ORDER] = ENOTSUP,  [BRIM_HEAP_PAGE_SIZE] = ENOTSUP,
                                  [BRIM_HEAP_TRUNCATED] = EBADMSG,   [BRIM_HEAP_DAMAGED] = EUCLEAN,
                                  [BRIM_HEAP_EXISTS] = EEXIST};
    return heap_fail(error, numbers[error]);
}

/* Makes the empty file a heap. */
LAST static bool heap_file_begin(struct brim_heap *heap, size_t limit, bool exactly)
{
    if (!heap_reserve(heap, limit, HEAP_LIMIT_LEAST >> SLICE_SHIFT, exactly))
        return false;
    int failed = os_file_reserve(heap->file, 0, SLICE_SIZE);
    if (!failed)
        failed = os_map_file(heap->base, heap->limit << SLICE_SHIFT, heap->file, true);
    if (failed)
        return heap_fail_system(failed);
    struct heap_header *header = heap->header;
    memcpy(header->magic, HEAP_MAGIC_UNFINISHED, sizeof header->magic);
    heap_then();
    memset((char *)header + sizeof header->magic, 0, SLICE_SIZE - sizeof header->magic);
    heap_format(header, limit, os_random());
    header->realm = os_process_realm();
    heap_then();
    memcpy(header->magic, HEAP_MAGIC, sizeof header->magic);
    return heap_enter_first(heap);
}

/* The processes that the file names have all gone, if nobody holds the writers' lock. `alone` says that. */
LAST static bool heap_file_meet(struct brim_heap *heap, bool alone)
{
    struct heap_header *header = heap->header;
    uint64_t realm = os_process_realm();
    bool strangers = header->realm != realm;
    if (strangers && !alone)
        return heap_fail(BRIM_HEAP_BUSY, EBUSY);
    bool left_open = heap_processes(heap) != 0 || load_relaxed(header->lock) != 0 || header->unrecovered;
    link_key_init(&heap->key, header->key);
    if (!heap_follow(heap))
        return false;
    if (left_open && alone && !heap_is_tiled(heap))
        return heap_fail_damaged(heap); /* before anything of it has changed */
    if (!heap_enter_first(heap))
        return false;
    if (strangers && left_open) {
        /* The ids may by chance be those of living processes here. */
        for (uint32_t slot = 0; slot < HEAP_PROCESSES; slot++)
            if (slot != heap->slot && load_relaxed(header->processes[slot]) != 0)
                store_relaxed(header->processes[slot], HEAP_IDENTITY_NOBODY);
        if (load_relaxed(header->lock) != 0)
            header->unrecovered = true;
        store_relaxed(header->lock, 0);
    }
    header->realm = realm;
    if (!heap_lock(heap))
        return false;
    bool good = !heap_has_dead(heap) || heap_recover(heap, false);
    heap_unlock(heap);
    if (good && strangers && left_open)
        good = heap_check(heap, NULL, 0);
    return good;
}

/* Writers and snapshots exclude each other: enters among `ours` if there are none of `others`, and reserves addresses
   for the slices that there are then. */
LAST static bool heap_file_join(struct brim_heap *heap, const struct heap_header *header, size_t *count,
                                enum os_file_lock ours, enum os_file_lock others)
{
    if (os_file_lock(heap->file, ours, false, false) != 0 || os_file_lock_is_held(heap->file, others))
        return heap_fail(BRIM_HEAP_BUSY, EBUSY);
    *count = load_relaxed(header->count);
    return heap_reserve(heap, max_size(header->limit, HEAP_LIMIT_LEAST >> SLICE_SHIFT), *count, false);
}

LAST static bool heap_file_share(struct brim_heap *heap, const struct heap_header *header, size_t stored)
{
    bool alone = !os_file_lock_is_held(heap->file, OS_LOCK_WRITERS);
    size_t count;
    if (!heap_file_join(heap, header, &count, OS_LOCK_WRITERS, OS_LOCK_SNAPSHOTS))
        return false;
    /* A copy may have holes where there were zeros: a full disk must not be noticed when they are written to. */
    int failed = 0;
    if (stored < count << SLICE_SHIFT)
        failed = os_file_reserve(heap->file, 0, count << SLICE_SHIFT);
    if (!failed)
        failed = os_map_file(heap->base, heap->limit << SLICE_SHIFT, heap->file, true);
    return failed ? heap_fail_system(failed) : heap_file_meet(heap, alone);
}

LAST static bool heap_file_snapshot(struct brim_heap *heap, const struct heap_header *judged)
{
    size_t count;
    if (!heap_file_join(heap, judged, &count, OS_LOCK_SNAPSHOTS, OS_LOCK_WRITERS))
        return false;
    int failed = os_map_file(heap->base, count << SLICE_SHIFT, heap->file, false);
    if (failed)
        return heap_fail_system(failed);
    heap->file_slices = count;
    struct heap_header *header = heap->header;
    bool left = heap_processes(heap) != 0 || load_relaxed(header->lock) != 0 || header->unrecovered;
    store_relaxed(header->lock, 0);
    memset((void *)header->processes, 0, sizeof header->processes);
    if (!heap_enter_first(heap))
        return false;
    heap_lock_word(heap);
    bool good = !left || heap_recover(heap, true);
    heap_unlock(heap);
    return good;
}

/* Creates or opens, by what the file is. `limit`: 0 if a heap must be there. */
LAST static bool heap_file_open(struct brim_heap *heap, const char *path, const struct brim_heap_options *options,
                           size_t limit)
{
    enum os_file_mode mode = heap->kind == BRIM_HEAP_SNAPSHOT ? OS_FILE_READ
                             : options                        ? OS_FILE_CREATE
                                                              : OS_FILE_WRITE;
    unsigned permissions = options && options->permissions ? options->permissions : 0600;
    heap->file = os_file_open(path, mode, permissions);
    if (heap->file < 0)
        return heap_fail_system(heap->file);
    struct os_file_facts facts;
    int failed = os_file_lock(heap->file, OS_LOCK_ENTRY, mode != OS_FILE_READ, true);
    if (!failed)
        failed = os_file_facts(heap->file, &facts);
    if (failed)
        return heap_fail_system(failed);
    heap->device = facts.device;
    heap->inode = facts.inode;
    struct heap_header header;
    enum brim_heap_error judged = heap_file_judge(heap->file, facts.size, &header);
    bool done;
    if (options && judged == BRIM_HEAP_EMPTY)
        done = os_file_lock(heap->file, OS_LOCK_WRITERS, false, false) == 0
                   ? heap_file_begin(heap, limit, options->limit != 0)
                   : heap_fail(BRIM_HEAP_BUSY, EBUSY);
    else if (judged != BRIM_HEAP_OK)
        done = heap_fail_judged(judged);
    else if (options && !(options->flags & BRIM_HEAP_OR_OPEN))
        done = heap_fail_judged(BRIM_HEAP_EXISTS);
    else if (heap->kind == BRIM_HEAP_SNAPSHOT)
        done = heap_file_snapshot(heap, &header);
    else
        done = heap_file_share(heap, &header, facts.stored);
    if (!done && options && facts.size == 0 && judged == BRIM_HEAP_EMPTY)
        os_file_truncate(heap->file, 0); /* as it was */
    os_file_unlock(heap->file, OS_LOCK_ENTRY);
    return done;
}

/* ---- the whole ---- */

/* `options` NULL: opens. */
LAST static struct brim_heap *heap_begin(const char *path, enum brim_heap_kind kind, const struct brim_heap_options *options,
                                    size_t limit)
{
    int saved_errno = errno;
    process_init_once();
    lock_acquire(&heap_handles_lock);
    struct brim_heap *heap = heap_process_init() ? heap_handle_obtain(kind) : NULL;
    bool done = heap && (path ? heap_file_open(heap, path, options, limit)
                              : heap_create_anonymous(heap, limit, options->limit != 0));
    int failure = errno;
    if (done)
        store_release(heap->in_use, true);
    else if (heap) {
        if (load_relaxed(heap->identity) != 0)
            store_release(heap->header->processes[heap->slot], 0);
        heap_let_go(heap);
        store_relaxed(heap->identity, 0);
    }
    lock_release(&heap_handles_lock);
    errno = done ? saved_errno : failure;
    return done ? heap : NULL;
}

LAST static struct brim_heap *heap_create(const struct brim_heap_options *given)
{
    struct brim_heap_options options = {.size = sizeof options};
    if (given)
        memcpy(&options, given, min_size(given->size, sizeof options));
    size_t limit = options.limit != 0 ? options.limit : HEAP_LIMIT_DEFAULT;
    bool known = given && given->size >= offsetof(struct brim_heap_options, limit) &&
                 (options.flags & ~BRIM_HEAP_OR_OPEN) == 0 && (options.permissions & ~07777u) == 0 &&
                 limit >= HEAP_LIMIT_LEAST && limit <= HEAP_SLICES_MAX << SLICE_SHIFT;
    switch (options.kind) {
    case BRIM_HEAP_PRIVATE:
    case BRIM_HEAP_FAMILY:
    case BRIM_HEAP_LOCKED: known = known && !options.path && options.flags == 0; break;
    case BRIM_HEAP_FILE: known = known && options.path; break;
    default: known = false;
    }
    if (!known) {
        heap_fail(BRIM_HEAP_INVALID, EINVAL);
        return NULL;
    }
    return heap_begin(options.path, options.kind, &options, slices_for(limit));
}

LAST static struct brim_heap *heap_open(const char *path, enum brim_heap_kind mode)
{
    if (!path || (mode != BRIM_HEAP_FILE && mode != BRIM_HEAP_SNAPSHOT)) {
        heap_fail(BRIM_HEAP_INVALID, EINVAL);
        return NULL;
    }
    return heap_begin(path, mode, NULL, 0);
}

/* Handles' lock. */
LAST static void heap_end(struct brim_heap *heap)
{
    if (load_relaxed(heap->identity) == heap_process_identity()) {
        heap_shards_retire(heap);
        thread_shard = (struct heap_shard *)&heap_shard_none;
    }
    store_release(heap->in_use, false);
    heap_let_go(heap);
    store_relaxed(heap->identity, 0);
}

LAST static void heap_close(struct brim_heap *heap)
{
    int saved_errno = errno;
    lock_acquire(&heap_handles_lock);
    heap_end(heap);
    lock_release(&heap_handles_lock);
    errno = saved_errno;
}

LAST static bool heap_destroy(struct brim_heap *heap)
{
    int file = -1;
    if (heap->kind == BRIM_HEAP_FILE) {
        if (!heap_attend(heap) || !heap_lock(heap))
            return false;
        bool alone = (!heap_has_dead(heap) || heap_recover(heap, false)) && heap_processes(heap) == 1;
        heap_unlock(heap);
        file = heap->file;
        if (!alone || os_file_lock(file, OS_LOCK_ENTRY, true, true) != 0 ||
            os_file_lock(file, OS_LOCK_WRITERS, true, false) != 0) {
            os_file_unlock(file, OS_LOCK_ENTRY);
            return heap_fail(BRIM_HEAP_BUSY, EBUSY);
        }
    }
    lock_acquire(&heap_handles_lock);
    heap->file = -1;
    heap_end(heap);
    if (file >= 0) {
        os_file_truncate(file, 0);
        os_file_close(file);
    }
    lock_release(&heap_handles_lock);
    return true;
}
