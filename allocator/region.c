/* region.c: runs: taking, releasing, coalescing, and the caches of the tiling. Growth, trimming and purging, which
   make system calls, are in region_memory.c. */
#include "region.h"

/* ---- bins: free runs by length; exact to 64 slices, then four bins per doubling ---- */

static unsigned bin_of(size_t length)
{
    if (length <= 64)
        return (unsigned)length - 1;
    unsigned log = 63 - (unsigned)__builtin_clzll(length);
    /* The last bin has all that is longer still (from 224 GiB on). */
    return (unsigned)min_size(64 + (log - 6) * 4 + ((length >> (log - 2)) & 3), BIN_COUNT - 1);
}

static void bin_insert(struct region *region, uint32_t index, size_t length)
{
    unsigned bin = bin_of(length);
    struct slice *head = &region->map[index];
    head->bin_previous = NO_SLICE;
    head->bin_next = region->bins[bin];
    if (head->bin_next != NO_SLICE)
        region->map[head->bin_next].bin_previous = index;
    region->bins[bin] = index;
    region->bin_map[bin / 64] |= 1ull << bin % 64;
}

static void bin_remove(struct region *region, uint32_t index, size_t length)
{
    unsigned bin = bin_of(length);
    struct slice *head = &region->map[index];
    if (head->bin_next != NO_SLICE)
        region->map[head->bin_next].bin_previous = head->bin_previous;
    if (head->bin_previous != NO_SLICE)
        region->map[head->bin_previous].bin_next = head->bin_next;
    else if ((region->bins[bin] = head->bin_next) == NO_SLICE)
        region->bin_map[bin / 64] &= ~(1ull << bin % 64);
}

/* The first bin >= `bin` that is not empty, or BIN_COUNT. */
static unsigned bin_next_used(const struct region *region, unsigned bin)
{
    for (unsigned word = bin / 64; word < 2; word++, bin = word * 64) {
        uint64_t used = region->bin_map[word] & ~0ull << bin % 64;
        if (used)
            return word * 64 + (unsigned)__builtin_ctzll(used);
    }
    return BIN_COUNT;
}

/* ---- purge queue: free runs with dirty slices, in the order in which they became free ---- */

static void age_append(struct region *region, uint32_t index)
{
    struct slice *head = &region->map[index];
    head->age_next = NO_SLICE;
    head->age_previous = region->age_newest;
    if (region->age_newest != NO_SLICE)
        region->map[region->age_newest].age_next = index;
    else
        region->age_oldest = index;
    region->age_newest = index;
}

static void age_remove(struct region *region, uint32_t index)
{
    struct slice *head = &region->map[index];
    if (head->age_next != NO_SLICE)
        region->map[head->age_next].age_previous = head->age_previous;
    else
        region->age_newest = head->age_previous;
    if (head->age_previous != NO_SLICE)
        region->map[head->age_previous].age_next = head->age_next;
    else
        region->age_oldest = head->age_next;
}

/* ---- dirty bits ---- */

/* Calls for each word that [index, index + length) touches, with the mask of its bits. */
#define FOR_DIRTY_WORDS(region, index, length, word, mask)                                                             \
    for (size_t at_ = (index), end_ = at_ + (length), next_; at_ < end_; at_ = next_)                                  \
        for (uint64_t *word = (next_ = min_size(end_, (at_ | 63) + 1), &(region)->dirty[at_ / 64]),                    \
                      mask = (~0ull << at_ % 64) & (~0ull >> (63 - (next_ - 1) % 64));                                 \
             word; word = NULL)

static size_t dirty_count(const struct region *region, size_t index, size_t length)
{
    size_t count = 0;
    FOR_DIRTY_WORDS(region, index, length, word, mask) {
        uint64_t bits = *word & mask; /* most often all of the mask, which is quicker to count */
        count += bits == mask ? 64 - (size_t)__builtin_clzll(mask) - (size_t)__builtin_ctzll(mask)
                              : (size_t)__builtin_popcountll(bits);
    }
    return count;
}

