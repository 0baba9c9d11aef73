/* arena.c: see arena.h. */
#include "arena.h"

static const struct slice slab_none = {.head = LINK_EMPTY, .wake = WAKE_NEVER};
static const struct arena arena_none = {.open_by_step = {[0 ... STEPS_MAX / 16] = SLAB_NONE},
                                        .open = {[0 ... CLASS_COUNT - 1] = SLAB_NONE}};

static void arena_set_open(struct arena *arena, unsigned class, struct slice *slab)
{
    size_t size = size_classes[class].block_size, below = class == 0 ? 0 : size_classes[class - 1].block_size;
    arena->open[class] = slab;
    if (size <= STEPS_MAX)
        for (size_t step = class == 0 ? 0 : below / 16 + 1; step <= size / 16; step++)
            arena->open_by_step[step] = slab;
}

/* ---- lists of slabs: the first one's `previous` is the last; the last one's `next` is NULL ---- */

static void list_remove(struct slice **list, struct slice *slab)
{
    if (slab->next)
        slab->next->previous = slab->previous;
    else
        (*list)->previous = slab->previous;
    if (*list == slab)
        *list = slab->next;
    else
        slab->previous->next = slab->next;
}

static void list_add(struct slice **list, struct slice *slab, bool last)
{
    struct slice *first = *list;
    slab->previous = first ? first->previous : slab;
    slab->next = last ? NULL : first;
    if (first && last)
        first->previous->next = slab;
    else
        *list = slab;
    if (first)
        first->previous = slab;
}

/* A sparse slab goes to the end: what is fuller is used first, so that the sparse ones may become empty. */
static void partial_add(struct arena *arena, struct slice *slab)
{
    slab->state = SLAB_PARTIAL;
    list_add(&arena->partial[slab->size_class], slab, slab->sparse);
}

static void partial_remove(struct arena *arena, struct slice *slab)
{
    if (arena->purge_slab == slab)
        arena->purge_slab = slab->next;
    list_remove(&arena->partial[slab->size_class], slab);
}

/* ---- idle bytes: what has become free in slabs that are not open since those were last looked at ---- */

/* Of all arenas and orphans, but for a slab's worth that each arena may not have told yet. Counts modulo 2^64, so that
   a passing error (of a child forked half-way) passes. */
static _Atomic size_t idle_total;

static size_t slab_idle(const struct slice *slab)
{
    size_t count = slab_free_count(slab);
    return count > slab->looked_free ? count - slab->looked_free : 0;
}

/* Notes so many blocks of the slab as idle; what that adds to the account of whoever keeps the slab. */
static size_t idle_renote(struct slice *slab, size_t blocks)
{
    size_t bytes = (blocks - slab->noted_free) * slab_class(slab)->block_size;
    slab->noted_free = (uint16_t)blocks;
    return bytes;
}

/* All threads write to the sum. */
static void idle_add(size_t bytes)
{
    if (bytes != 0)
        atomic_fetch_add_explicit(&idle_total, bytes, memory_order_relaxed);
}

static void idle_tell(struct arena *arena)
{
    idle_add(arena->idle - arena->idle_told);
    arena->idle_told = arena->idle;
}

/* idle_renote for a slab of an arena, which adds to the sum only now and then. */
static void arena_note(struct arena *arena, struct slice *slab, size_t blocks)
{
    arena->idle += idle_renote(slab, blocks);
    if (unlikely(arena->idle - arena->idle_told + SLICE_SIZE > 2 * SLICE_SIZE))
        idle_tell(arena);
}

/* ---- orphans: nobody's slabs that have free blocks, by class ---- */

static struct {
    struct lock lock; /* RANK_ORPHANS */
    _Atomic(struct slice *) first[CLASS_COUNT]; /* changed under the lock; read without it only to skip it */
    _Atomic size_t idle;                        /* noted of them; changed under the lock */
} orphans = {.lock = {.rank = RANK_ORPHANS}};

static void orphan_note(struct slice *slab, size_t blocks)
{
    size_t bytes = idle_renote(slab, blocks);
    store_relaxed(orphans.idle, load_relaxed(orphans.idle) + bytes);
    idle_add(bytes);
}

