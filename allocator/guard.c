/* guard.c: see guard.h. */
#include "guard.h"

#include "diag.h"

#include <limits.h>

/* ---- whose turn it is ---- */

static _Thread_local struct {
    uint64_t random;   /* 0: this thread has none yet */
    uint64_t taken_at; /* os_now_ns of its last sample */
} guard_thread;
static _Atomic uint64_t guard_seeds; /* what threads have begun with. Any value will do */

/* xorshift64*. */
static uint64_t guard_random(void)
{
    uint64_t n = guard_thread.random;
    if (n == 0)
        n = (atomic_fetch_add_explicit(&guard_seeds, 0x9e3779b97f4a7c15, memory_order_relaxed) ^
             (uintptr_t)lock_self()) | 1;
    n ^= n >> 12;
    n ^= n << 25;
    n ^= n >> 27;
    guard_thread.random = n;
    return n * 0x2545f4914f6cdd1d;
}

/* 1 to `most`. */
static uint32_t guard_draw(uint64_t most) { return (uint32_t)(((guard_random() >> 32) * most) >> 32) + 1; }

RARE bool guard_consider(uint32_t interval)
{
    /* The thread's first is drawn so that it is as likely as if the count had begun before the thread. */
    if (thread_sample.left != 0 && (thread_sample.left = guard_draw(interval) - 1) != 0)
        return false;
    thread_sample.left = guard_draw(2 * (uint64_t)interval - 1);
    if (interval < GUARD_PACED)
        return true;
    uint64_t now = os_now_ns();
    if (now - guard_thread.taken_at < (uint64_t)interval * GUARD_PACE_NS)
        return false;
    guard_thread.taken_at = now;
    return true;
}

static inline bool guard_is_due(size_t size)
{
    uint32_t interval = load_relaxed(guard.interval);
    return unlikely(interval != 0) && (int32_t)thread_sample.left <= 0 && size <= os_page_size &&
           guard_consider(interval);
}

/* ---- slots ---- */

#define SLOT_WORD(state, holder) ((uint64_t)(uintptr_t)(holder) << 3 | (state))
#define SLOT_STATE(word) ((enum guard_state)((word) & 7))
#define SLOT_HELD(word) (SLOT_STATE(word) == SLOT_OPENING || SLOT_STATE(word) == SLOT_CLOSING)

static enum guard_state slot_state(const struct guard_slot *slot) { return SLOT_STATE(load_acquire(slot->word)); }

static uintptr_t slot_page(const struct guard_slot *slot)
{
    return guard.base + (2 * (size_t)(slot - guard.slots) + 1) * os_page_size;
}

static uintptr_t slot_block(const struct guard_slot *slot) { return slot_page(slot) + slot->offset; }

/* The slot in whose page `address`, which is in the pool, lies; NULL if that is a guard. */
static struct guard_slot *slot_at(uintptr_t address)
{
    size_t page = (address - guard.base) / os_page_size;
    return page % 2 == 1 ? &guard.slots[page / 2] : NULL;
}

/* Lock held. */
static void queue_add(struct guard_slot *slot)
{
    guard.queue[(guard.queue_first + guard.queue_count++) % guard.slot_count] = (uint32_t)(slot - guard.slots);
}

/* The slot that has been free for longest becomes the calling thread's to open. NULL if all are open. */
static struct guard_slot *slot_take(void)
{
    struct guard_slot *slot = NULL;
    lock_acquire(&guard.lock);
    bool fresh = guard.fresh < guard.slot_count;
    if (fresh)
        slot = &guard.slots[guard.fresh];
    else if (guard.queue_count != 0)
        slot = &guard.slots[guard.queue[guard.queue_first]];
    if (slot) {
        store_release(slot->word, SLOT_WORD(SLOT_OPENING, lock_self()));
        atomic_signal_fence(memory_order_seq_cst);
        if (fresh) {
            guard.fresh++;
        } else {
            guard.queue_first = (guard.queue_first + 1) % guard.slot_count;
            guard.queue_count--;
        }
        guard.open_peak = max_size(guard.open_peak, guard.fresh - guard.queue_count);
    }
    lock_release(&guard.lock);
    return slot;
}

/* held -> free or freed */
static void slot_return(struct guard_slot *slot, enum guard_state state)
{
    lock_acquire(&guard.lock);
    store_release(slot->word, SLOT_WORD(state, NULL));
    queue_add(slot);
    lock_release(&guard.lock);
}

/* Makes its page one that can be used. Holder. */
static bool slot_open(struct guard_slot *slot)
{
    if (!slot->used) {
        slot->marked = guard.marks;
        slot->sealed = !guard.marks;
        slot->zero = slot->used = true;
    }
    if (slot->sealed && !os_commit(slot_page(slot), os_page_size))
        return false;
    slot->sealed = false;
    if (slot->marked && !os_guard_remove(slot_page(slot), os_page_size))
        return false;
    slot->marked = false;
    return true;
}

