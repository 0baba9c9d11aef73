/* region_memory.c: where a region's memory comes from and when it goes back: growth of the break and of the
   fallback regions, trimming of the top, purging within a budget. No thread, no timer: the release that crosses the
   budget pays.

   The budget is in free dirty slices: a floor, or a fraction of what is live, plus regret (regret.h). The floor is higher
   for who had more live before: what is kept up to that does not make the program's peak higher. */
#include "region.h"

#include "diag.h"

static struct lock regions_lock = {.rank = RANK_REGIONS};

/* Some memory could not be given back (mlock): unprompted return is off until malloc_trim tries anew. */
static _Atomic bool memory_locked;

/* ---- the heap map ---- */

enum {
    MAP_SHARE_OF_LIMIT = 64,   /* at most this fraction of RLIMIT_AS is reserved for a map */
    MAP_CHUNK = 64 * 1024 / sizeof(struct slice), /* slices whose descriptors are opened at a time */
};
#define MAP_RESERVE_MAX (64 * MIB)
#define FALLBACK_MIN (1 * MIB)
#define FALLBACK_FIRST (64 * MIB)

static size_t dirty_bytes_of(size_t capacity) { return align_up(capacity / 8 + 8, os_page_size); }

/* Bytes to reserve for dirty bits and map, with a page before and behind them that is never opened. */
static size_t map_reservation(size_t capacity)
{
    return dirty_bytes_of(capacity) + align_up(capacity * sizeof(struct slice), os_page_size) + 2 * os_page_size;
}

/* Lays dirty bits and map out in the reservation at `address`. */
static bool region_open(struct region *region, uintptr_t address, size_t capacity)
{
    address += os_page_size;
    size_t dirty_bytes = dirty_bytes_of(capacity);
    size_t first = min_size(capacity, MAP_CHUNK);
    if (!os_commit(address, dirty_bytes + align_up(first * sizeof(struct slice), os_page_size)))
        return false;
    region->dirty = (uint64_t *)address;
    region->map = (struct slice *)(address + dirty_bytes);
    region->capacity = capacity;
    region->map_open = first;
    region->index = (uint8_t)(region - regions);
    region->lock.rank = RANK_REGION;
    region->growth.rank = RANK_BREAK;
    memset(region->bins, 0xff, sizeof region->bins);
    region->age_oldest = region->age_newest = NO_SLICE;
    return true;
}

/* Makes descriptors [0, count) accessible. Break lock. */
static bool region_open_map(struct region *region, size_t count)
{
    if (count <= region->map_open)
        return true;
    size_t open = min_size(align_up(count, MAP_CHUNK), region->capacity);
    uintptr_t from = align_down((uintptr_t)(region->map + region->map_open), os_page_size);
    if (!os_commit(from, align_up((uintptr_t)(region->map + open), os_page_size) - from))
        return false;
    region->map_open = open;
    return true;
}

/* The break region, empty at first. */
COLD bool region_open_break(struct region *region)
{
    uintptr_t now = os_break();
    region->base = align_down(now, SLICE_SIZE);
    region->first = now;
    region->end = 0; /* so that the bytes below the first slice are somebody else's */
    size_t reserve = align_down(min_size(MAP_RESERVE_MAX, os_address_space_limit() / MAP_SHARE_OF_LIMIT), 64 * KIB);
    size_t capacity = max_size(reserve, 128 * KIB) / sizeof(struct slice);
    size_t bytes = map_reservation(capacity);
    uintptr_t address = os_reserve(bytes);
    if (address == 0)
        return false;
    if (region_open(region, address, capacity)) {
        region->is_break = true;
        return true;
    }
    os_unmap(address, bytes);
    return false;
}

/* ---- growth ---- */