static void orphan_remove(struct slice *slab)
{
    orphan_note(slab, 0);
    struct slice *first = load_relaxed(orphans.first[slab->size_class]);
    list_remove(&first, slab);
    store_relaxed(orphans.first[slab->size_class], first);
    store_release(slab->orphan, 0); /* who sees it may use the links */
}

/* Those with something noted as idle come first. */
static void orphan_add(struct slice *slab)
{
    orphan_note(slab, slab_idle(slab));
    struct slice *first = load_relaxed(orphans.first[slab->size_class]);
    list_add(&first, slab, slab->noted_free == 0);
    store_relaxed(orphans.first[slab->size_class], first);
    store_relaxed(slab->orphan, 1);
}

/* Who has claimed a slab takes it out of the orphans before using its links. */
static void orphan_claimed(struct slice *slab)
{
    if (!load_acquire(slab->orphan))
        return;
    lock_acquire(&orphans.lock);
    if (load_relaxed(slab->orphan))
        orphan_remove(slab);
    lock_release(&orphans.lock);
}

/* mine -> orphan. It is listed before it is disowned, so that whoever claims it finds it listed. */
static bool orphan_leave(struct slice *slab, struct arena *arena)
{
    lock_acquire(&orphans.lock);
    orphan_add(slab);
    bool left = slab_disown(slab, arena);
    if (!left)
        orphan_remove(slab);
    lock_release(&orphans.lock);
    return left;
}

/* `idle`: only one with something noted as idle. */
static struct slice *orphan_adopt(struct arena *arena, unsigned class, bool idle)
{
    struct slice *slab = NULL;
    if (!load_relaxed(orphans.first[class]))
        return NULL;
    lock_acquire(&orphans.lock);
    while (!slab && (slab = load_relaxed(orphans.first[class]))) {
        if (idle && slab->noted_free == 0) {
            slab = NULL;
            break;
        }
        /* Claimed while it is listed: if somebody freed a block of it and was faster, he ends it only when it is not. */
        bool claimed = slab_claim(slab, arena, arena->id, REMOTE_WAKE_NEVER);
        orphan_remove(slab);
        if (!claimed)
            slab = NULL;
    }
    lock_release(&orphans.lock);
    return slab;
}

/* ---- places of an owned slab ---- */

/* A slab that was full is worth opening again when so many blocks are back. */
static uint64_t slab_enough(const struct slice *slab)
{
    enum { ENOUGH_MAX = 32, ENOUGH_SHARE = 8 };
    return min_size(ENOUGH_MAX, max_size(1, slab_class(slab)->capacity / ENOUGH_SHARE));
}

/* Is a slab of which so many blocks are free worth it? What is not formed (of an orphan) is room, too. */
static bool slab_is_enough(const struct slice *slab, uint64_t free)
{
    return free >= slab_enough(slab) || load_relaxed(slab->unformed) != 0;
}

/* What becomes of a slab that is in no list, and of which all blocks are free. */
static void slab_end(struct arena *arena, struct slice *slab)
{
    if (arena->slabs[slab->size_class] != 0)
        arena->slabs[slab->size_class]--;
    if (unlikely(slab->features != 0))
        spare_put(slab, arena, arena->id);
    else
        slab_destroy(slab);
}

/* ---- purging ---- */

static void slab_reconsider(struct arena *arena, struct slice *slab, bool drained);

enum { LOOKS_MAX = 64 }; /* slabs at a time, so that nobody waits for long */

/* Goes on looking through the arena's partial slabs, if it has begun to, and gives back their idle pages; not of those
   that are next to be opened. */
LAST static size_t arena_purge_partial(struct arena *arena)
{
    size_t given = 0;
    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        struct slice *slab = arena->purge_slab;
        bool first = !slab;
        while (!slab && arena->purge_next < CLASS_COUNT)
            slab = arena->partial[arena->purge_next++];
        if (!slab)
            break;
        arena->purge_slab = slab->next;
        if (slab->noted_free == 0)
            continue;
        if (first && !slab->sparse) {
            arena->idle_spared += slab->noted_free * (size_t)slab_class(slab)->block_size;
            continue;
        }
        given += slab_purge(slab);
        slab_reconsider(arena, slab, false);
    }
    return given;
}

