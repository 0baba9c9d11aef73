/* mapping.c: see mapping.h. */
#include "mapping.h"

#include "diag.h"

struct mapping {
    _Atomic uintptr_t pointer; /* what the user holds; 0: never used, 1: erased */
    uintptr_t base;            /* page aligned; below `pointer` if it is guarded */
    size_t length;             /* whole pages, guards among them */
    size_t request;            /* bytes that were asked for */
    uint8_t features;          /* see hardening.h */
};

struct mapping_table {
    size_t capacity; /* a power of two */
    size_t bytes;    /* of this mapping */
    struct mapping entries[];
};

enum { POINTER_NONE = 0, POINTER_ERASED = 1 };
enum { RETIRED_MAX = 32 };
#define RETIRED_LENGTH_MAX (4 * MIB) /* longer ones are unmapped at once: addresses can be limited, too */

static struct {
    struct lock lock;                      /* RANK_MAPPING: all below */
    _Atomic(struct mapping_table *) table; /* NULL before the first mapping */
    size_t used;                           /* entries that are not POINTER_NONE */
    size_t promised;                       /* entries that are kept for mappings which are being moved */
    struct mapping_totals totals;
    struct {
        uintptr_t base, pointer;
        size_t length; /* 0: none */
    } retired[RETIRED_MAX]; /* freed, of which the addresses are still taken */
} mappings = {.lock = {.rank = RANK_MAPPING}};

static struct mapping_policy mapping_policy = {
    .threshold = OPTION_DEFAULT(mmap_threshold),
    .threshold_max = OPTION_DEFAULT(mmap_threshold_max),
    .dynamic = OPTION_DEFAULT(mmap_threshold_dynamic),
    .count_max = OPTION_DEFAULT(mmap_max)};

static size_t mapping_hash(uintptr_t pointer) { return (pointer >> 12) * 0x9e3779b97f4a7c15 >> 20; }

/* The entry of `pointer`, or the first that is free for it. Lock held; the table is never full. */
static struct mapping *table_find(struct mapping_table *table, uintptr_t pointer)
{
    struct mapping *erased = NULL;
    for (size_t i = mapping_hash(pointer);; i++) {
        struct mapping *entry = &table->entries[i & (table->capacity - 1)];
        uintptr_t found = load_relaxed(entry->pointer);
        if (found == pointer)
            return entry;
        if (found == POINTER_ERASED && !erased)
            erased = entry;
        if (found == POINTER_NONE)
            return erased ? erased : entry;
    }
}

/* The entry that holds `pointer`, or NULL. Lock held. */
static struct mapping *mapping_find(uintptr_t pointer)
{
    struct mapping_table *table = load_relaxed(mappings.table);
    if (!table || pointer <= POINTER_ERASED)
        return NULL;
    struct mapping *entry = table_find(table, pointer);
    return load_relaxed(entry->pointer) == pointer ? entry : NULL;
}

static void table_put(struct mapping *entry, uintptr_t pointer, const struct mapping *what)
{
    entry->base = what->base;
    entry->length = what->length;
    entry->request = what->request;
    entry->features = what->features;
    store_release(entry->pointer, pointer);
}

/* Room for one more entry beside those promised: in the table, or in a new one for twice the live entries. Lock held. */
static bool table_make_room(void)
{
    struct mapping_table *old = load_relaxed(mappings.table);
    size_t need = mappings.used + mappings.promised + 1;
    if (old && need * 4 <= old->capacity * 3)
        return true;
    size_t capacity = 64;
    while (capacity < (mappings.totals.count + mappings.promised + 1) * 2)
        capacity *= 2;
    size_t bytes = align_up(sizeof *old + capacity * sizeof(struct mapping), os_page_size);
    uintptr_t address = os_map(bytes);
    if (address == 0)
        return old && need < old->capacity;
    struct mapping_table *table = (struct mapping_table *)address;
    table->capacity = capacity;
    table->bytes = bytes;
    for (size_t i = 0; old && i < old->capacity; i++) {
        uintptr_t pointer = load_relaxed(old->entries[i].pointer);
        if (pointer > POINTER_ERASED)
            table_put(table_find(table, pointer), pointer, &old->entries[i]);
    }
    store_release(mappings.table, table);
    mappings.used = mappings.totals.count;
    if (old)
        os_unmap((uintptr_t)old, old->bytes);
    return true;
}