static void dirty_set(struct region *region, size_t index, size_t length)
{
    FOR_DIRTY_WORDS(region, index, length, word, mask)
        *word |= mask;
}

static void dirty_clear(struct region *region, size_t index, size_t length)
{
    FOR_DIRTY_WORDS(region, index, length, word, mask)
        *word &= ~mask;
}

INLINE bool dirty_test(const struct region *region, size_t index)
{
    return region->dirty[index / 64] >> index % 64 & 1;
}

/* ---- free runs ---- */

/* `dirty` of its slices are. */
static void free_run_insert(struct region *region, size_t index, size_t length, size_t dirty)
{
    struct slice *head = &region->map[index];
    region->map[index + length - 1].tail = (uint32_t)length;
    head->dirty = (uint32_t)dirty;
    bin_insert(region, (uint32_t)index, length);
    if (dirty != 0)
        age_append(region, (uint32_t)index);
    store_relaxed(region->free_slices, load_relaxed(region->free_slices) + length);
    region->dirty_slices += dirty;
}

/* Returns how many of its slices are dirty. */
static size_t free_run_remove(struct region *region, size_t index, size_t length)
{
    struct slice *head = &region->map[index];
    bin_remove(region, (uint32_t)index, length);
    if (head->dirty != 0)
        age_remove(region, (uint32_t)index);
    store_relaxed(region->free_slices, load_relaxed(region->free_slices) - length);
    region->dirty_slices -= head->dirty;
    return head->dirty;
}

/* Length of the free run that ends at `index`, 0 if there is none. A tail may be stale: the head's word decides. */
static size_t free_run_before(const struct region *region, size_t index)
{
    size_t tail = index != 0 ? region->map[index - 1].tail : 0;
    bool is_free = tail != 0 && tail <= index &&
                   load_relaxed(region->map[index - tail].run) == RUN_WORD(RUN_FREE, tail);
    return is_free ? tail : 0;
}

/* Makes [index, index + length), a run of its own with so many dirty slices, free, and one with its free neighbours,
   which begins at what it returns. */
static size_t free_run_join(struct region *region, size_t index, size_t length, size_t dirty)
{
    size_t first = index, joined = length, next = index + length;
    if (next < load_relaxed(region->count) && run_kind(&region->map[next]) == RUN_FREE) {
        size_t next_length = run_length(&region->map[next]);
        dirty += free_run_remove(region, next, next_length);
        joined += next_length;
    } else {
        next = index;
    }
    size_t before = free_run_before(region, index);
    if (before != 0) {
        dirty += free_run_remove(region, index - before, before);
        first -= before;
        joined += before;
    }
    store_release(region->map[first].run, RUN_WORD(RUN_FREE, joined));
    if (first != index)
        store_release(region->map[index].run, RUN_WORD(RUN_INSIDE, 0));
    if (next != index)
        store_release(region->map[next].run, RUN_WORD(RUN_INSIDE, 0));
    free_run_insert(region, first, joined, dirty);
    return first;
}

/* Cuts the free run [index, index + length) down to [at, at + taken), which becomes RUN_DETACHED; what is left on
   either side stays free. Stores from the right to the left, so that each leaves a tiling. Returns how many of the
   taken slices are dirty. */
static size_t free_run_cut(struct region *region, size_t index, size_t length, size_t at, size_t taken)
{
    size_t dirty = free_run_remove(region, index, length);
    size_t left = at - index, right = length - left - taken, dirty_left = 0, dirty_taken = 0;
    if (dirty == length) {
        dirty_left = left;
        dirty_taken = taken;
    } else if (dirty != 0) {
        dirty_left = left != 0 ? dirty_count(region, index, left) : 0;
        dirty_taken = dirty_count(region, at, taken);
    }
    if (right != 0)
        store_release(region->map[at + taken].run, RUN_WORD(RUN_FREE, right));
    store_release(region->map[at].run, RUN_WORD(RUN_DETACHED, taken));
    if (left != 0) {
        store_release(region->map[index].run, RUN_WORD(RUN_FREE, left));
        free_run_insert(region, index, left, dirty_left);
    }
    if (right != 0)
        free_run_insert(region, at + taken, right, dirty - dirty_left - dirty_taken);
    return dirty_taken;
}