static bool arena_is_looking(const struct arena *arena)
{
    return arena->purge_slab || arena->purge_next < CLASS_COUNT;
}

/* The rest of arena_purge, for when there may be something to give; `total` is idle in all. */
LAST SLOW void arena_purge_more(struct arena *arena, size_t total)
{
    size_t budget = region_purge_budget(), worth = total / 8, given = 0;
    /* The budget is a sixteenth of what is live: regret may make it three. */
    if (total > budget && (ptrdiff_t)total > 0 && total > budget + regret_now(&arena->regret, 2 * budget)) {
        if (!arena_is_looking(arena) && arena->idle - arena->idle_spared >= worth)
            arena->idle_spared = arena->purge_next = 0;
        if (load_relaxed(orphans.idle) >= worth)
            given += arena_purge_orphans(arena, LOOKS_MAX);
    }
    given += arena_purge_partial(arena);
    if (given != 0)
        regret_give(&arena->regret, given);
}

/* Gives back idle pages, the arena's own and those of orphans, if there is more idle than the budget allows. */
static void arena_purge(struct arena *arena)
{
    size_t total = load_relaxed(idle_total);
    arena->idle_spared = min_size(arena->idle_spared, arena->idle); /* some of it was used since */
    if (unlikely((ptrdiff_t)total > (ptrdiff_t)PURGE_BUDGET_LEAST || arena_is_looking(arena)))
        arena_purge_more(arena, total);
}

/* The number of free blocks at which a slab that has `sum` wants to be looked at next. */
static uint64_t slab_next_look(const struct slice *slab, uint64_t sum)
{
    if (slab->state == SLAB_WAITING)
        return slab_enough(slab);
    uint64_t quarter = slab_class(slab)->capacity / 4, next = quarter;
    while (next <= sum)
        next += quarter;
    return min_size(slab->formed, next);
}

/* Looks at a partial or waiting slab: destroys it if all its blocks are free, moves it to where it belongs, and sets
   the counts at which it wants to be looked at again. `drained`: it came from the pending stack, and PENDING is ours. */
static void slab_reconsider(struct arena *arena, struct slice *slab, bool drained)
{
    if (slab->state == SLAB_PARTIAL)
        arena_note(arena, slab, slab_idle(slab));
    for (;;) {
        uint64_t remote = load_acquire(slab->remote);
        uint64_t local = slab_free_count(slab), sum = local + REMOTE_COUNT(remote);
        slab->stays = slab->stays && !(drained && local == 0);
        if (slab->state == SLAB_OPEN) {
            if (slab_set_remote_wake(slab, remote, REMOTE_WAKE_NEVER, drained))
                return;
            continue;
        }
        if (remote & REMOTE_PENDING && !drained) {
            slab->wake = WAKE_NEVER; /* it is in the pending stack, or on its way there */
            return;
        }
        if (sum == slab->formed) {
            arena_note(arena, slab, 0);
            if (slab->state == SLAB_PARTIAL)
                partial_remove(arena, slab);
            else
                list_remove(&arena->waiting[slab->size_class], slab);
            slab_end(arena, slab);
            return;
        }
        if (slab->state == SLAB_WAITING && slab_is_enough(slab, sum)) {
            list_remove(&arena->waiting[slab->size_class], slab);
            partial_add(arena, slab);
        }
        if (slab->state == SLAB_PARTIAL && !slab->sparse && (slab->formed - sum) * 2 < slab_class(slab)->capacity) {
            partial_remove(arena, slab);
            slab->sparse = true;
            partial_add(arena, slab);
        }
        uint64_t missing = slab_next_look(slab, sum) - sum;
        uint64_t half = REMOTE_COUNT(remote) != 0 ? (missing + 1) / 2 : missing;
        uint64_t remote_wake = REMOTE_COUNT(remote) != 0 ? REMOTE_COUNT(remote) + half : 1;
        slab->wake = WAKE_AT(local + half);
        if (slab_set_remote_wake(slab, remote, remote_wake, drained))
            return;
    }
}