static void totals_add(size_t length)
{
    struct mapping_totals *totals = &mappings.totals;
    totals->count++;
    totals->bytes += length;
    totals->count_peak = max_size(totals->count_peak, totals->count);
    totals->bytes_peak = max_size(totals->bytes_peak, totals->bytes);
    store_relaxed(live_beside, totals->bytes);
}

/* Notes a mapping, for which there is room. Lock held. */
static void table_insert(uintptr_t pointer, const struct mapping *what)
{
    struct mapping *entry = table_find(load_relaxed(mappings.table), pointer);
    mappings.used += load_relaxed(entry->pointer) == POINTER_NONE;
    table_put(entry, pointer, what);
    totals_add(what->length);
}

/* Removes an entry and returns what it said. Lock held. */
static struct mapping table_erase(struct mapping *entry)
{
    struct mapping erased = {.base = entry->base, .length = entry->length, .request = entry->request,
                             .features = entry->features};
    store_release(entry->pointer, POINTER_ERASED);
    mappings.totals.count--;
    mappings.totals.bytes -= erased.length;
    store_relaxed(live_beside, mappings.totals.bytes);
    return erased;
}

/* Notes a new mapping. False if the table cannot grow. */
static bool mapping_insert(uintptr_t pointer, const struct mapping *what)
{
    lock_acquire(&mappings.lock);
    bool room = table_make_room();
    if (room)
        table_insert(pointer, what);
    lock_release(&mappings.lock);
    return room;
}

/* Removes the entry of `pointer` and returns what it said; length 0 if there is none. */
static struct mapping mapping_erase(uintptr_t pointer)
{
    struct mapping erased = {.length = 0};
    lock_acquire(&mappings.lock);
    struct mapping *entry = mapping_find(pointer);
    if (entry)
        erased = table_erase(entry);
    lock_release(&mappings.lock);
    return erased;
}

/* ---- the parts of a hardened mapping ---- */

/* Bytes before the block, and as many behind it, that are guards. */
static size_t guard_of(const struct mapping *mapping, uintptr_t pointer) { return pointer - mapping->base; }

static size_t room_of(const struct mapping *mapping, uintptr_t pointer)
{
    return mapping->length - 2 * guard_of(mapping, pointer);
}

static bool has_canary(const struct mapping *mapping, uintptr_t pointer)
{
    return mapping->features & HARDENED_CANARY &&
           canary_place(mapping->request) + CANARY_SIZE <= room_of(mapping, pointer);
}

static void canary_write(const struct mapping *mapping, uintptr_t pointer)
{
    if (has_canary(mapping, pointer))
        canary_set((void *)pointer, canary_place(mapping->request));
}

/* Looks at the canary, and leaves zero in its place. */
static void canary_take(const struct mapping *mapping, uintptr_t pointer)
{
    if (!has_canary(mapping, pointer))
        return;
    canary_check((void *)pointer, canary_place(mapping->request));
    *(block_word *)(pointer + canary_place(mapping->request)) = 0;
}

/* Makes a freed mapping inaccessible, and unmaps one that was freed before in its place. False if it is not kept. */
RARE bool mapping_retire(const struct mapping *mapping, uintptr_t pointer)
{
    if (mapping->length > RETIRED_LENGTH_MAX || !os_guard(mapping->base, mapping->length))
        return false;
    size_t place = chance_below(RETIRED_MAX);
    lock_acquire(&mappings.lock);
    uintptr_t base = mappings.retired[place].base;
    size_t length = mappings.retired[place].length;
    mappings.retired[place].length = 0; /* a child forked half-way must not take parts of two for one */
    atomic_signal_fence(memory_order_seq_cst);
    mappings.retired[place].base = mapping->base;
    mappings.retired[place].pointer = pointer;
    atomic_signal_fence(memory_order_seq_cst);
    mappings.retired[place].length = mapping->length;
    lock_release(&mappings.lock);
    if (length != 0)
        os_unmap(base, length);
    return true;
}

