/* heap_map.c: see heap_map.h. */
#include "heap_map.h"

RARE bool heap_fail(enum brim_heap_error error, int number)
{
    heap_error_last = error;
    errno = number;
    return false;
}

RARE bool heap_fail_system(int failed)
{
    switch (-failed) {
    case ENOMEM: return heap_fail(BRIM_HEAP_NO_MEMORY, ENOMEM);
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return heap_fail(BRIM_HEAP_NO_SPACE, ENOSPC);
    default: return heap_fail(BRIM_HEAP_SYSTEM, -failed);
    }
}

RARE bool heap_fail_damaged(struct brim_heap *heap)
{
    store_relaxed(heap->damaged, true);
    return heap_fail(BRIM_HEAP_DAMAGED, EUCLEAN);
}

LAST static uint64_t heap_build(void)
{
    uint64_t hash = 0xcbf29ce484222325;
    const uint64_t facts[] = {sizeof(struct heap_header),
                              sizeof(struct heap_slice),
                              offsetof(struct heap_header, processes),
                              offsetof(struct heap_slice, remote),
                              offsetof(struct heap_slice, run),
                              LINK_PLACE_BITS,
                              HEAP_TABLE_AT,
                              HEAP_TABLE_FIRST,
                              CLASS_COUNT};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        hash = (hash ^ facts[i]) * 0x100000001b3;
    for (size_t i = 0; i < CLASS_COUNT; i++)
        hash = (hash ^ (size_classes[i].block_size | (uint64_t)size_classes[i].slices << 32)) * 0x100000001b3;
    return hash;
}

LAST static void heap_format(struct heap_header *header, size_t limit, uint64_t key)
{
    header->version = HEAP_VERSION;
    header->byte_order = HEAP_BYTE_ORDER;
    header->page_size = (uint32_t)os_page_size;
    header->slice_size = SLICE_SIZE;
    header->build = heap_build();
    header->key = key;
    header->limit = limit;
    header->first_free = 1;
    struct heap_slice *table = (struct heap_slice *)((char *)header + HEAP_TABLE_AT);
    store_relaxed(table[0].run, HEAP_RUN(HEAP_TABLE, 1));
    *(uint64_t *)(table + heap_tables_reach(HEAP_TABLE_FIRST + 1)) = 1; /* the bitmap: slice 0 is used */
    store_release(header->count, 1);
}

LAST static enum brim_heap_error heap_judge(const struct heap_header *header, size_t size)
{
    if (memcmp(header->magic, HEAP_MAGIC, sizeof header->magic) != 0)
        return BRIM_HEAP_FOREIGN;
    if (header->byte_order == __builtin_bswap32(HEAP_BYTE_ORDER))
        return BRIM_HEAP_BYTE_ORDER;
    if (header->byte_order != HEAP_BYTE_ORDER)
        return BRIM_HEAP_DAMAGED;
    if (header->version != HEAP_VERSION)
        return BRIM_HEAP_VERSION;
    if (header->page_size != os_page_size)
        return BRIM_HEAP_PAGE_SIZE;
    if (header->slice_size != SLICE_SIZE || header->build != heap_build())
        return BRIM_HEAP_VERSION;
    uint64_t count = load_relaxed(header->count);
    if (header->limit > HEAP_SLICES_MAX || count == 0 || count > header->limit)
        return BRIM_HEAP_DAMAGED;
    return count > size >> SLICE_SHIFT ? BRIM_HEAP_TRUNCATED : BRIM_HEAP_OK;
}

LAST static size_t heap_run_span(const struct brim_heap *heap, size_t index, size_t count)
{
    const struct heap_slice *head = heap_slice(heap, index);
    switch (heap_run_kind(head)) {
    case HEAP_FREE: return 1;
    case HEAP_DETACHED:
    case HEAP_SLAB:
    case HEAP_MEDIUM:
    case HEAP_TABLE: {
        size_t length = heap_run_length(head);
        return length <= count - index ? length : 0;
    }
    default: return 0;
    }
}