static void slab_open(struct arena *arena, struct slice *slab)
{
    arena_note(arena, slab, 0);
    slab->looked_free = 0;
    slab->state = SLAB_OPEN;
    slab->sparse = false;
    slab->wake = WAKE_NEVER;
    arena_set_open(arena, slab->size_class, slab);
    while (!slab->stays && !slab_set_remote_wake(slab, load_relaxed(slab->remote), REMOTE_WAKE_NEVER, false))
        ;
}

static void slab_wait(struct arena *arena, struct slice *slab)
{
    slab->state = SLAB_WAITING;
    slab->sparse = false;
    list_add(&arena->waiting[slab->size_class], slab, false);
}

/* All that slab_reconsider would do with most slabs that were nobody's and are claimed by a free, as the first remote free
   of those is told. False: that is needed. */
static bool slab_waits(struct slice *slab)
{
    if (slab_is_enough(slab, slab_free_count(slab)))
        return false;
    slab->wake = WAKE_AT(slab_enough(slab));
    return true;
}

static _Thread_local bool arena_draining; /* this thread has slabs in hand that were pending */

static void arena_drain(struct arena *arena)
{
    arena_draining = true;
    atomic_signal_fence(memory_order_seq_cst);
    struct slice *slab = atomic_exchange_explicit(&arena->pending, NULL, memory_order_acquire), *next;
    for (; slab; slab = next) {
        next = slab->pending_next;
        slab_reconsider(arena, slab, true);
    }
    atomic_signal_fence(memory_order_seq_cst);
    arena_draining = false;
}

/* All that slab_reconsider would do with most slabs that have waited, and that nobody else frees in. */
static bool slab_has_waited(struct arena *arena, struct slice *slab)
{
    uint64_t free = slab_free_count(slab);
    if (slab->state != SLAB_WAITING || load_relaxed(slab->remote) != REMOTE_OWNED_BY(arena->id, 1) ||
        !slab_is_enough(slab, free) || free * 2 > slab->formed)
        return false;
    list_remove(&arena->waiting[slab->size_class], slab);
    partial_add(arena, slab);
    slab->wake = WAKE_AT(slab_next_look(slab, free));
    return true;
}

static void arena_wake(struct arena *arena, struct slice *slab)
{
    if (!slab_has_waited(arena, slab))
        slab_reconsider(arena, slab, false); /* first: draining may destroy this very slab */
    if (unlikely(load_relaxed(arena->pending) != NULL))
        arena_drain(arena);
    medium_age(&arena->medium);
    arena_purge(arena);
}

/* ---- refill ---- */

/* Pages that are formed at once in a class's next slab: so few that no more is formed in vain than a sixteenth of what
   the class has. Of larger blocks forming touches but a page each, and that can wait. */
static size_t arena_stride(const struct arena *arena, unsigned class)
{
    enum { SHARE = 16 };
    const struct size_class *row = &size_classes[class];
    size_t pages = row->block_size <= os_page_size ? row->slices * SLICE_SIZE / os_page_size : 1;
    return min_size(pages * arena->slabs[class] / SHARE, pages);
}

static struct slice *slab_new(struct arena *arena, unsigned class)
{
    uint8_t features = load_relaxed(hardened_features);
    struct slice *head = unlikely(features != 0) ? spare_take(class, arena, arena->id) : NULL;
    if (!head) {
        size_t guard = features & HARDENED_GUARD ? 1 : 0;
        struct run_request request = {
            .slices = size_classes[class].slices + guard, .alignment = 1, .many = true, .grow = true};
        bool zero;
        do
            head = arena_take_run(arena, &request, &zero);
        while (unlikely(!head) && spare_end_all(arena, arena->id));
        if (!head)
            return NULL;
        slab_create(head, class, arena_stride(arena, class), arena, arena->id, zero);
    }
    if (arena->slabs[class] != UINT16_MAX)
        arena->slabs[class]++;
    return head;
}

static bool slab_has_room(const struct slice *slab)
{
    return slab_free_count(slab) + REMOTE_COUNT(load_relaxed(slab->remote)) != 0 || load_relaxed(slab->unformed) != 0;
}