/* Describes [count, from) as foreign and adds [from, to) as free. Break lock; the map is open that far. */
static void region_append(struct region *region, size_t from, size_t to)
{
    lock_acquire(&region->lock);
    size_t count = load_relaxed(region->count);
    for (size_t i = count; i < to; i++) {
        region->map[i].region = region->index;
        store_relaxed(region->map[i].run, RUN_WORD(RUN_INSIDE, 0)); /* a child may have been forked half-way here */
    }
    for (size_t i = count; i < from; i++)
        store_release(region->map[i].run, RUN_WORD(RUN_FOREIGN, 1)); /* each by itself: none is found by a head */
    if (to > from) {
        store_release(region->map[from].run, RUN_WORD(RUN_DETACHED, to - from));
        store_release(region->count, to);
        regret_take(&region->regret, to - from);
        free_run_join(region, from, to - from, dirty_count(region, from, to - from));
    } else {
        store_release(region->count, to);
    }
    lock_release(&region->lock);
}

static size_t region_metadata(const struct region *region)
{
    return dirty_bytes_of(region->capacity) + region->map_open * sizeof(struct slice);
}

/* Length of the free run at the top. Region lock. */
static size_t region_top_locked(const struct region *region)
{
    return free_run_before(region, load_relaxed(region->count));
}

static size_t region_top(struct region *region)
{
    lock_acquire(&region->lock);
    size_t top = region_top_locked(region);
    lock_release(&region->lock);
    return top;
}

/* Break lock. */
static void region_count_system(struct region *region, size_t bytes)
{
    region->system += bytes;
    region->system_peak = max_size(region->system_peak, region->system);
}

/* libc's sbrk is no atomic step: of two threads that move the break at once, both can be told that the same memory is
   theirs. Between our own threads there is the break lock. Whoever else moves it (libc's malloc, for modules opened
   with RTLD_DEEPBIND) does not take it: once there are such, and threads, the break is left to them. Break lock. */
static bool break_left_to_others(struct region *region)
{
    if (region->shared && !os_single_threaded())
        region->blocked = true;
    return region->blocked;
}

/* Moves the break up so that the top has at least `slices` free ones. Break lock. */
COLD bool break_grow(struct region *region, size_t slices, size_t pad)
{
    for (int attempt = 0; attempt < 8 && !region->blocked; attempt++) {
        uintptr_t now = os_break();
        size_t count = load_relaxed(region->count), top = 0;
        if (now == 0)
            return false;
        if (now < region->end) {
            region->blocked = true; /* somebody moved the break below our blocks: never grow over what is left */
            return false;
        }
        region->shared |= region->end != 0 && now != region->end;
        if (break_left_to_others(region))
            return false;
        uintptr_t from; /* where our new slices begin */
        if (now == region->end) {
            from = region->base + (count << SLICE_SHIFT);
            top = region_top(region);
        } else {
            from = align_up(now, SLICE_SIZE); /* somebody else's bytes are below */
        }
        size_t lacking = slices > top ? slices - top : 0;
        size_t from_index = (from - region->base) >> SLICE_SHIFT;
        if (lacking == 0)
            return true;
        if (lacking > region->capacity || from_index > region->capacity - lacking)
            return false;
        /* Our end is a page's: in a page that we shared, somebody's passing use of the break would leave its bytes. */
        size_t need = from + (lacking << SLICE_SHIFT) - now;
        size_t bytes = need;
        if (pad <= REQUEST_MAX - need - os_page_size)
            bytes = align_up(now + need + pad, os_page_size) - now;
        size_t to = min_size((now + bytes - region->base) >> SLICE_SHIFT, region->capacity);
        if (!region_open_map(region, to))
            return false;
        uintptr_t old = os_break_move((intptr_t)bytes);
        if (old == 0 && bytes != need) {
            bytes = need;
            to = (now + bytes - region->base) >> SLICE_SHIFT;
            old = os_break_move((intptr_t)bytes);
        }
        if (old == 0)
            return false;
        if (old != now) { /* somebody was faster: undo if nobody was faster still, and look again */
            if (os_break() == old + bytes)
                os_break_move(-(intptr_t)bytes);
            continue;
        }
        if (os_break() != old + bytes) { /* somebody moved it at this moment: whose it is cannot be known */
            region->shared = region->blocked = true;
            return false;
        }
        /* Theirs first: what is not described below our end, a child forked here takes for ours. */
        if (from_index > count)
            region_append(region, from_index, from_index);
        region->end = now + bytes;
        region_count_system(region, bytes);
        region_append(region, from_index, to);
        return true;
    }
    return false;
}

