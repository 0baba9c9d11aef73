/* medium.c: see medium.h. */
#include "medium.h"

/* All threads keep half as much as slabs may keep free; but each two slices, or it would be of no use to many. Where the
   program has set what may be free, a thread keeps a quarter of that at most. */
enum { MEDIUM_SHARE = 2, MEDIUM_TRIM_SHARE = 4, MEDIUM_LEAST = 2 };

/* The list covers every run at every moment: a forked child may find it so. */
static void medium_drop(struct medium_cache *cache, size_t at)
{
    cache->slices -= cache->lengths[at];
    size_t last = --cache->count;
    for (; at < last; at++) {
        store_relaxed(cache->runs[at], load_relaxed(cache->runs[at + 1]));
        cache->lengths[at] = cache->lengths[at + 1];
    }
    store_relaxed(cache->runs[last], NULL);
}

INLINE struct slice *medium_reuse(struct medium_cache *cache, size_t slices)
{
    for (size_t at = cache->count; at-- > 0;) {
        if (cache->lengths[at] != slices)
            continue;
        struct slice *head = load_relaxed(cache->runs[at]);
        uint64_t cached = RUN_WORD(RUN_CACHED, slices);
        bool ours = atomic_compare_exchange_strong_explicit(&head->run, &cached, RUN_WORD(RUN_MEDIUM, slices),
                                                            memory_order_acq_rel, memory_order_relaxed);
        medium_drop(cache, at);
        if (unlikely(!ours))
            continue;
        cache->owed += (uint8_t)slices;
        cache->used = true;
        return head;
    }
    return NULL;
}

INLINE bool medium_keep(struct medium_cache *cache, struct slice *head)
{
    uint64_t word = load_relaxed(head->run), slices = word >> 8;
    if ((word & 0xff) != RUN_MEDIUM || slices > cache->owed || slices > MEDIUM_LONGEST)
        return false;
    size_t at = cache->count;
    store_relaxed(cache->runs[at], head); /* first: as in medium_drop */
    if (unlikely(!atomic_compare_exchange_strong_explicit(&head->run, &word, RUN_WORD(RUN_CACHED, slices),
                                                          memory_order_acq_rel, memory_order_relaxed))) {
        store_relaxed(cache->runs[at], NULL);
        return false; /* freed by another thread at this moment */
    }
    cache->lengths[at] = (uint8_t)slices;
    cache->count++;
    cache->slices += (uint8_t)slices;
    cache->owed -= (uint8_t)slices;
    cache->used = true;
    return true;
}

static void medium_evict(struct medium_cache *cache)
{
    region_release_if(load_relaxed(cache->runs[0]), RUN_WORD(RUN_CACHED, cache->lengths[0]));
    medium_drop(cache, 0);
}

/* How many slices one of `threads` may keep. */
static size_t medium_limit(size_t threads)
{
    size_t limit = MEDIUM_SLICES, budget = region_purge_budget() >> SLICE_SHIFT;
    while (limit > MEDIUM_LEAST && limit * threads > budget / MEDIUM_SHARE)
        limit /= 2;
    if (region_policy.trim_explicit)
        limit = min_size(limit, (load_relaxed(region_policy.trim_threshold) >> SLICE_SHIFT) / MEDIUM_TRIM_SHARE);
    return limit;
}

static void medium_miss(struct medium_cache *cache, size_t slices, size_t threads)
{
    size_t limit = medium_limit(threads), more = slices <= limit ? slices : 0;
    while (cache->slices + more > limit)
        medium_evict(cache);
    cache->owed = (uint8_t)min_size(cache->owed + more, limit - cache->slices);
}

static void medium_flush(struct medium_cache *cache)
{
    while (cache->count != 0)
        medium_evict(cache);
}

static void medium_renew(struct medium_cache *cache)
{
    medium_flush(cache);
    cache->owed = 0;
}

INLINE void medium_age(struct medium_cache *cache)
{
    if (unlikely(cache->count != 0) && !cache->used)
        medium_flush(cache);
    cache->used = false;
}

RARE void medium_take_away(const struct medium_cache *cache)
{
    for (size_t at = 0; at < MEDIUM_SLICES; at++) {
        struct slice *head = load_acquire(cache->runs[at]);
        if (head)
            region_release_if(head, RUN_WORD(RUN_CACHED, run_length(head)));
    }
}

static bool medium_resize(struct slice *head, size_t slices)
{
    while (!region_resize(head, slices)) {
        const struct region *region = region_of_slice(head);
        struct slice *next = head + run_length(head);
        if (slice_index(region, next) >= load_acquire(region->count) ||
            !region_release_if(next, RUN_WORD(RUN_CACHED, run_length(next))))
            return false;
    }
    return true;
}

VALIDITY bool medium_valid(const struct medium_cache *cache)
{
    size_t slices = 0;
    for (size_t at = 0; at < MEDIUM_SLICES; at++) {
        bool listed = at < cache->count;
        if (listed != (load_relaxed(cache->runs[at]) != NULL) || (listed && cache->lengths[at] == 0))
            return false;
        slices += listed ? cache->lengths[at] : 0;
    }
    return slices == cache->slices && slices + cache->owed <= MEDIUM_SLICES;
}