/* If neither way works (too many mappings), what is done to the block from now on goes unnoticed. Holder. */
static void slot_close(struct guard_slot *slot)
{
    uintptr_t page = slot_page(slot);
    if (guard.marks && os_guard_install(page, os_page_size)) {
        slot->marked = slot->zero = true;
        return;
    }
    slot->sealed = os_seal(page, os_page_size); /* memory that is locked takes no markers */
    slot->zero = os_discard(page, os_page_size);
}

/* ---- blocks ---- */

LAST SLOW void *guard_allocate(size_t alignment, size_t size, const void *caller, bool *zero)
{
    size_t page = os_page_size;
    if (size > page || alignment > page || load_acquire(guard.bytes) == 0)
        return NULL;
    struct guard_slot *slot = slot_take();
    if (!slot)
        return NULL;
    if (!slot_open(slot)) {
        slot_return(slot, SLOT_FREE);
        return NULL;
    }
    bool at_end = guard_random() >> 63;
    size_t offset = at_end ? align_down(page - max_size(size, 1), max_size(alignment, BLOCK_ALIGNMENT)) : 0;
    unsigned char *bytes = (unsigned char *)slot_page(slot);
    memset(bytes, guard.filler, offset);
    memset(bytes + offset + size, guard.filler, page - offset - size);
    *zero = slot->zero;
    slot->zero = false;
    slot->offset = (uint32_t)offset;
    slot->size = (uint32_t)size;
    slot->allocated_by = os_thread();
    store_relaxed(slot->release.count, 0);
    stack_capture(&slot->allocation, caller);
    atomic_fetch_add_explicit(&guard.taken, 1, memory_order_relaxed);
    store_release(slot->word, SLOT_WORD(SLOT_LIVE, NULL));
    return bytes + offset;
}

static bool is_filled(const unsigned char *bytes, size_t size)
{
    return size == 0 || (bytes[0] == guard.filler && memcmp(bytes, bytes + 1, size - 1) == 0);
}

LAST SLOW bool guard_release(void *p, const void *caller)
{
    struct guard_slot *slot = slot_at((uintptr_t)p);
    uint64_t word = SLOT_WORD(SLOT_LIVE, NULL);
    if (!atomic_compare_exchange_strong_explicit(&slot->word, &word, SLOT_WORD(SLOT_CLOSING, lock_self()),
                                                 memory_order_acq_rel, memory_order_acquire))
        return false;
    const unsigned char *page = (const unsigned char *)slot_page(slot);
    size_t end = slot->offset + slot->size;
    if (unlikely(!is_filled(page, slot->offset)))
        guard_fatal("buffer underflow, found by free", p, caller);
    if (unlikely(!is_filled(page + end, os_page_size - end)))
        guard_fatal("buffer overflow, found by free", p, caller);
    slot->freed_by = os_thread();
    stack_capture(&slot->release, caller);
    slot_close(slot);
    slot_return(slot, SLOT_FREED);
    return true;
}

LAST static enum guard_verdict guard_look_up(const void *p)
{
    const struct guard_slot *slot = slot_at((uintptr_t)p);
    enum guard_state state = slot ? slot_state(slot) : SLOT_FREE;
    if (state == SLOT_FREE || state == SLOT_OPENING)
        return GUARD_NOTHING;
    if ((uintptr_t)p == slot_block(slot))
        return state == SLOT_LIVE ? GUARD_LIVE : GUARD_FREED;
    return (uintptr_t)p - slot_block(slot) < slot->size ? GUARD_INTERIOR : GUARD_NOTHING;
}

static size_t guard_size(const void *p) { return slot_at((uintptr_t)p)->size; }

/* ---- the pool ---- */

/* Closes the whole pool by markers. Tried on its first page, so that locked memory is not filled in vain. */
RARE bool pool_mark(uintptr_t base, size_t bytes)
{
    if (os_commit(base, os_page_size) && os_guard_install(base, os_page_size) && os_commit(base, bytes) &&
        os_guard_install(base, bytes))
        return true;
    os_seal(base, bytes);
    os_discard(base, bytes);
    return false;
}