/* Opens more of a reserved region. Break lock. */
RARE bool reserve_grow(struct region *region, size_t slices, size_t pad)
{
    size_t count = load_relaxed(region->count), top = region_top(region);
    size_t lacking = slices > top ? slices - top : 0;
    if (lacking == 0)
        return true;
    if (lacking > region->capacity - count)
        return false;
    size_t to = count + lacking + min_size(pad >> SLICE_SHIFT, region->capacity - count - lacking);
    if (!region_open_map(region, to))
        return false;
    if (!os_commit(region->base + (count << SLICE_SHIFT), (to - count) << SLICE_SHIFT)) {
        to = count + lacking;
        if (!os_commit(region->base + (count << SLICE_SHIFT), (to - count) << SLICE_SHIFT))
            return false;
    }
    region->end = region->base + (to << SLICE_SHIFT);
    region_count_system(region, (to - count) << SLICE_SHIFT);
    region_append(region, count, to);
    return true;
}

RARE bool region_is_foreign(uintptr_t from, size_t bytes)
{
    struct region *region = &regions[0];
    uintptr_t to;
    if (load_acquire(region_count) == 0 || __builtin_add_overflow(from, bytes, &to))
        return false;
    lock_acquire(&region->growth);
    size_t count = load_relaxed(region->count);
    uintptr_t described = region->base + (count << SLICE_SHIFT);
    /* Below our end, the slice that it cuts has no descriptor, and is ours. */
    bool foreign = from >= region->first && to <= os_break() &&
                   (to <= described || max_size(from, described) >= region->end);
    for (uintptr_t at = align_down(from, SLICE_SIZE); foreign && at < min_size(to, described); at += SLICE_SIZE)
        foreign = run_kind(&region->map[(at - region->base) >> SLICE_SHIFT]) == RUN_FOREIGN;
    lock_release(&region->growth);
    return foreign;
}

/* Makes room for `request` at the top. False: this region cannot grow that far now. */
static bool region_grow(struct region *region, const struct run_request *request)
{
    size_t slices = request->slices + request->alignment - 1;
    lock_acquire(&region->growth);
    size_t pad = request->many ? max_size(region_policy.many_pad, region_policy.top_pad) : region_policy.top_pad;
    bool grown = region->is_break ? break_grow(region, slices, pad) : reserve_grow(region, slices, pad);
    lock_release(&region->growth);
    return grown;
}

/* A reserved region of `size` bytes with room for `request` made in it. False, and nothing changed, if the address
   space or the memory is not there. Regions' lock. */
static bool region_reserve(struct region *region, size_t size, const struct run_request *request)
{
    size_t capacity = size >> SLICE_SHIFT;
    size_t front = map_reservation(capacity);
    uintptr_t address = os_reserve(front + size + SLICE_SIZE);
    if (address == 0)
        return false;
    region->base = align_up(address + front, SLICE_SIZE);
    if (region_open(region, address, capacity) && region_grow(region, request))
        return true;
    os_unmap(address, front + size + SLICE_SIZE);
    memset((void *)region, 0, sizeof *region);
    return false;
}

/* Adds a region that has room for `request`: regions[0] over the break at first, then reserved ones, each as large
   as all before it if the address space allows. `seen`: the regions that had no room; if there are more by now, they
   come first. False if there is no memory. */
COLD bool region_create(const struct run_request *request, size_t seen)
{
    bool created = false;
    lock_acquire(&regions_lock);
    size_t count = load_relaxed(region_count);
    struct region *region = &regions[count];
    size_t least = request->slices + request->alignment;
    if (count != seen) {
        lock_release(&regions_lock);
        return true;
    }
    if (count == 0) {
        created = region_open_break(region);
    } else if (count < REGION_MAX && least < NO_SLICE / 2) {
        least = max_size(least << SLICE_SHIFT, FALLBACK_MIN);
        for (size_t size = FALLBACK_FIRST << min_size(count - 1, 14); !created && size > least; size /= 4)
            created = region_reserve(region, size, request);
        created = created || region_reserve(region, least, request);
    }
    if (created)
        store_release(region_count, count + 1);
    lock_release(&regions_lock);
    return created;
}