/* The slices from `index` on are handed out: they will be written to. `dirty` of them have been before. */
static void slices_leave(struct region *region, size_t index, size_t length, size_t dirty)
{
    if (dirty == length)
        return;
    regret_take(&region->regret, length - dirty);
    dirty_set(region, index, length);
}

/* ---- taking ---- */

static bool run_fits(const struct region *region, size_t index, size_t length, const struct run_request *request,
                     size_t *at)
{
    size_t number = region->base >> SLICE_SHIFT; /* alignment is that of the address */
    *at = align_up(number + index, request->alignment) - number;
    if (*at + request->slices > index + length)
        return false;
    if (request->spare_top && index + length == load_relaxed(region->count)) {
        /* What growth left over is no free memory yet, as the rest of glibc's top would be too small. */
        size_t reused = (size_t)region->map[index].dirty;
        return reused >= request->slices;
    }
    return true;
}

/* Best fit among the runs of `request`'s own bin (a bounded look), else any run of the next larger bins. */
static bool region_find(const struct region *region, const struct run_request *request, size_t *index, size_t *at)
{
    enum { LOOK_MAX = 64 };
    size_t best = SIZE_MAX;
    int looks = 0;
    for (unsigned bin = bin_of(request->slices); (bin = bin_next_used(region, bin)) < BIN_COUNT; bin++) {
        for (uint32_t i = region->bins[bin]; i != NO_SLICE && looks < LOOK_MAX; i = region->map[i].bin_next, looks++) {
            size_t length = run_length(&region->map[i]), place;
            if (length < best && run_fits(region, i, length, request, &place)) {
                best = length;
                *index = i;
                *at = place;
                if (bin < 64)
                    break; /* all of this bin are equally long */
            }
        }
        if (best != SIZE_MAX)
            return true;
        looks = 0;
    }
    /* A bounded look can miss the top, where growth has just made room for this very request. */
    size_t top = free_run_before(region, load_relaxed(region->count));
    *index = load_relaxed(region->count) - top;
    return top != 0 && run_fits(region, *index, top, request, at);
}

static struct slice *region_take_free(struct region *region, const struct run_request *request, bool *zero)
{
    struct slice *head = NULL;
    size_t index, at;
    lock_acquire(&region->lock);
    if (load_relaxed(region->free_slices) >= request->slices && region_find(region, request, &index, &at)) {
        size_t dirty = free_run_cut(region, index, run_length(&region->map[index]), at, request->slices);
        slices_leave(region, at, request->slices, dirty);
        *zero = dirty == 0;
        head = &region->map[at];
        run_in_hand = true;
    }
    lock_release(&region->lock);
    return head;
}

static bool region_grow(struct region *region, const struct run_request *request);
static bool region_create(const struct run_request *request, size_t seen);
/* What a release leaves to do once the lock is free. */
struct region_due {
    bool trim;   /* the top reached the trim threshold */
    size_t keep; /* purge down to so many dirty slices; SIZE_MAX: nothing to purge */
};
/* After so many slices were freed. Region lock. */
static struct region_due region_due(struct region *region, size_t freed);
static void region_return_memory(struct region *region, struct region_due due);

static struct slice *region_take(const struct run_request *request, bool *zero)
{
    struct slice *head;
    size_t count = load_acquire(region_count);
    for (size_t i = 0; i < count; i++)
        if ((head = region_take_free(&regions[i], request, zero)))
            return head;
    if (!request->grow)
        return NULL;
    do {
        count = load_acquire(region_count);
        for (size_t i = 0; i < count; i++)
            /* Another thread may take what we grew: then grow again. */
            while (region_grow(&regions[i], request))
                if ((head = region_take_free(&regions[i], request, zero)))
                    return head;
    } while (region_create(request, count));
    return NULL;
}

/* ---- releasing ---- */

