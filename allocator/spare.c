/* spare.c: see spare.h. */
#include "spare.h"

enum { SPARE_SLICES_MAX = 32 };

static struct {
    struct lock lock;               /* RANK_ORPHANS: never held together with that of the orphans */
    _Atomic(struct slice *) newest; /* linked by `next`. Changed under the lock; read without it only to see if any */
    size_t slices;                  /* of them all, guards not counted. Under the lock */
} spares = {.lock = {.rank = RANK_ORPHANS}};

/* Of the class, and with the protections of now. */
static bool spare_suits(const struct slice *slab, unsigned class)
{
    return slab->size_class == class && !((slab->features ^ load_relaxed(hardened_features)) & ~HARDENED_GUARD);
}

/* Takes the newest of `class` out, or the oldest of all if that is CLASS_COUNT. Under the lock. */
static struct slice *spare_remove(unsigned class, struct arena *owner, uint32_t owner_id)
{
    struct slice *slab = load_relaxed(spares.newest), *before = NULL;
    while (slab && !(class == CLASS_COUNT ? slab->next == NULL : spare_suits(slab, class))) {
        before = slab;
        slab = slab->next;
    }
    if (!slab)
        return NULL;
    if (before)
        before->next = slab->next;
    else
        store_relaxed(spares.newest, slab->next);
    spares.slices -= slab_class(slab)->slices;
    if (!slab_claim(slab, owner, owner_id, REMOTE_WAKE_NEVER)) /* as who frees a block of nobody's slab does */
        diag_fatal("double free", (const void *)slab_start(slab));
    return slab;
}

RARE void spare_put(struct slice *slab, struct arena *owner, uint32_t owner_id)
{
    struct slice *oldest = NULL;
    slab_merge_remote(slab);
    atomic_fetch_and_explicit(&slab->remote, ~REMOTE_PENDING, memory_order_relaxed);
    slab->wake = WAKE_NEVER;
    lock_acquire(&spares.lock);
    if (slab_disown(slab, owner)) {
        slab->next = load_relaxed(spares.newest);
        store_relaxed(spares.newest, slab);
        spares.slices += slab_class(slab)->slices;
        if (spares.slices > SPARE_SLICES_MAX)
            oldest = spare_remove(CLASS_COUNT, owner, owner_id);
        slab = NULL;
    }
    lock_release(&spares.lock);
    if (oldest)
        slab_destroy(oldest);
    if (slab)
        slab_destroy(slab);
}

RARE struct slice *spare_take(unsigned class, struct arena *owner, uint32_t owner_id)
{
    if (!load_relaxed(spares.newest))
        return NULL;
    lock_acquire(&spares.lock);
    struct slice *slab = spare_remove(class, owner, owner_id);
    lock_release(&spares.lock);
    return slab;
}

LAST static bool spare_end_all(struct arena *owner, uint32_t owner_id)
{
    bool any = false;
    while (load_relaxed(spares.newest)) {
        lock_acquire(&spares.lock);
        struct slice *slab = spare_remove(CLASS_COUNT, owner, owner_id);
        lock_release(&spares.lock);
        if (slab)
            slab_destroy(slab);
        any = true;
    }
    return any;
}

/* What a list is that somebody was changing, who is not here, nobody knows: its slabs are lost. */
RARE void spare_after_fork(void)
{
    if (lock_break_in_child(&spares.lock)) {
        store_relaxed(spares.newest, NULL);
        spares.slices = 0;
    }
}

VALIDITY bool spare_valid(void)
{
    size_t slices = 0;
    for (struct slice *slab = load_relaxed(spares.newest); slab; slab = slab->next) {
        if (slab->state != SLAB_NOBODY || load_relaxed(slab->remote) != 0 || !slab_valid(slab) ||
            slab_free_count(slab) != slab->formed)
            return false;
        slices += slab_class(slab)->slices;
    }
    return slices == spares.slices && slices <= SPARE_SLICES_MAX;
}