/* In a forked child: leaves the break alone if it cannot be believed. If the thread that was growing or trimming it
   does not exist here (`lost`), takes what that had announced and not done, or done and not announced, for what it is. */
static void break_after_fork(struct region *region, bool lost)
{
    if (region->blocked || region->end == 0)
        return;
    region->blocked = !os_break_after_fork(lost);
    if (region->blocked || !lost)
        return;
    uintptr_t now = os_break();
    size_t count = load_relaxed(region->count);
    if (now < region->end && now >= region->base + (count << SLICE_SHIFT))
        region->end = now; /* trimmed */
    size_t ours = min_size((region->end - region->base) >> SLICE_SHIFT, region->capacity);
    if (ours > count && now >= region->end) {
        dirty_set(region, count, ours - count);
        region_append(region, count, ours); /* about to be trimmed */
    }
}

/* ---- giving back ---- */

/* What may be kept free beside the live memory: the share-th part of it, and so many slices at least. */
struct budget {
    size_t share, least;
};
static const struct budget run_budget = {.share = 8, .least = 1 * MIB / SLICE_SIZE};
static const struct budget slab_budget = {.share = 16, .least = PURGE_BUDGET_LEAST / SLICE_SIZE};
/* How much is taken for live at least where more was live before: so small programs may keep 8 MiB of runs. */
enum { BUDGET_LIVE_LEAST = 64 * MIB / SLICE_SIZE };

/* Slices in use, but for what slabs have given back of them. */
static size_t region_live(const struct region *region)
{
    size_t taken = load_relaxed(region->count) - load_relaxed(region->free_slices);
    return taken - min_size(taken, load_relaxed(region->hollow) >> SLICE_SHIFT);
}

static size_t region_regret(struct region *region)
{
    return regret_now(&region->regret, max_size(region_live(region), BUDGET_LIVE_LEAST / run_budget.share));
}

/* Is so much free at the top that it is trimmed? Region lock. */
static bool top_is_due(struct region *region)
{
    size_t top = region_top_locked(region), threshold = load_relaxed(region_policy.trim_threshold) >> SLICE_SHIFT;
    if (region_policy.trim_explicit)
        return top >= max_size(threshold, 1);
    /* More than the pad beyond it, so that growth by the pad is not trimmed at once. */
    threshold += max_size(region_policy.many_pad, region_policy.top_pad) >> SLICE_SHIFT;
    return top >= max_size(threshold, 1) && top >= region_live(region) / run_budget.share + region_regret(region);
}

/* Lowers the break, if it is still where we left it, to `pad` bytes above the last live slice. Break lock. */
RARE bool break_trim(struct region *region, size_t pad)
{
    if (break_left_to_others(region) || os_break() != region->end)
        return false;
    lock_acquire(&region->lock);
    size_t count = load_relaxed(region->count), top = region_top_locked(region);
    size_t first = count - top;
    uintptr_t bottom = region->base + (first << SLICE_SHIFT);
    uintptr_t end = pad < region->end - bottom ? align_up(bottom + pad, os_page_size) : region->end;
    size_t kept = (end - region->base) >> SLICE_SHIFT;
    if (end >= region->end) {
        lock_release(&region->lock);
        return false;
    }
    if (top != 0 && kept < count) {
        free_run_remove(region, first, top);
        store_release(region->map[first].run, kept > first ? RUN_WORD(RUN_FREE, kept - first) : 0);
        store_release(region->count, kept);
        if (kept > first)
            free_run_insert(region, first, kept - first, dirty_count(region, first, kept - first));
        for (size_t i = kept; i < count; i++)
            store_release(region->map[i].run, RUN_WORD(RUN_INSIDE, 0));
    }
    lock_release(&region->lock);
    /* Once more at the last moment: who moved it since then would lose memory. */
    bool moved = os_break() == region->end && os_break_move(-(intptr_t)(region->end - end)) != 0;
    if (moved) {
        /* Whole slices above the new end will be fresh; the one that the end cuts keeps its bytes below it. */
        size_t fresh = (align_up(end, SLICE_SIZE) - region->base) >> SLICE_SHIFT;
        size_t last = (align_up(region->end, SLICE_SIZE) - region->base) >> SLICE_SHIFT;
        lock_acquire(&region->lock);
        if (fresh < min_size(last, region->capacity))
            dirty_clear(region, fresh, min_size(last, region->capacity) - fresh);
        regret_give(&region->regret, count - kept);
        region->discarded += region->end - end;
        lock_release(&region->lock);
        region->system -= region->end - end;
        region->end = end;
    } else if (kept < count) {
        region_append(region, kept, count);
    }
    return moved;
}