/* Is that the place and the length of a table? */
LAST static bool heap_run_is_table(const struct brim_heap *heap, size_t index, size_t length)
{
    for (unsigned table = HEAP_TABLE_FIRST + 1; table < HEAP_TABLES; table++)
        if (load_relaxed(heap->header->table[table]) == index)
            return length == heap_table_slices(table);
    return index == 0 && length == 1;
}

LAST static size_t heap_run_sound(const struct brim_heap *heap, size_t index, size_t count)
{
    size_t span = heap_run_span(heap, index, count);
    enum heap_run_kind kind = heap_run_kind(heap_slice(heap, index));
    for (size_t i = index; i < index + span; i++) {
        const struct heap_slice *slice = heap_slice(heap, i);
        if ((i != index && heap_run_kind(slice) != HEAP_INSIDE) || slice->back != (kind == HEAP_SLAB ? i - index : 0))
            return 0;
    }
    bool table = kind == HEAP_TABLE;
    return table == (index == 0 || heap_run_is_table(heap, index, span)) ? span : 0;
}

/* ---- following and growing ---- */

/* Where table number `table` is, for a heap of `count` slices; 0 if it would not fit there. */
LAST static uintptr_t heap_table_find(const struct brim_heap *heap, unsigned table, size_t slice, size_t count)
{
    if (table == HEAP_TABLE_FIRST)
        return heap->base + HEAP_TABLE_AT;
    bool fits = slice != 0 && slice < count && heap_table_slices(table) <= count - slice;
    return fits ? heap_address(heap, slice) : 0;
}

LAST static void heap_table_open(struct brim_heap *heap, unsigned table, uintptr_t address)
{
    size_t first = table == HEAP_TABLE_FIRST ? 0 : heap_tables_reach(table);
    size_t described = heap_tables_reach(table + 1) - first;
    store_relaxed(heap->bits[table], address + described * sizeof(struct heap_slice) - first / 8);
    store_relaxed(heap->table[table], address - first * sizeof(struct heap_slice));
}

LAST static bool heap_file_is_ours(const struct brim_heap *heap, struct os_file_facts *facts)
{
    return os_file_facts(heap->file, facts) == 0 && facts->device == heap->device && facts->inode == heap->inode;
}

LAST static bool heap_follow(struct brim_heap *heap)
{
    size_t known = load_acquire(heap->count), count = load_acquire(heap->header->count);
    struct os_file_facts facts;
    if (count > heap->limit)
        count = heap->limit; /* others reserved more address space than we could */
    if (count <= known)
        return true;
    if (heap->kind == BRIM_HEAP_FILE && heap_file_is_ours(heap, &facts) && facts.size >> SLICE_SHIFT < count)
        return heap_fail_damaged(heap);
    unsigned last = (unsigned)heap_table_of(count - 1);
    for (unsigned table = HEAP_TABLE_FIRST; table <= last; table++) {
        uintptr_t address = heap_table_find(heap, table, load_relaxed(heap->header->table[table]), count);
        if (!address)
            return heap_fail_damaged(heap);
        if (known == 0 || heap_tables_reach(table) >= known)
            heap_table_open(heap, table, address); /* several threads may: they write the same */
        size_t slice = load_relaxed(heap->header->table[table]);
        if (table != HEAP_TABLE_FIRST &&
            load_acquire(heap_slice(heap, slice)->run) != HEAP_RUN(HEAP_TABLE, heap_table_slices(table)))
            return heap_fail_damaged(heap);
    }
    while (known < count && !atomic_compare_exchange_weak_explicit(&heap->count, &known, count, memory_order_release,
                                                                   memory_order_acquire))
        ;
    return true;
}

LAST static bool heap_reaches(struct brim_heap *heap, size_t index)
{
    if (likely(index < load_acquire(heap->count)))
        return true;
    int saved_errno = errno;
    bool reaches = heap_follow(heap) && index < load_acquire(heap->count);
    errno = saved_errno;
    return reaches;
}