/* Something to pop: from the free list, the remote list, or blocks that are not formed yet. */
static void *slab_supply(struct arena *arena, struct slice *slab, bool *clean)
{
    *clean = false;
    void *block = slab_pop(slab);
    if (block)
        return block;
    if (!slab_take_remote(slab)) {
        if (!slab_form(slab, clean))
            return NULL;
        if (slab->purged)
            regret_take(&arena->regret, slab_free_count(slab) * slab_class(slab)->block_size);
    }
    return slab_pop(slab);
}

/* Takes an open slab out of the table, for its own class and for those that borrow from it, which are next below. */
static void slab_unopen(struct arena *arena, const struct slice *slab)
{
    unsigned lender = slab_class(slab)->lender;
    if (slab->size_class != lender) { /* nobody borrows from it */
        if (arena->open[slab->size_class] == slab)
            arena_set_open(arena, slab->size_class, SLAB_NONE);
        return;
    }
    for (unsigned end = slab->size_class + 1u; end > 0 && size_classes[end - 1].lender == lender; end--)
        if (arena->open[end - 1] == slab)
            arena_set_open(arena, end - 1, SLAB_NONE);
}

/* Keeps a slab that is full, unless remote frees are there or on their way. */
static bool slab_keep(struct arena *arena, struct slice *slab)
{
    uint64_t remote = load_relaxed(slab->remote);
    if (REMOTE_COUNT(remote) != 0 || remote & REMOTE_PENDING || !slab_set_remote_wake(slab, remote, 1, false))
        return false;
    slab_wait(arena, slab);
    slab->wake = WAKE_AT(slab_enough(slab));
    return true;
}

/* The open slab is exhausted: it becomes nobody's, unless remote frees are on their way to it. */
static void slab_close(struct arena *arena, struct slice *slab)
{
    slab_unopen(arena, slab);
    if ((slab->stays && slab_keep(arena, slab)) || slab_disown(slab, arena))
        return;
    slab_wait(arena, slab);
    slab_reconsider(arena, slab, false);
}

static void *arena_reopen(struct arena *arena, unsigned class, bool *clean)
{
    struct slice *used_up = arena->open[class];
    void *block = slab_supply(arena, used_up, clean);
    if (block)
        return block;
    if (unlikely(load_relaxed(arena->pending) != NULL))
        arena_drain(arena);
    struct slice *slab = arena->partial[class];
    if (!slab)
        return NULL;
    partial_remove(arena, slab);
    slab_open(arena, slab);
    if (used_up != SLAB_NONE)
        slab_close(arena, used_up);
    return slab_supply(arena, slab, clean);
}

/* A class that is hardly used borrows from its lender's slab; it has earned one of its own when it was found
   exhausted a few times. */
static bool class_borrows(struct arena *arena, unsigned class)
{
    enum { BORROWS_MAX = 2 };
    if (size_classes[class].lender == class || arena->borrows[class] == BORROWS_MAX)
        return false;
    arena->borrows[class]++;
    return true;
}

/* `more`: from the lender's slab or a new one, too. */
static void *arena_find(struct arena *arena, unsigned class, bool more, bool *clean)
{
    struct slice *slab;
    void *block = arena_reopen(arena, class, clean);
    if (block)
        return block;
    if ((slab = arena->open[class]) != SLAB_NONE)
        slab_close(arena, slab);
    for (;;) {
        if ((slab = arena->partial[class])) {
            partial_remove(arena, slab);
        } else if (!(slab = orphan_adopt(arena, class, false))) {
            unsigned lender = size_classes[class].lender;
            if (more && class_borrows(arena, class) && (block = arena_find(arena, lender, true, clean))) {
                arena_set_open(arena, class, arena->open[lender]);
                return block;
            }
            if (!more || !(slab = slab_new(arena, class))) {
                /* Out of memory: the few blocks of a slab that was full will do. */
                for (slab = arena->waiting[class]; slab && !slab_has_room(slab); slab = slab->next)
                    ;
                if (!slab)
                    return NULL;
                list_remove(&arena->waiting[class], slab);
            }
        }
        slab_open(arena, slab);
        if ((block = slab_supply(arena, slab, clean)))
            return block;
        slab_close(arena, slab);
        if (arena->waiting[class] == slab)
            return NULL; /* a remote free is on its way to it, but not here yet */
    }
}