/* Gives the dirty slices of the oldest free run back, if there are more than `keep`. How many went back. */
LAST static size_t region_purge_oldest(struct region *region, size_t keep)
{
    lock_acquire(&region->lock);
    uint32_t index = region->age_oldest;
    if (index == NO_SLICE || region->dirty_slices <= keep || region->detached != 0) {
        lock_release(&region->lock);
        return 0;
    }
    struct slice *head = &region->map[index];
    size_t length = run_length(head), dirty = head->dirty;
    free_run_remove(region, index, length);
    store_release(head->run, RUN_WORD(RUN_PURGING, length));
    region->detached = 1;
    region->purger = lock_self();
    lock_release(&region->lock);

    /* The run is ours alone; its dirty bits change under the lock because they share words with its neighbours'. */
    for (size_t i = index, end = index + length; i < end;) {
        size_t stretch = i;
        lock_acquire(&region->lock);
        while (i < end && !dirty_test(region, i))
            stretch = ++i;
        while (i < end && dirty_test(region, i))
            i++;
        lock_release(&region->lock);
        if (i == stretch)
            break;
        if (os_discard(region->base + (stretch << SLICE_SHIFT), (i - stretch) << SLICE_SHIFT)) {
            lock_acquire(&region->lock);
            dirty_clear(region, stretch, i - stretch);
            lock_release(&region->lock);
        } else {
            store_relaxed(memory_locked, true);
        }
    }

    lock_acquire(&region->lock);
    region->detached = 0;
    region->purger = NULL;
    size_t left = dirty_count(region, index, length);
    free_run_join(region, index, length, left);
    regret_give(&region->regret, dirty - left);
    region->discarded += (dirty - left) << SLICE_SHIFT;
    lock_release(&region->lock);
    return dirty - left;
}

static size_t regions_live(void)
{
    size_t live = 0;
    for (size_t i = 0; i < load_acquire(region_count); i++)
        live += region_live(&regions[i]);
    return live;
}

/* The most slices that were ever live, mappings included, of what was seen here. */
static _Atomic size_t live_most;

/* By how many slices less are live now, if the regions have `in_regions`, and had so many more a moment ago. */
static size_t live_below(size_t in_regions, size_t freed)
{
    size_t live = in_regions + (load_relaxed(live_beside) >> SLICE_SHIFT);
    if (live + freed > load_relaxed(live_most))
        store_relaxed(live_most, live + freed);
    size_t most = load_relaxed(live_most);
    return most - min_size(most, live);
}

/* Slices that may be kept free beside so many live ones; `below`: so many fewer than there were. */
static size_t budget_beside(size_t live, size_t below, const struct budget *budget)
{
    size_t least = budget->least;
    if (region_policy.trim_explicit)
        least = max_size(least, load_relaxed(region_policy.trim_threshold) >> SLICE_SHIFT);
    return max_size(max_size(least, live / budget->share), min_size(below, BUDGET_LIVE_LEAST / budget->share));
}

/* How many dirty free slices the region may keep. Region lock. */
static size_t purge_budget(struct region *region, size_t below)
{
    return budget_beside(region_live(region), below, &run_budget) + region_regret(region);
}

