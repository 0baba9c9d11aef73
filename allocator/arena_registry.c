/* arena_registry.c: all arenas by id, the idle ones, and how a thread comes by an arena and leaves it; see arena.h. */
#include "arena.h"

/* Chunk k has 64 << k places, for the ids from (64 << k) - 64 on. */
enum { ARENA_FIRST_CHUNK = 64, ARENA_CHUNKS = 15 };
static_assert(((uint64_t)ARENA_FIRST_CHUNK << ARENA_CHUNKS) - ARENA_FIRST_CHUNK > REMOTE_ID_MAX, "room for every id");

static struct {
    struct lock lock;      /* RANK_ARENAS */
    struct arena *idle;    /* stack; the state word says whether one may be taken */
    _Atomic uint32_t count;
    uintptr_t spare, spare_end; /* memory for further arenas */
    _Atomic(_Atomic(struct arena *) *) chunks[ARENA_CHUNKS]; /* written once */
} arenas = {.lock = {.rank = RANK_ARENAS}};

/* Most programs have few threads: their arenas need no mapping of their own. */
static struct arena arena_first;
static _Atomic(struct arena *) arena_first_chunk[ARENA_FIRST_CHUNK];

static uint32_t arena_count(void) { return load_acquire(arenas.count); }

static unsigned chunk_of(uint32_t id) { return 31 - (unsigned)__builtin_clz(id / ARENA_FIRST_CHUNK + 1); }

/* The place of `id` in its chunk. */
static _Atomic(struct arena *) *arena_place(uint32_t id)
{
    unsigned chunk = chunk_of(id);
    return load_acquire(arenas.chunks[chunk]) + (id + ARENA_FIRST_CHUNK - ((uint32_t)ARENA_FIRST_CHUNK << chunk));
}

static struct arena *arena_by_id(uint32_t id) { return load_acquire(*arena_place(id)); }

/* Memory that is never given back. Arenas' lock. */
static void *metadata_allocate(size_t bytes)
{
    bytes = align_up(bytes, CACHE_LINE);
    if (arenas.spare_end - arenas.spare < bytes) {
        size_t chunk = align_up(max_size(bytes, 64 * KIB), os_page_size);
        size_t guard = hardened_has(HARDENED_GUARD) ? os_page_size : 0;
        uintptr_t address = os_map(chunk + 2 * guard);
        if (address == 0)
            return NULL;
        if (guard != 0) {
            os_guard(address, guard);
            os_guard(address + guard + chunk, guard);
        }
        address += guard;
        arenas.spare = address;
        arenas.spare_end = address + chunk;
    }
    void *p = (void *)arenas.spare;
    arenas.spare += bytes;
    return p;
}

COLD void *arena_metadata(size_t bytes)
{
    lock_acquire(&arenas.lock);
    void *p = metadata_allocate(bytes);
    lock_release(&arenas.lock);
    return p;
}

COLD struct arena *arena_create(void)
{
    uint32_t id = load_relaxed(arenas.count) + 1;
    if (id > REMOTE_ID_MAX)
        return NULL;
    unsigned number = chunk_of(id);
    if (!load_relaxed(arenas.chunks[number])) {
        _Atomic(struct arena *) *chunk = number == 0 ? arena_first_chunk
                                                     : metadata_allocate(sizeof *chunk * ARENA_FIRST_CHUNK << number);
        if (!chunk)
            return NULL;
        store_release(arenas.chunks[number], chunk);
    }
    struct arena *arena = id == 1 ? &arena_first : metadata_allocate(sizeof *arena);
    if (!arena)
        return NULL;
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        arena_set_open(arena, class, SLAB_NONE);
    arena->purge_next = CLASS_COUNT;
    arena->id = id;
    arena_in_hand = arena; /* as in arena_obtain */
    atomic_signal_fence(memory_order_seq_cst);
    store_relaxed(arena->state, ARENA_ACTIVE);
    store_release(*arena_place(id), arena);
    store_release(arenas.count, id);
    return arena;
}