static void *arena_refill(struct arena *arena, unsigned class, bool *clean)
{
    return arena_find(arena, class, true, clean);
}

RARE void *arena_scrape(struct arena *arena, unsigned class, size_t alignment, bool *clean)
{
    void *block = NULL;
    while (!block && ++class < CLASS_COUNT)
        if (size_classes[class].block_size % alignment == 0)
            block = arena_find(arena, class, false, clean);
    return block;
}

/* ---- remote frees ---- */

/* Hands a slab, whose PENDING the caller holds, to its owner. If the owner's thread has ended, does its work. */
static void arena_notify(struct arena *owner, struct slice *slab)
{
    struct slice *first = load_relaxed(owner->pending);
    do {
        slab->pending_next = first;
    } while (!atomic_compare_exchange_weak_explicit(&owner->pending, &first, slab, memory_order_seq_cst,
                                                    memory_order_relaxed));
    uint32_t idle = ARENA_IDLE;
    if (unlikely(atomic_load(&owner->state) == ARENA_IDLE) &&
        atomic_compare_exchange_strong(&owner->state, &idle, ARENA_ACTIVE))
        arena_retire(owner);
}

/* In a forked child: some arenas are dead. */
static bool arenas_have_died;

/* The plain case of arena_release_foreign: the slab has an owner, alive, who need not be told. False if it is another;
   nothing was done then. */
INLINE bool arena_push_foreign(const struct arena *arena, struct slice *slab, void *block, uintptr_t offset)
{
    if (unlikely(arenas_have_died))
        return false;
    uint64_t remote = load_acquire(slab->remote);
    bool notify;
    do {
        uint32_t id = REMOTE_ID(remote);
        bool told = REMOTE_COUNT(remote) + 1 < REMOTE_WAKE(remote) || remote & REMOTE_PENDING;
        if (unlikely(id == 0 || id == arena->id || !told))
            return false;
    } while (unlikely(!slab_push_remote(slab, &remote, block, offset, &notify)));
    return true;
}

/* Frees a block of a slab that is not this arena's: claims the slab if nobody owns it, else tells the owner. */
static void arena_release_foreign(struct arena *arena, struct slice *slab, void *block, uintptr_t offset)
{
    uint64_t remote = load_acquire(slab->remote);
    bool notify = false;
    for (;;) {
        uint32_t id = REMOTE_ID(remote);
        bool claimed = false;
        if (id == 0) {
            claimed = slab_claim(slab, arena, arena->id, 1);
        } else if (id == arena->id) {
            /* Ours, though the caller did not see that: the arena changed threads since. */
            break;
        } else if (unlikely(load_relaxed(arena_by_id(id)->state) == ARENA_DEAD)) {
            uint64_t taken = (remote & REMOTE_LIST_BITS) | REMOTE_OWNED_BY(arena->id, REMOTE_WAKE_NEVER);
            claimed = atomic_compare_exchange_strong_explicit(&slab->remote, &remote, taken, memory_order_acq_rel,
                                                              memory_order_acquire);
            if (claimed) {
                store_relaxed(slab->owner, arena);
                slab_settle(slab);
            }
        } else if (slab_push_remote(slab, &remote, block, offset, &notify)) {
            if (notify)
                arena_notify(arena_by_id(id), slab);
            return;
        } else {
            continue;
        }
        if (claimed) {
            orphan_claimed(slab);
            slab_wait(arena, slab);
            slab_push(slab, block, offset);
            if (id != 0 || !slab_waits(slab))
                slab_reconsider(arena, slab, false);
            /* A thread that does not allocate comes by slabs here, and has no other occasion. */
            if (unlikely(load_relaxed(arena->pending) != NULL))
                arena_drain(arena);
            return;
        }
        remote = load_acquire(slab->remote);
    }
    if (slab_push(slab, block, offset))
        arena_wake(arena, slab);
}