RARE bool pool_create(void)
{
    unwind_init();
    size_t count = load_relaxed(guard.slots_wanted), bytes = (2 * count + 1) * os_page_size;
    uintptr_t base = os_reserve(bytes);
    size_t table_bytes = count * (sizeof *guard.slots + sizeof *guard.queue);
    uintptr_t table = base != 0 ? os_map(align_up(table_bytes, os_page_size)) : 0;
    if (table == 0) {
        if (base != 0)
            os_unmap(base, bytes);
        return false;
    }
    guard.slots = (struct guard_slot *)table;
    guard.queue = (uint32_t *)(guard.slots + count);
    guard.slot_count = count;
    guard.base = base;
    guard.marks = pool_mark(base, bytes);
    atomic_fetch_xor_explicit(&guard_seeds, process_key.encode ^ os_now_ns(), memory_order_relaxed);
    guard.filler = (unsigned char)(guard_random() % UCHAR_MAX + 1);
    store_release(guard.bytes, bytes);
    return true;
}

RARE void guard_sample(uint32_t interval)
{
    bool ready = load_acquire(guard.bytes) != 0;
    if (interval != 0 && !ready) {
        lock_acquire(&guard.lock);
        bool first = load_relaxed(guard.bytes) == 0;
        ready = !first || pool_create();
        lock_release(&guard.lock);
        if (!ready)
            diag_warn("sample_guard: no memory for its slots", NULL);
        else if (first)
            guard_take_faults();
    }
    store_relaxed(guard.interval, ready ? interval : 0);
    thread_sample.left = UINT32_MAX; /* to be drawn */
    thread_slow(SLOW_SAMPLE, ready && interval != 0);
}

RARE struct guard_totals guard_totals(void)
{
    if (load_acquire(guard.bytes) == 0)
        return (struct guard_totals){0};
    lock_acquire(&guard.lock);
    struct guard_totals totals = {.slots = guard.slot_count,
                                  .open_peak = guard.open_peak,
                                  .taken = load_relaxed(guard.taken),
                                  .metadata_bytes = guard.slot_count * (sizeof *guard.slots + sizeof *guard.queue)};
    for (size_t i = 0; i < guard.fresh; i++)
        totals.live += slot_state(&guard.slots[i]) == SLOT_LIVE;
    lock_release(&guard.lock);
    return totals;
}

/* ---- fork ---- */

/* The order in which slots were freed is lost where the queue is made anew. What threads that do not exist here had
   in hand is closed, and goes back. */
RARE void guard_after_fork(void)
{
    bool broken = lock_break_in_child(&guard.lock);
    guard_report_after_fork();
    guard_thread.random ^= (uint64_t)os_thread() << 32 | 1; /* not the parent's turns, nor another child's */
    thread_sample.left = UINT32_MAX;
    if (load_relaxed(guard.bytes) == 0 || lock_is_mine(&guard.lock))
        return;
    if (broken && guard.fresh < guard.slot_count && slot_state(&guard.slots[guard.fresh]) != SLOT_FREE)
        guard.fresh++;
    if (broken)
        guard.queue_first = guard.queue_count = 0;
    for (size_t i = 0; i < guard.fresh; i++) {
        struct guard_slot *slot = &guard.slots[i];
        uint64_t word = load_relaxed(slot->word);
        if (SLOT_HELD(word) && word != SLOT_WORD(SLOT_STATE(word), lock_self())) {
            slot_close(slot);
            slot_return(slot, SLOT_STATE(word) == SLOT_CLOSING ? SLOT_FREED : SLOT_FREE);
        } else if (broken && (SLOT_STATE(word) == SLOT_FREE || SLOT_STATE(word) == SLOT_FREED)) {
            queue_add(slot);
        }
    }
}

VALIDITY bool guard_valid(void)
{
    if (load_relaxed(guard.bytes) == 0)
        return true;
    lock_acquire(&guard.lock);
    size_t waiting = 0;
    bool valid = guard.fresh <= guard.slot_count && guard.queue_count <= guard.fresh;
    for (size_t i = 0; i < guard.slot_count; i++) {
        const struct guard_slot *slot = &guard.slots[i];
        uint64_t word = load_relaxed(slot->word);
        enum guard_state state = SLOT_STATE(word);
        waiting += i < guard.fresh && (state == SLOT_FREE || state == SLOT_FREED);
        valid &= i < guard.fresh || (word == 0 && !slot->used);
        valid &= SLOT_HELD(word) == (word >> 3 != 0) && state <= SLOT_FREED;
        valid &= state != SLOT_LIVE || (slot->used && !slot->marked && !slot->sealed &&
                                        slot->offset + slot->size <= os_page_size);
    }
    for (size_t i = 0; i < guard.queue_count; i++) {
        const struct guard_slot *slot = &guard.slots[guard.queue[(guard.queue_first + i) % guard.slot_count]];
        valid &= slot_state(slot) == SLOT_FREE || slot_state(slot) == SLOT_FREED;
        for (size_t j = 0; j < i; j++)
            valid &= slot != &guard.slots[guard.queue[(guard.queue_first + j) % guard.slot_count]];
    }
    valid &= waiting == guard.queue_count;
    lock_release(&guard.lock);
    return valid;
}