RARE bool mapping_is_retired(const void *p)
{
    bool found = false;
    lock_acquire(&mappings.lock);
    for (size_t i = 0; !found && i < RETIRED_MAX; i++)
        found = mappings.retired[i].length != 0 && mappings.retired[i].pointer == (uintptr_t)p;
    lock_release(&mappings.lock);
    return found;
}

/* ---- a mapping's life ---- */

static void *mapping_allocate(size_t alignment, size_t size)
{
    /* A racy look at the count: two threads at the limit may both pass, as in glibc. */
    if (mapping_policy.count_max == 0)
        return NULL;
    lock_acquire(&mappings.lock);
    bool room = mappings.totals.count < mapping_policy.count_max;
    lock_release(&mappings.lock);
    size_t page = os_page_size;
    size_t slack = alignment > page ? alignment - page : 0;
    uint8_t features = load_relaxed(hardened_features);
    size_t guard = features & HARDENED_GUARD ? page : 0;
    if (!room || size > REQUEST_MAX - slack - 3 * page)
        return NULL;
    size_t length = align_up(max_size(size, 1), page) + 2 * guard;
    uintptr_t mapped = os_map(length + slack);
    if (mapped == 0)
        return NULL;
    uintptr_t pointer = align_up(mapped + guard, max_size(alignment, page)), base = pointer - guard;
    if (slack != 0) { /* keep the aligned part alone */
        if (base != mapped)
            os_unmap(mapped, base - mapped);
        if (base - mapped != slack)
            os_unmap(base + length, slack - (base - mapped));
    }
    struct mapping mapping = {.base = base, .length = length, .request = size, .features = features};
    if (unlikely(features != 0)) {
        canary_write(&mapping, pointer);
        if (guard != 0) { /* if that fails, they are nobody's all the same */
            os_guard(base, guard);
            os_guard(base + length - guard, guard);
        }
    }
    if (mapping_insert(pointer, &mapping))
        return (void *)pointer;
    os_unmap(base, length);
    return NULL;
}

static bool mapping_release(void *p, size_t *trim_threshold)
{
    *trim_threshold = 0;
    struct mapping mapping = mapping_erase((uintptr_t)p);
    if (mapping.length == 0)
        return false;
    /* What glibc's mapping for the same request would be: its header can cost one page more. */
    size_t learned = align_up(padded_size(mapping.request) + 8, os_page_size);
    if (load_relaxed(mapping_policy.dynamic) && learned > load_relaxed(mapping_policy.threshold) &&
        learned < mapping_policy.threshold_max) {
        store_relaxed(mapping_policy.threshold, learned);
        *trim_threshold = 2 * learned;
    }
    if (unlikely(mapping.features != 0)) {
        canary_take(&mapping, (uintptr_t)p);
        if (mapping.features & HARDENED_QUARANTINE && mapping_retire(&mapping, (uintptr_t)p))
            return true;
    }
    if (!os_unmap(mapping.base, mapping.length))
        /* Too many mappings to split one: it stays, empty and unnoted, rather than be handed out again. */
        os_discard(mapping.base, mapping.length);
    return true;
}

/* mremap for a mapping whose last page may be a guard. 0 on failure; it is then as it was. */
static uintptr_t mapping_move(const struct mapping *mapping, size_t length, size_t guard)
{
    if (guard == 0)
        return os_remap(mapping->base, mapping->length, length);
    uintptr_t end = mapping->base + mapping->length;
    if (!os_unguard(end - guard, guard))
        return 0;
    uintptr_t moved = os_remap(mapping->base, mapping->length, length);
    if (moved != 0)
        os_guard(moved + length - guard, guard);
    else
        os_guard(end - guard, guard);
    return moved;
}

