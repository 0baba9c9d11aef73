/* held.h: blocks whose contents are known, held by operations that may fail. An operation may fail only if one of its
   own system calls did; it must then say ENOMEM, and leave everything as it was. Include after faults.h. */
#ifndef TESTS_FAULTS_HELD_H
#define TESTS_FAULTS_HELD_H

struct held {
    unsigned char *start; /* NULL: nothing is held */
    size_t size;
    unsigned char stamp;
};

/* A small block is known to the last byte; a larger one at its end, and at every page as far as it may be a slab's,
   where single pages go back; beyond that at some, so that a large heap takes little time. */
enum { KNOWN_WHOLE = 4096, SAMPLE = 16 };

static size_t sample_step(size_t at) { return at < CLASS_MAX ? 4096 : 4 * 4096; }

static bool bytes_are(const unsigned char *at, size_t size, unsigned char stamp)
{
    return size == 0 || (at[0] == stamp && memcmp(at, at + 1, size - 1) == 0);
}

/* Are the first `length` bytes, as far as they are known of a block of `size`, the stamp? */
static bool known_is(const unsigned char *start, size_t size, size_t length, unsigned char stamp)
{
    if (size <= KNOWN_WHOLE)
        return bytes_are(start, length, stamp);
    for (size_t at = 0; at + SAMPLE <= length; at += sample_step(at))
        if (!bytes_are(start + at, SAMPLE, stamp))
            return false;
    return length < size || bytes_are(start + size - SAMPLE, SAMPLE, stamp);
}

static void held_fill(struct held *held, unsigned char stamp)
{
    held->stamp = stamp;
    if (held->size <= KNOWN_WHOLE) {
        memset(held->start, stamp, held->size);
        return;
    }
    for (size_t at = 0; at + SAMPLE <= held->size; at += sample_step(at))
        memset(held->start + at, stamp, SAMPLE);
    memset(held->start + held->size - SAMPLE, stamp, SAMPLE);
}

static void held_verify(const struct held *held)
{
    check(!held->start || known_is(held->start, held->size, held->size, held->stamp));
}

enum entry { ENTRY_MALLOC, ENTRY_CALLOC, ENTRY_ALIGNED };

/* False if there was no memory, for a reason. */
static bool held_allocate(struct held *held, enum entry entry, size_t alignment, size_t size, unsigned char stamp)
{
    size_t faults_before = thread_faults;
    errno = EXDEV;
    *held = (struct held){.size = size};
    held->start = entry == ENTRY_CALLOC    ? alloc_allocate_zeroed(size)
                  : entry == ENTRY_ALIGNED ? alloc_aligned(alignment, size)
                                           : alloc_allocate(size);
    if (!held->start) {
        check(errno == ENOMEM && thread_faults != faults_before);
        return false;
    }
    if (entry != ENTRY_ALIGNED || alignment < BLOCK_ALIGNMENT)
        alignment = BLOCK_ALIGNMENT;
    check((uintptr_t)held->start % alignment == 0 && alloc_usable_size(held->start) >= size);
    check(entry != ENTRY_CALLOC || known_is(held->start, size, size, 0));
    held_fill(held, stamp);
    return true;
}

static bool held_resize(struct held *held, size_t size)
{
    size_t faults_before = thread_faults;
    errno = EXDEV;
    unsigned char *moved = alloc_resize(held->start, size);
    if (!moved) {
        check(errno == ENOMEM && thread_faults != faults_before && size > held->size);
        held_verify(held);
        return false;
    }
    check(known_is(moved, held->size, min_size(held->size, size), held->stamp));
    held->start = moved;
    held->size = size;
    check(alloc_usable_size(moved) >= size);
    held_fill(held, held->stamp);
    return true;
}

static void held_release(struct held *held)
{
    if (!held->start)
        return;
    held_verify(held);
    errno = EXDEV;
    alloc_release(held->start);
    check(errno == EXDEV);
    held->start = NULL;
}

/* ---- the heap as a whole ---- */

/* All that can be checked while no other thread is in the middle of anything. */
static void all_check(void)
{
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
    check(mapping_valid());
    for (uint32_t id = 1; id <= arena_count(); id++)
        check(load_relaxed(arena_by_id(id)->state) == ARENA_DEAD || arena_valid(arena_by_id(id)));
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        for (size_t at = 0, length; at < load_relaxed(regions[i].count); at += length) {
            struct slice *head = &regions[i].map[at];
            length = run_length(head);
            check(run_kind(head) != RUN_SLAB || slab_valid(head));
        }
}

/* Nothing is live and no thread but this one has an arena: then every slice is free or somebody else's, and what is
   mapped is what the heap's own tables need and what unmapping has refused to take. */
static void expect_nothing_left(void)
{
    thread_trim();
    struct arena *arena = thread_home;
    thread_supply = thread_arena = (struct arena *)&arena_none;
    thread_home = NULL;
    if (arena)
        arena_retire(arena);
    all_check();
    size_t known = 0;
    for (size_t i = 0; i < load_relaxed(region_count); i++) {
        const struct region *region = &regions[i];
        for (size_t at = 0, length; at < load_relaxed(region->count); at += length) {
            const struct slice *head = &region->map[at];
            length = run_length(head);
            check(run_kind(head) == RUN_FREE || run_kind(head) == RUN_FOREIGN);
        }
        known += map_reservation(region->capacity);
        known += region->is_break ? 0 : (region->capacity << SLICE_SHIFT) + SLICE_SIZE;
    }
    const struct mapping_table *table = load_relaxed(mappings.table);
    known += table ? table->bytes : 0;
    known += arenas.spare_end != 0 ? 64 * KIB : 0; /* the arenas of these tests fit the first piece */
    check(mapping_totals().count == 0 && mapped_bytes - lost_bytes == known);
}

/* Memory of every kind can be had. */
static void expect_all_works(void)
{
    static const size_t sizes[] = {1, 100, 1000, 5000, 20000, 32768, 40000, 120000, 200000, 3 << 20};
    struct held some[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        check(held_allocate(&some[i], i % 2 ? ENTRY_CALLOC : ENTRY_MALLOC, 1, sizes[i], 77));
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        check(held_resize(&some[i], sizes[i] * 2 + 7));
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        held_release(&some[i]);
}

#endif