static bool run_detach(struct slice *head, uint64_t word)
{
    return atomic_compare_exchange_strong_explicit(&head->run, &word, RUN_WORD(RUN_DETACHED, word >> 8),
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* Frees a run if its word is this. Where the free run begins that it is in then; SIZE_MAX: it is another. Region lock,
   so that a forked child without this thread finds a detached run that is nobody's. */
static size_t run_free(struct region *region, struct slice *head, uint64_t word)
{
    size_t length = word >> 8;
    bool done = run_detach(head, word); /* others keep a medium run, or take a kept one, without the lock */
    return done ? free_run_join(region, slice_index(region, head), length, length) : SIZE_MAX;
}

/* What threads keep behind a long free run goes, or it might be all that is between that and the top. Region lock. */
static void kept_runs_yield(struct region *region, size_t index)
{
    enum { LONG = 16 };
    size_t next;
    while (run_length(&region->map[index]) >= LONG &&
           (next = index + run_length(&region->map[index])) < load_relaxed(region->count)) {
        uint64_t word = load_relaxed(region->map[next].run);
        if ((word & 0xff) != RUN_CACHED || run_free(region, &region->map[next], word) == SIZE_MAX)
            break;
    }
}

static bool region_release_if(struct slice *head, uint64_t word)
{
    struct region *region = region_of_slice(head);
    struct region_due due = {.trim = false, .keep = SIZE_MAX};
    lock_acquire(&region->lock);
    size_t index = run_free(region, head, word);
    if (index != SIZE_MAX) {
        run_in_hand = false;
        kept_runs_yield(region, index);
        due = region_due(region, word >> 8);
    }
    lock_release(&region->lock);
    region_return_memory(region, due);
    return index != SIZE_MAX;
}

static void region_release(struct slice *head) { region_release_if(head, load_relaxed(head->run)); }

static bool region_resize(struct slice *head, size_t slices)
{
    struct region *region = region_of_slice(head);
    size_t index = slice_index(region, head);
    bool done = true;
    struct region_due due = {.trim = false, .keep = SIZE_MAX};
    lock_acquire(&region->lock);
    size_t length = run_length(head), next = index + length;
    if (slices > length) {
        size_t more = slices - length;
        done = next < load_relaxed(region->count) && run_kind(&region->map[next]) == RUN_FREE &&
               run_length(&region->map[next]) >= more;
        if (done) {
            slices_leave(region, next, more, free_run_cut(region, next, run_length(&region->map[next]), next, more));
            store_release(head->run, RUN_WORD(RUN_MEDIUM, slices));
            store_release(region->map[next].run, RUN_WORD(RUN_INSIDE, 0));
        }
    } else if (slices < length) {
        store_release(region->map[index + slices].run, RUN_WORD(RUN_DETACHED, length - slices));
        store_release(head->run, RUN_WORD(RUN_MEDIUM, slices));
        free_run_join(region, index + slices, length - slices, length - slices);
        due = region_due(region, length - slices);
    }
    lock_release(&region->lock);
    region_return_memory(region, due);
    return done;
}

/* ---- looking things up ---- */

static struct region *region_of(const void *p)
{
    size_t count = load_acquire(region_count);
    for (size_t i = 0; i < count; i++) {
        size_t slices = load_acquire(regions[i].count);
        if (slices != 0 && ((uintptr_t)p - regions[i].base) >> SLICE_SHIFT < slices)
            return &regions[i];
    }
    return NULL;
}

RARE bool region_is_free(struct region *region, const struct slice *slice)
{
    size_t index = slice_index(region, slice), count = load_acquire(region->count);
    bool is_free = false;
    lock_acquire(&region->lock);
    for (size_t i = 0, length; i <= index && i < count; i += length) {
        length = max_size(run_length(&region->map[i]), 1);
        is_free = run_kind(&region->map[i]) == RUN_FREE;
    }
    lock_release(&region->lock);
    return is_free;
}

/* ---- fork ---- */

/* Makes the slices inside a run what they are there: a change of the tiling may have stopped half-way. */
static void run_settle(struct region *region, size_t index, size_t length)
{
    struct slice *head = &region->map[index];
    bool slab = run_kind(head) == RUN_SLAB;
    for (size_t i = 1; i < length; i++) {
        store_relaxed(head[i].run, RUN_WORD(RUN_INSIDE, 0));
        store_relaxed(head[i].owner, NULL);
        head[i].back = slab ? i * sizeof *head : 0;
    }
}

/* Nobody's any more in a forked child: free, or on its way with a thread that does not exist here. What the forking
   thread itself was about (fork in a signal handler) it goes on with. */
static bool run_abandoned(const struct region *region, const struct slice *head)
{
    switch (run_kind(head)) {
    case RUN_FREE: return true;
    case RUN_DETACHED: return !run_in_hand;
    case RUN_PURGING: return region->purger != lock_self();
    default: return false;
    }
}

/* Makes bins, queue and counters anew from the run words. Without locks: the child has one thread. */
static void region_rebuild(struct region *region)
{
    memset(region->bin_map, 0, sizeof region->bin_map);
    memset(region->bins, 0xff, sizeof region->bins);
    region->age_oldest = region->age_newest = NO_SLICE;
    store_relaxed(region->free_slices, 0);
    region->dirty_slices = 0;
    region->detached = region->detached != 0 && region->purger == lock_self();
    size_t count = load_relaxed(region->count), length;
    for (size_t i = 0; i < count; i += length) {
        struct slice *head = &region->map[i];
        length = run_length(head);
        if (length == 0 || i + length > count) { /* the fork came between the cut of the top run and that of the count */
            length = min_size(length, count - i);
            store_relaxed(region->count, i + length);
            count = i + length;
            if (length == 0)
                break;
            store_relaxed(head->run, RUN_WORD(run_kind(head), length));
        }
        bool is_free = run_abandoned(region, head);
        if (is_free) {
            /* With its neighbours that a cut or join had not made one yet. */
            size_t next;
            while ((next = i + length) < count && run_abandoned(region, &region->map[next]))
                length += min_size(run_length(&region->map[next]), count - next);
            store_relaxed(head->run, RUN_WORD(RUN_FREE, length));
            store_relaxed(head->owner, NULL);
            head->back = 0;
        }
        if (is_free || run_kind(head) != RUN_DETACHED) /* the forking thread's own is as it left it */
            run_settle(region, i, length);
        if (is_free) {
            dirty_set(region, i, length); /* the bits may be half changed: take nothing to be zero */
            free_run_insert(region, i, length, length);
        }
    }
}

/* ---- validity ---- */

VALIDITY bool region_valid(struct region *region)
{
    bool valid = true;
    lock_acquire(&region->lock);
    size_t count = load_relaxed(region->count), free_slices = 0, dirty_slices = 0, length, i;
    bool was_free = false;
    for (i = 0; valid && i < count; i += length) {
        const struct slice *head = &region->map[i];
        enum run_kind kind = run_kind(head);
        length = run_length(head);
        valid = kind != RUN_INSIDE && length != 0 && i + length <= count && head->region == region->index;
        if (kind == RUN_FREE) {
            valid = valid && !was_free && region->map[i + length - 1].tail == length &&
                    head->dirty == dirty_count(region, i, length) && load_relaxed(head->owner) == NULL;
            free_slices += length;
            dirty_slices += head->dirty;
            uint32_t in_bin = region->bins[bin_of(length)];
            while (in_bin != NO_SLICE && in_bin != i)
                in_bin = region->map[in_bin].bin_next;
            valid = valid && in_bin == i;
        } else if (kind == RUN_SLAB || kind == RUN_MEDIUM || kind == RUN_CACHED) {
            valid = valid && dirty_count(region, i, length) == length;
        }
        was_free = kind == RUN_FREE;
        for (size_t inside = i + 1; valid && kind != RUN_DETACHED && inside < i + length; inside++)
            valid = run_kind(&region->map[inside]) == RUN_INSIDE && load_relaxed(region->map[inside].owner) == NULL &&
                    region->map[inside].back == (kind == RUN_SLAB ? (inside - i) * sizeof(struct slice) : 0);
    }
    valid = valid && i == count && free_slices == load_relaxed(region->free_slices) &&
            dirty_slices == region->dirty_slices;
    lock_release(&region->lock);
    return valid;
}