COLD struct arena *arena_obtain(void)
{
    lock_acquire(&arenas.lock);
    struct arena *arena;
    while ((arena = arenas.idle)) {
        arenas.idle = arena->idle_next;
        arena->idle_listed = false;
        arena_in_hand = arena; /* first: fork in a signal handler must not call it dead */
        atomic_signal_fence(memory_order_seq_cst);
        uint32_t idle = ARENA_IDLE;
        if (atomic_compare_exchange_strong(&arena->state, &idle, ARENA_ACTIVE))
            break; /* else a sender is doing its work, and lists it again after */
    }
    if (!arena && !(arena = arena_create()))
        arena_in_hand = NULL;
    lock_release(&arenas.lock);
    return arena;
}

/* Lets go of one slab that is in no list. */
static void slab_leave(struct arena *arena, struct slice *slab)
{
    arena_note(arena, slab, 0);
    slab_merge_remote(slab);
    bool empty = slab_free_count(slab) == slab->formed && !(load_acquire(slab->remote) & REMOTE_PENDING);
    bool full = slab_free_count(slab) == 0 && load_relaxed(slab->unformed) == 0;
    if (empty)
        slab_end(arena, slab);
    else if (!(full ? slab_disown(slab, arena) : orphan_leave(slab, arena))) {
        slab_wait(arena, slab); /* a remote free is on its way: whoever sends it, or the next thread, finds it here */
        slab_reconsider(arena, slab, false);
    }
}

RARE void arena_abandon(struct arena *arena)
{
    medium_flush(&arena->medium);
    arena_drain(arena);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *lists[3] = {arena->open[class], arena->partial[class], arena->waiting[class]}, *next;
        arena_set_open(arena, class, SLAB_NONE);
        arena->partial[class] = arena->waiting[class] = NULL;
        arena->purge_slab = NULL;
        for (int i = 0; i < 3; i++)
            for (struct slice *slab = lists[i]; slab && slab != SLAB_NONE; slab = next) {
                next = i == 0 ? NULL : slab->next;
                if (slab->size_class != class) /* a lender's */
                    continue;
                arena_note(arena, slab, 0);
                slab_disown(slab, arena); /* if others' frees are there, it stays owned by an arena that forgot it */
            }
    }
    memset(arena->slabs, 0, sizeof arena->slabs);
}

static size_t arena_purge_orphans(struct arena *arena, size_t most)
{
    size_t given = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *slab;
        while (most != 0 && (slab = orphan_adopt(arena, class, true))) {
            most--;
            slab_merge_remote(slab);
            given += slab_purge(slab);
            slab->looked_free = (uint16_t)slab_free_count(slab); /* whatever came of it: it is not noted again */
            slab_leave(arena, slab);
        }
    }
    return given;
}

static void arena_retire(struct arena *arena)
{
    medium_flush(&arena->medium);
    do {
        arena_drain(arena);
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            struct slice *slab = arena->open[class];
            arena_set_open(arena, class, SLAB_NONE);
            if (slab != SLAB_NONE && slab->size_class == class)
                slab_leave(arena, slab);
            struct slice *lists[2] = {arena->partial[class], arena->waiting[class]}, *next;
            arena->partial[class] = arena->waiting[class] = NULL;
            arena->purge_slab = NULL;
            for (int i = 0; i < 2; i++)
                for (slab = lists[i]; slab; slab = next) {
                    next = slab->next;
                    slab_leave(arena, slab);
                }
        }
        memset(arena->slabs, 0, sizeof arena->slabs);
        idle_tell(arena);
        arena_purge(arena);
        lock_acquire(&arenas.lock);
        atomic_store(&arena->state, ARENA_IDLE);
        if (!arena->idle_listed) {
            arena->idle_listed = true;
            arena->idle_next = arenas.idle;
            arenas.idle = arena;
        }
        lock_release(&arenas.lock);
        /* A sender that saw the arena active has left its slab to us: look once more. */
        uint32_t idle = ARENA_IDLE;
        if (atomic_load(&arena->pending) == NULL ||
            !atomic_compare_exchange_strong(&arena->state, &idle, ARENA_ACTIVE))
            return;
    } while (true);
}

/* ---- runs ---- */