/* What is kept of it once it was crossed. */
static size_t budget_rest(size_t budget) { return budget - budget / 4; }

static bool budget_is_crossed(const struct region *region, size_t budget)
{
    return region->dirty_slices > (region->purging ? budget_rest(budget) : budget);
}

/* The number of dirty slices to purge down to; SIZE_MAX: nothing is to be purged. Region lock. */
static size_t purge_due(struct region *region, size_t freed)
{
    size_t below = live_below(regions_live(), freed); /* at each release, so that no peak is missed */
    if (likely(!budget_is_crossed(region, budget_beside(0, below, &run_budget)))) { /* most need not ask for the rest */
        region->purging = false;
        return SIZE_MAX;
    }
    size_t budget = purge_budget(region, below);
    region->purging = budget_is_crossed(region, budget);
    return region->purging && region->detached == 0 ? budget_rest(budget) : SIZE_MAX;
}

static bool unprompted_return(void)
{
    return load_relaxed(region_policy.trim_threshold) != SIZE_MAX && !load_relaxed(memory_locked);
}

static size_t region_purge_budget(void)
{
    if (!unprompted_return())
        return SIZE_MAX;
    size_t live = regions_live();
    return budget_beside(live, live_below(live, 0), &slab_budget) << SLICE_SHIFT;
}

static struct region_due region_due(struct region *region, size_t freed)
{
    struct region_due due = {.trim = false, .keep = SIZE_MAX};
    if (!unprompted_return())
        return due;
    due.trim = region->is_break && top_is_due(region);
    due.keep = purge_due(region, freed);
    return due;
}

/* Does it, outside the region's lock: trims the top, purges the oldest free runs. */
static void region_return_memory(struct region *region, struct region_due due)
{
    if (due.trim && lock_try(&region->growth)) {
        break_trim(region, region_policy.top_pad);
        lock_release(&region->growth);
    }
    if (due.keep == SIZE_MAX)
        return;
    /* So much at a time that nobody waits for long; the next release goes on. */
    enum { STEP_SLICES = 128 };
    for (size_t given = 0, more = 1; more != 0 && given < STEP_SLICES; given += more)
        more = region_purge_oldest(region, due.keep);
}

static void regions_settle(void)
{
    for (size_t i = 0; i < load_acquire(region_count); i++) {
        struct region *region = &regions[i];
        if (load_relaxed(region->free_slices) <= run_budget.least)
            continue;
        lock_acquire(&region->lock);
        struct region_due due = region_due(region, 0);
        lock_release(&region->lock);
        region_return_memory(region, due);
    }
}

static bool region_trim_all(size_t pad)
{
    bool any = false;
    store_relaxed(memory_locked, false);
    for (size_t i = 0; i < load_acquire(region_count); i++) {
        struct region *region = &regions[i];
        if (region->is_break) {
            lock_acquire(&region->growth);
            any |= break_trim(region, pad);
            lock_release(&region->growth);
        }
        while (region_purge_oldest(region, 0) != 0)
            any = true;
    }
    return any;
}

/* ---- fork ---- */

RARE void region_after_fork(void)
{
    size_t count = load_relaxed(region_count);
    if (lock_break_in_child(&regions_lock) && count < REGION_MAX)
        memset((void *)&regions[count], 0, sizeof regions[count]); /* half made; its addresses stay reserved */
    for (size_t i = 0; i < count; i++) {
        struct region *region = &regions[i];
        bool growth_broken = lock_break_in_child(&region->growth);
        bool broken = lock_break_in_child(&region->lock);
        bool purge_lost = region->detached != 0 && region->purger != lock_self();
        if (broken || (purge_lost && !lock_is_mine(&region->lock))) {
            region_rebuild(region);
        } else if (purge_lost) { /* ours is half changed, and goes on; the run that was being purged is lost */
            region->detached = 0;
            region->purger = NULL;
        }
        if (region->is_break && !lock_is_mine(&region->growth)) /* ours is half moved, and goes on */
            break_after_fork(region, growth_broken);
    }
}