LAST static bool heap_provide(struct brim_heap *heap, size_t from, size_t end)
{
    uintptr_t address = heap_address(heap, from);
    size_t size = (end - from) << SLICE_SHIFT;
    int failed = 0;
    struct os_file_facts facts;
    switch (heap->kind) {
    case BRIM_HEAP_FAMILY: return true;
    case BRIM_HEAP_FILE:
        if (!heap_file_is_ours(heap, &facts))
            failed = -EBADF;
        else
            failed = os_file_reserve(heap->file, from << SLICE_SHIFT, size);
        break;
    case BRIM_HEAP_LOCKED:
        failed = os_lock_memory(address, size);
        if (failed)
            return heap_fail(BRIM_HEAP_LOCK_LIMIT, failed == -EPERM ? EPERM : ENOMEM);
        break;
    case BRIM_HEAP_SNAPSHOT:
        if (end <= heap->file_slices)
            return true;
        from = max_size(from, heap->file_slices);
        address = heap_address(heap, from);
        size = (end - from) << SLICE_SHIFT; /* fall through */
    default: failed = os_commit(address, size) ? 0 : -ENOMEM;
    }
    return failed ? heap_fail_system(failed) : true;
}

/* A growth that died before it was published has left its tables behind the end, where all must be zero. */
LAST static void heap_forget_tables(struct brim_heap *heap, size_t count)
{
    struct heap_header *header = heap->header;
    for (unsigned table = HEAP_TABLE_FIRST + 1; table < HEAP_TABLES; table++) {
        size_t slice = load_relaxed(header->table[table]), slices = heap_table_slices(table);
        if (slice < count)
            continue;
        if (slice < heap->limit && slices <= heap->limit - slice && heap_provide(heap, slice, slice + slices))
            memset((void *)heap_address(heap, slice), 0, slices << SLICE_SHIFT);
        store_relaxed(header->table[table], 0);
    }
}

/* Adds at least `slices` that follow each other. */
LAST static bool heap_grow(struct brim_heap *heap, size_t slices)
{
    struct heap_header *header = heap->header;
    size_t count = load_relaxed(heap->count);
    heap_forget_tables(heap, count);
    unsigned had = (unsigned)heap_table_of(count - 1) + 1, tables = had;
    size_t own = 0; /* slices for tables */
    while (tables <= HEAP_TABLES && count + own + slices > heap_tables_reach(tables)) {
        if (tables < HEAP_TABLES)
            own += heap_table_slices(tables);
        tables++;
    }
    size_t room = min_size(heap->limit, header->limit) - count;
    if (tables > HEAP_TABLES || slices > room || own > room - slices)
        return heap_fail(BRIM_HEAP_LIMIT, ENOMEM);
    enum { LEAST = 16, SHARE = 8, MOST = 1024 };
    size_t wanted = heap->kind == BRIM_HEAP_LOCKED ? 0 : min_size(max_size(LEAST, count / SHARE), MOST);
    wanted = min_size(max_size(wanted, own + slices), min_size(room, heap_tables_reach(tables) - count));
    if (!heap_provide(heap, count, count + wanted)) {
        wanted = own + slices;
        if (!heap_provide(heap, count, count + wanted))
            return false;
    }
    size_t at = count;
    for (unsigned table = had; table < tables; table++, at += heap_table_slices(table - 1)) {
        store_relaxed(header->table[table], (uint32_t)at);
        heap_then();
        heap_table_open(heap, table, heap_address(heap, at));
    }
    for (size_t i = count; i < count + wanted; i++)
        store_relaxed(heap_slice(heap, i)->run, HEAP_RUN(HEAP_FREE, 0));
    heap_mark(heap, count, wanted, false);
    at = count;
    for (unsigned table = had; table < tables; table++) {
        size_t length = heap_table_slices(table);
        for (size_t i = 1; i < length; i++)
            store_relaxed(heap_slice(heap, at + i)->run, HEAP_RUN(HEAP_INSIDE, 0));
        store_relaxed(heap_slice(heap, at)->run, HEAP_RUN(HEAP_TABLE, length));
        heap_mark(heap, at, length, true);
        at += length;
    }
    store_release(header->count, count + wanted);
    store_release(heap->count, count + wanted);
    return true;
}

/* ---- the lock ---- */

LAST static bool heap_identity_is_dead(const struct brim_heap *heap, uint64_t identity)
{
    if (identity == load_relaxed(heap->identity))
        return false;
    return identity == 0 || heap_is_copy(heap) || os_process_is_dead(identity);
}