/* In a forked child: there are dead arenas that may keep runs. */
static _Atomic bool dead_keep_medium;

RARE void arenas_flush_medium(bool all)
{
    store_relaxed(dead_keep_medium, false);
    for (uint32_t id = arena_count(); id > 0; id--) {
        const struct arena *arena = arena_by_id(id);
        if (all || load_relaxed(arena->state) == ARENA_DEAD)
            medium_take_away(&arena->medium);
    }
}

SLOW struct slice *take_run_or_flush(struct arena *arena, const struct run_request *request, bool *zero)
{
    struct run_request there = *request;
    there.grow = false;
    struct slice *head = region_take(&there, zero);
    if (head)
        return head;
    if (arena)
        medium_flush(&arena->medium);
    if (load_relaxed(dead_keep_medium))
        arenas_flush_medium(false);
    return region_take(request, zero);
}

static struct slice *arena_take_run(struct arena *arena, const struct run_request *request, bool *zero)
{
    bool kept = (arena && arena->medium.count != 0) || load_relaxed(dead_keep_medium);
    return unlikely(kept) ? take_run_or_flush(arena, request, zero) : region_take(request, zero);
}

/* ---- fork ---- */

static void slabs_visit(void (*visit)(struct slice *, struct arena *), struct arena *arena)
{
    for (size_t i = 0; i < load_relaxed(region_count); i++) {
        struct region *region = &regions[i];
        size_t length;
        for (size_t at = 0; at < load_relaxed(region->count); at += length) {
            struct slice *slab = &region->map[at];
            length = max_size(run_length(slab), 1);
            if (run_kind(slab) == RUN_SLAB)
                visit(slab, arena);
        }
    }
}

/* A sender that does not exist here may have announced a slab of ours, and not handed it over. */
static void pending_find(struct slice *slab, struct arena *mine)
{
    uint64_t remote = load_relaxed(slab->remote);
    if (REMOTE_ID(remote) != mine->id || !(remote & REMOTE_PENDING))
        return;
    slab->pending_next = load_relaxed(mine->pending);
    store_relaxed(mine->pending, slab);
}

static void orphan_find(struct slice *slab, struct arena *unused)
{
    (void)unused;
    if (!load_relaxed(slab->orphan))
        return;
    store_relaxed(slab->orphan, 0);
    slab->noted_free = 0;
    if (load_relaxed(slab->remote) == 0)
        orphan_add(slab);
}

RARE void arena_after_fork(struct arena *mine)
{
    bool broken = lock_break_in_child(&arenas.lock);
    uint32_t count = load_relaxed(arenas.count);
    for (uint32_t id = 1; id <= count; id++) {
        struct arena *arena = arena_by_id(id);
        if (arena != mine && arena != arena_in_hand && load_relaxed(arena->state) == ARENA_ACTIVE) {
            store_relaxed(arena->state, ARENA_DEAD);
            arenas_have_died = true;
        }
    }
    store_relaxed(dead_keep_medium, arenas_have_died);
    /* What the dead ones had noted is nobody's to give. */
    store_relaxed(idle_total, (mine ? mine->idle_told : 0) + load_relaxed(orphans.idle));
    if (broken) {
        arenas.spare = arenas.spare_end = 0; /* perhaps half set */
        arenas.idle = NULL;
        for (uint32_t id = 1; id <= count; id++) {
            struct arena *arena = arena_by_id(id);
            arena->idle_listed = load_relaxed(arena->state) == ARENA_IDLE;
            if (arena->idle_listed) {
                arena->idle_next = arenas.idle;
                arenas.idle = arena;
            }
        }
    }
    if (mine && count > 1 && !arena_draining) {
        store_relaxed(mine->pending, NULL);
        slabs_visit(pending_find, mine);
    }
    if (!lock_break_in_child(&orphans.lock))
        return;
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        store_relaxed(orphans.first[class], NULL);
    store_relaxed(idle_total, load_relaxed(idle_total) - load_relaxed(orphans.idle));
    store_relaxed(orphans.idle, 0);
    slabs_visit(orphan_find, NULL);
}