static void *mapping_resize(void *p, size_t size)
{
    if (size > REQUEST_MAX - 3 * os_page_size)
        return NULL;
    size_t length = align_up(max_size(size, 1), os_page_size), guard = 0;
    struct mapping mapping = {.length = 0};
    lock_acquire(&mappings.lock);
    struct mapping *entry = mapping_find((uintptr_t)p);
    bool found = entry != NULL, stays = false;
    if (found) {
        guard = guard_of(entry, (uintptr_t)p);
        length += 2 * guard;
        stays = entry->length == length;
    }
    if (stays) {
        canary_take(entry, (uintptr_t)p);
        entry->request = size;
        canary_write(entry, (uintptr_t)p);
    } else if (found && table_make_room()) {
        /* Not noted while it moves, as another may be noted at its old address then; a place for it is kept. */
        mapping = table_erase(mapping_find((uintptr_t)p)); /* found anew: the table may be */
        mappings.promised++;
    }
    lock_release(&mappings.lock);
    if (!found)
        diag_fatal("invalid pointer passed to realloc", p);
    if (stays || mapping.length == 0)
        return stays ? p : NULL;

    canary_take(&mapping, (uintptr_t)p);
    uintptr_t moved = mapping_move(&mapping, length, guard), pointer = (uintptr_t)p;
    bool fits = length <= mapping.length;
    if (moved != 0) {
        mapping.base = moved;
        mapping.length = length;
        mapping.request = size;
        pointer = moved + guard;
    }
    canary_write(&mapping, pointer);
    lock_acquire(&mappings.lock);
    mappings.promised--;
    table_insert(pointer, &mapping);
    lock_release(&mappings.lock);
    return moved != 0 ? (void *)pointer : fits ? p : NULL;
}

static size_t mapping_usable_size(const void *p)
{
    lock_acquire(&mappings.lock);
    const struct mapping *entry = mapping_find((uintptr_t)p);
    size_t size = 0;
    if (entry)
        size = has_canary(entry, (uintptr_t)p) ? canary_place(entry->request) : room_of(entry, (uintptr_t)p);
    lock_release(&mappings.lock);
    return size;
}

static bool mapping_contains(const void *p)
{
    bool found = false;
    lock_acquire(&mappings.lock);
    const struct mapping_table *table = load_relaxed(mappings.table);
    for (size_t i = 0; table && !found && i < table->capacity; i++)
        found = load_relaxed(table->entries[i].pointer) > POINTER_ERASED &&
                (uintptr_t)p - table->entries[i].base < table->entries[i].length;
    lock_release(&mappings.lock);
    return found;
}

static struct mapping_totals mapping_totals(void)
{
    lock_acquire(&mappings.lock);
    struct mapping_totals totals = mappings.totals;
    const struct mapping_table *table = load_relaxed(mappings.table);
    totals.table_bytes = table ? table->bytes : 0;
    lock_release(&mappings.lock);
    return totals;
}

/* Counts anew what the table holds. */
static void table_count(size_t *used, size_t *count, size_t *bytes)
{
    const struct mapping_table *table = load_relaxed(mappings.table);
    *used = *count = *bytes = 0;
    for (size_t i = 0; table && i < table->capacity; i++) {
        uintptr_t pointer = load_relaxed(table->entries[i].pointer);
        *used += pointer != POINTER_NONE;
        *count += pointer > POINTER_ERASED;
        *bytes += pointer > POINTER_ERASED ? table->entries[i].length : 0;
    }
}

RARE void mapping_after_fork(void)
{
    if (lock_break_in_child(&mappings.lock)) {
        table_count(&mappings.used, &mappings.totals.count, &mappings.totals.bytes);
        store_relaxed(live_beside, mappings.totals.bytes);
    }
}

VALIDITY bool mapping_valid(void)
{
    size_t used, count, bytes;
    lock_acquire(&mappings.lock);
    table_count(&used, &count, &bytes);
    bool valid = used == mappings.used && count == mappings.totals.count && bytes == mappings.totals.bytes;
    lock_release(&mappings.lock);
    return valid;
}