SLOW void arena_release_wake(struct arena *arena, struct slice *slab)
{
    int saved_errno = errno;
    arena_wake(arena, slab);
    errno = saved_errno;
}

COLD void arena_release_further(struct arena *arena, struct slice *slab, void *block)
{
    int saved_errno = errno;
    arena_release_foreign(arena, slab, block, (uintptr_t)block - slab_start(slab));
    errno = saved_errno;
}

INLINE void arena_release(struct arena *arena, struct slice *slab, void *block, uintptr_t offset)
{
    if (likely(load_relaxed(slab->owner) == arena)) {
        if (unlikely(slab_push(slab, block, offset)))
            arena_release_wake(arena, slab);
    } else if (unlikely(!arena_push_foreign(arena, slab, block, offset))) {
        arena_release_further(arena, slab, block);
    }
}

/* ---- giving back ---- */

/* Ends what is kept for the next requests: runs, and open slabs of which no block is live. */
static void arena_end_empty(struct arena *arena)
{
    medium_flush(&arena->medium);
    arena_drain(arena);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *slab = arena->open[class];
        if (slab == SLAB_NONE || slab->size_class != class ||
            slab_free_count(slab) + REMOTE_COUNT(load_acquire(slab->remote)) != slab->formed)
            continue;
        slab_unopen(arena, slab);
        slab_wait(arena, slab);
        slab_reconsider(arena, slab, false);
    }
}

static void arena_yield(struct arena *arena)
{
    arena_end_empty(arena);
    spare_end_all(arena, arena->id);
}

static bool arena_trim(struct arena *arena)
{
    bool any = false;
    arena_end_empty(arena);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *slab = arena->open[class], *next;
        if (slab != SLAB_NONE && slab->size_class == class) {
            any |= slab_purge(slab) != 0;
            slab->looked_free = 0;
        }
        struct slice *lists[2] = {arena->waiting[class], arena->partial[class]};
        for (int i = 0; i < 2; i++)
            for (slab = lists[i]; slab; slab = next) {
                next = slab->next;
                slab_merge_remote(slab);
                any |= slab_purge(slab) != 0;
                slab_reconsider(arena, slab, false);
            }
    }
    return spare_end_all(arena, arena->id) || any;
}

/* ---- validity ---- */

/* Will the slab's owner be told before all its blocks are free? One that is pending was. */
static bool wakes_valid(const struct slice *slab)
{
    uint64_t remote = load_relaxed(slab->remote), local = slab_free_count(slab), wake = LINK_COUNT(slab->wake);
    return remote & REMOTE_PENDING ||
           (local < wake && REMOTE_COUNT(remote) < REMOTE_WAKE(remote) &&
            wake + REMOTE_WAKE(remote) - 1 <= slab->formed);
}

static bool list_valid(struct arena *arena, struct slice *slab, unsigned class, enum slab_state state)
{
    for (const struct slice *previous = slab ? slab->previous : NULL; slab; previous = slab, slab = slab->next)
        if (slab->previous != previous || (previous->next && previous->next != slab) || slab->state != state ||
            slab->size_class != class || load_relaxed(slab->owner) != arena ||
            REMOTE_ID(load_relaxed(slab->remote)) != arena->id || !slab_valid(slab) || !wakes_valid(slab))
            return false;
    return true;
}

VALIDITY bool arena_valid(struct arena *arena)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *open = arena->open[class];
        if (!open || (open != SLAB_NONE &&
                      (open->state != SLAB_OPEN || load_relaxed(open->owner) != arena || !slab_valid(open) ||
                       (open->size_class != class && open->size_class != size_classes[class].lender) ||
                       arena->open[open->size_class] != open)))
            return false;
        if (!list_valid(arena, arena->partial[class], class, SLAB_PARTIAL) ||
            !list_valid(arena, arena->waiting[class], class, SLAB_WAITING))
            return false;
    }
    for (size_t step = 0; step <= STEPS_MAX / 16; step++)
        if (arena->open_by_step[step] != arena->open[class_of(step * 16)])
            return false;
    return medium_valid(&arena->medium);
}