LAST static bool heap_slot_is_dead(const struct brim_heap *heap, uint32_t slot)
{
    return slot >= HEAP_PROCESSES || heap_identity_is_dead(heap, load_acquire(heap->header->processes[slot]));
}

/* Is the process gone that the lock's word names? Who has its slot now is another, unless the name is the same. */
LAST static bool heap_holder_is_dead(const struct brim_heap *heap, uint32_t word)
{
    uint32_t slot = HEAP_LOCK_SLOT(word);
    if (slot >= HEAP_PROCESSES)
        return true;
    uint64_t identity = load_acquire(heap->header->processes[slot]);
    return HEAP_LOCK_NAME(slot, identity) != (word & ~HEAP_LOCK_WAITERS) || heap_identity_is_dead(heap, identity);
}

LAST static enum heap_lock_state heap_lock_word(struct brim_heap *heap)
{
    _Atomic uint32_t *word = &heap->header->lock;
    uint32_t mine = HEAP_LOCK_NAME(heap->slot, load_relaxed(heap->identity));
    for (int spin = 0; spin < 100; spin++) {
        uint32_t nobody = 0;
        if (load_relaxed(*word) == 0 &&
            atomic_compare_exchange_strong_explicit(word, &nobody, mine, memory_order_acquire, memory_order_relaxed))
            return HEAP_LOCK_TAKEN;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    /* Who has slept does not know whether others do. */
    mine |= HEAP_LOCK_WAITERS;
    for (;;) {
        uint32_t now = load_relaxed(*word);
        if (now == 0) {
            if (atomic_compare_exchange_weak_explicit(word, &now, mine, memory_order_acquire, memory_order_relaxed))
                return HEAP_LOCK_TAKEN;
            continue;
        }
        uint32_t sleeping = now | HEAP_LOCK_WAITERS;
        if (now != sleeping &&
            !atomic_compare_exchange_weak_explicit(word, &now, sleeping, memory_order_relaxed, memory_order_relaxed))
            continue;
        os_wait_shared(word, sleeping);
        if (load_relaxed(*word) == sleeping && heap_holder_is_dead(heap, sleeping) &&
            atomic_compare_exchange_strong_explicit(word, &sleeping, mine, memory_order_acquire, memory_order_relaxed))
            return HEAP_LOCK_INHERITED;
    }
}

LAST static void heap_unlock(struct brim_heap *heap)
{
    _Atomic uint32_t *word = &heap->header->lock;
    if (atomic_exchange_explicit(word, 0, memory_order_release) & HEAP_LOCK_WAITERS)
        os_wake_shared(word);
}

/* ---- runs ---- */

LAST static void heap_mark(struct brim_heap *heap, size_t index, size_t slices, bool used)
{
    for (size_t end = index + slices; index < end;) {
        size_t bit = index % 64, bits = min_size(64 - bit, end - index);
        uint64_t mask = (~0ull >> (64 - bits)) << bit, *word = heap_word(heap, index);
        *word = used ? *word | mask : *word & ~mask;
        index += bits;
    }
}

/* The first slice from `index` on that is used or not, as asked; `end` if there is none before. */
LAST static size_t heap_scan(const struct brim_heap *heap, size_t index, size_t end, bool used)
{
    while (index < end) {
        uint64_t word = *heap_word(heap, index) >> index % 64;
        if (!used)
            word = ~word & (~0ull >> index % 64);
        if (word != 0)
            return min_size(index + (size_t)__builtin_ctzll(word), end);
        index = (index | 63) + 1;
    }
    return end;
}

LAST static size_t heap_run_find(struct brim_heap *heap, size_t slices, size_t alignment)
{
    struct heap_header *header = heap->header;
    size_t count = load_relaxed(heap->count);
    size_t first = heap_scan(heap, max_size(header->first_free, 1), count, false);
    header->first_free = (uint32_t)first;
    for (size_t index = first;;) {
        index = align_up(heap_scan(heap, index, count, false), alignment);
        if (index >= count || slices > count - index)
            return 0;
        size_t end = heap_scan(heap, index, index + slices, true);
        if (end == index + slices)
            return index;
        index = end + 1;
    }
}

LAST static size_t heap_run_take(struct brim_heap *heap, size_t slices, size_t alignment, bool *zero)
{
    size_t index = heap_run_find(heap, slices, alignment);
    if (index == 0) {
        if (!heap_grow(heap, slices + alignment - 1))
            return 0;
        index = heap_run_find(heap, slices, alignment);
    }
    *zero = true;
    for (size_t i = index; i < index + slices; i++) {
        const struct heap_slice *slice = heap_slice(heap, i);
        if (unlikely(index == 0 || heap_run_kind(slice) != HEAP_FREE)) {
            heap_fail_damaged(heap);
            return 0;
        }
        *zero &= !slice->dirty;
    }
    struct heap_slice *head = heap_slice(heap, index);
    store_release(head->run, HEAP_RUN(HEAP_DETACHED, slices));
    heap_then();
    head->dirty = true;
    head->back = 0;
    for (size_t i = index + 1; i < index + slices; i++) {
        struct heap_slice *slice = heap_slice(heap, i);
        slice->dirty = true;
        slice->back = 0;
        store_relaxed(slice->run, HEAP_RUN(HEAP_INSIDE, 0));
    }
    heap_mark(heap, index, slices, true);
    return index;
}

/* Gives the pages of a large run back to the kernel. True if they are zero now. Not those of a file, whose place on the
   disk must stay, nor of a snapshot, which would become the file's again. */
LAST static bool heap_run_discard(struct brim_heap *heap, size_t index, size_t slices)
{
    enum { LEAST = 16 };
    if (slices < LEAST)
        return false;
    uintptr_t address = heap_address(heap, index);
    switch (heap->kind) {
    case BRIM_HEAP_PRIVATE: return os_discard(address, slices << SLICE_SHIFT);
    case BRIM_HEAP_FAMILY: return os_discard_family(address, slices << SLICE_SHIFT);
    default: return false;
    }
}

LAST static void heap_run_release(struct brim_heap *heap, size_t index)
{
    struct heap_slice *head = heap_slice(heap, index);
    size_t slices = heap_run_length(head);
    store_release(head->run, HEAP_RUN(HEAP_DETACHED, slices));
    heap_then();
    if (heap_run_discard(heap, index, slices))
        for (size_t i = index; i < index + slices; i++)
            heap_slice(heap, i)->dirty = false;
    for (size_t i = index + 1; i < index + slices; i++)
        store_relaxed(heap_slice(heap, i)->run, HEAP_RUN(HEAP_FREE, 0));
    heap_mark(heap, index, slices, false);
    if (index < heap->header->first_free)
        heap->header->first_free = (uint32_t)index;
    store_release(head->run, HEAP_RUN(HEAP_FREE, 0));
}

LAST static bool heap_run_resize(struct brim_heap *heap, size_t index, size_t slices)
{
    struct heap_slice *head = heap_slice(heap, index);
    size_t had = heap_run_length(head);
    if (slices < had) {
        /* The tail is a run before the head lets go of it. */
        store_release(heap_slice(heap, index + slices)->run, HEAP_RUN(HEAP_DETACHED, had - slices));
        heap_then();
        store_release(head->run, HEAP_RUN(HEAP_MEDIUM, slices));
        heap_then();
        heap_run_release(heap, index + slices);
        return true;
    }
    size_t end = index + slices, count = load_relaxed(heap->count);
    if (slices > count - index || heap_scan(heap, index + had, end, true) != end)
        return false;
    for (size_t i = index + had; i < end; i++) {
        struct heap_slice *slice = heap_slice(heap, i);
        if (heap_run_kind(slice) != HEAP_FREE)
            return heap_fail_damaged(heap);
        slice->dirty = true;
        slice->back = 0;
    }
    store_release(head->run, HEAP_RUN(HEAP_MEDIUM, slices));
    heap_then();
    for (size_t i = index + had; i < end; i++)
        store_relaxed(heap_slice(heap, i)->run, HEAP_RUN(HEAP_INSIDE, 0));
    heap_mark(heap, index + had, slices - had, true);
    return true;
}
