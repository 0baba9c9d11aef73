/* slab.c: see slab.h. */
#include "slab.h"

static void link_key_init(struct link_key *key, uint64_t random)
{
    uint64_t highest = (uint64_t)1 << (LINK_KEY_BITS - 1);
    key->encode = random % highest | highest | 1;
    uint64_t inverse = key->encode; /* right to 3 bits; each step doubles them */
    for (int i = 0; i < 5; i++)
        inverse *= 2 - key->encode * inverse;
    key->decode = inverse;
}

INLINE block_word *slab_block(const struct slice *slab, uint64_t link)
{
    return (block_word *)(slab->origin + LINK_PLACE(link));
}

/* ---- a slab's life ---- */

static size_t slab_pages(const struct slice *slab) { return slab_class(slab)->slices * SLICE_SIZE / os_page_size; }

/* The run's last slice, if it is one more than the slab needs. */
static bool slab_guard(const struct slice *slab)
{
    size_t bytes = slab_class(slab)->slices * SLICE_SIZE;
    return run_length(slab) << SLICE_SHIFT > bytes && os_guard(slab_start(slab) + bytes, SLICE_SIZE);
}

static void slab_create(struct slice *head, unsigned class, size_t stride, struct arena *owner, uint32_t owner_id,
                        bool zero)
{
    const struct size_class *row = &size_classes[class];
    head->origin = slice_address(region_of_slice(head), head) - BLOCK_ALIGNMENT;
    store_relaxed(head->head, LINK_EMPTY);
    head->wake = WAKE_NEVER;
    head->reciprocal = row->reciprocal;
    store_relaxed(head->limit, 0);
    head->size_class = (uint8_t)class;
    head->stride = (uint8_t)stride;
    head->state = SLAB_OPEN;
    store_relaxed(head->formed, 0);
    head->clean = ~0ull >> (64 - slab_pages(head));
    store_relaxed(head->unformed, head->clean);
    if (!zero)
        head->clean = 0;
    head->pending_next = head->next = head->previous = NULL;
    head->noted_free = head->looked_free = 0;
    head->purged = head->sparse = head->stays = false;
    head->last_owner = (uint16_t)owner_id;
    store_relaxed(head->orphan, 0);
    store_relaxed(head->remote, REMOTE_OWNED_BY(owner_id, REMOTE_WAKE_NEVER));
    head->features = load_relaxed(hardened_features);
    if (unlikely(head->features != 0) && !slab_guard(head))
        head->features &= (uint8_t)~HARDENED_GUARD;
    for (size_t i = 1; i < run_length(head); i++)
        head[i].back = i * sizeof *head;
    store_relaxed(head->owner, owner);
    run_publish(head, RUN_SLAB);
}

/* Tells the region how much of a purged slab is not there, before and after a change. */
static void slab_note_hollow(struct slice *slab, uint64_t before, uint64_t after)
{
    intptr_t pages = __builtin_popcountll(after) - __builtin_popcountll(before);
    atomic_fetch_add_explicit(&region_of_slice(slab)->hollow, (size_t)pages * os_page_size, memory_order_relaxed);
}

static bool slab_block_is_unformed(const struct slice *slab, size_t number);

/* The same as when a block is handed out again: of a slab of which all blocks are free, nothing was written to. */
RARE void slab_check_zero(struct slice *slab)
{
    const struct size_class *row = slab_class(slab);
    for (size_t i = 0; i < row->capacity; i++) {
        const block_word *block = (const block_word *)(slab_start(slab) + i * row->block_size);
        if (!slab_block_is_unformed(slab, i) && !(block[1] == 0 && memory_is_zero(block + 2, row->block_size - 16)))
            diag_fatal("write after free", block);
    }
}

/* The end of what a slab has for its features; false if its guard stays. */
RARE bool slab_end_features(struct slice *slab)
{
    if (slab->features & HARDENED_ZERO)
        slab_check_zero(slab);
    return !(slab->features & HARDENED_GUARD) ||
           os_unguard(slab_start(slab) + slab_class(slab)->slices * SLICE_SIZE, SLICE_SIZE);
}

static void slab_destroy(struct slice *slab)
{
    if (unlikely(slab->features != 0) && !slab_end_features(slab))
        return; /* what cannot be opened again is handed out to nobody: the slab stays, in no list */
    if (slab->purged)
        slab_note_hollow(slab, load_relaxed(slab->unformed), 0);
    run_in_hand = true; /* before: as in run_publish */
    run_publish(slab, RUN_DETACHED);
    store_relaxed(slab->owner, NULL);
    store_relaxed(slab->remote, 0);
    slab->state = SLAB_NOBODY;
    for (size_t i = 1; i < run_length(slab); i++)
        slab[i].back = 0;
    region_release(slab);
}

/* ---- forming ----
   A block belongs to the page in which it starts. The first pages of a class's first slabs are formed one at a time, so
   that a class which is hardly used stays small; the more of the slab is in use, and the more slabs there are, the more
   pages are formed at once. A page in which no block starts goes with the block that covers it. */

/* Number of the first block that starts at or above the page. */
static size_t page_first_block(const struct slice *slab, size_t page)
{
    size_t size = slab_class(slab)->block_size;
    return min_size((page * os_page_size + size - 1) / size, slab_class(slab)->capacity);
}

/* The page in which block `number` starts; behind the last block, the number of pages. */
static size_t block_first_page(const struct slice *slab, size_t number)
{
    const struct size_class *row = slab_class(slab);
    return number < row->capacity ? number * row->block_size / os_page_size : slab_pages(slab);
}

static bool slab_block_is_unformed(const struct slice *slab, size_t number)
{
    return load_relaxed(slab->unformed) >> block_first_page(slab, number) & 1;
}

enum { FORM_POPULATE_LEAST = 4, FORM_DIRTY_LEAST = 16, FORM_RANDOM_LEAST = 8, FORM_RANDOM_MAX = 512 };

/* Puts the blocks [first, end), at most FORM_RANDOM_MAX, on the free list `head` in random order; the list that comes
   of it. */
COLD uint64_t slab_link_random(const struct slice *slab, uint64_t head, size_t first, size_t end)
{
    uint16_t order[FORM_RANDOM_MAX];
    chance_seed_once();
    for (size_t i = 0; i < end - first; i++) {
        size_t other = chance_below(i + 1);
        order[i] = (uint16_t)i;
        order[i] = order[other];
        order[other] = (uint16_t)i;
    }
    for (size_t i = 0; i < end - first; i++) {
        size_t offset = (first + order[i]) * slab_class(slab)->block_size;
        *(block_word *)(slab_start(slab) + offset) = head * process_key.encode;
        head = link_pushed(head, offset);
    }
    return head;
}

/* Links the blocks [first, end) to a list, in address order unless it is to be random; its head. */
static uint64_t slab_link(const struct slice *slab, size_t first, size_t end)
{
    size_t size = slab_class(slab)->block_size;
    uint64_t head = LINK_EMPTY;
    if (unlikely(slab->features & HARDENED_RANDOM)) {
        for (size_t from; end > first; end = from) {
            from = end - min_size(end - first, FORM_RANDOM_MAX);
            head = slab_link_random(slab, head, from, end);
        }
        return head;
    }
    for (size_t i = end; i > first; i--) {
        size_t offset = (i - 1) * size;
        *(block_word *)(slab_start(slab) + offset) = head * process_key.encode;
        head = link_pushed(head, offset);
    }
    return head;
}

static uint64_t page_mask(size_t from, size_t to) { return (~0ull >> (64 - (to - from))) << from; }

static bool slab_form(struct slice *slab, bool *clean)
{
    size_t size = slab_class(slab)->block_size;
    uint64_t unformed = load_relaxed(slab->unformed);
    if (unformed == 0)
        return false;
    size_t page = (size_t)__builtin_ctzll(unformed);
    size_t batch = 1 + slab->formed * size / os_page_size / 4;
    if (!slab->purged)
        batch = max_size(batch, slab->stride);
    if (!(slab->clean >> page & 1) && !slab->purged) /* was another run's a moment ago, and is resident */
        batch = max_size(batch, FORM_DIRTY_LEAST * size / os_page_size);
    if (unlikely(slab->features & HARDENED_RANDOM)) /* a page at a time, but not less than makes an order */
        batch = max_size(1, FORM_RANDOM_LEAST * size / os_page_size);
    /* Pages that follow each other form together, so that the list runs through them in address order. */
    size_t last = page + 1;
    while (last < page + batch && last < 64 && unformed >> last & 1)
        last++;
    size_t first_block = page_first_block(slab, page);
    size_t end_block = max_size(page_first_block(slab, last), first_block + 1);
    uint64_t pages = page_mask(page, block_first_page(slab, end_block));
    /* Fresh pages, and linking will write to each. */
    if (last - page >= FORM_POPULATE_LEAST && size <= os_page_size && (slab->clean & pages) == pages)
        os_populate(slab_start(slab) + page * os_page_size, (last - page) * os_page_size);
    if (unlikely(slab->features & HARDENED_ZERO) && (slab->clean & pages) != pages)
        memset((void *)(slab_start(slab) + first_block * size), 0, (end_block - first_block) * size);
    uint64_t head = slab_link(slab, first_block, end_block);
    *clean = slab->clean >> page & 1;
    store_relaxed(slab->unformed, unformed & ~pages);
    slab->clean &= ~pages;
    store_relaxed(slab->formed, (uint16_t)(slab->formed + (end_block - first_block)));
    if (slab->purged)
        slab_note_hollow(slab, unformed, unformed & ~pages);
    if ((unformed & ~pages) == 0)
        slab->purged = false;
    /* Until pages are purged, the formed blocks are the first ones. */
    if (!slab->purged)
        store_relaxed(slab->limit, class_limit(slab_class(slab),
                                               (unformed & ~pages) == 0 ? slab_class(slab)->capacity : end_block));
    store_release(slab->head, head);
    return true;
}

/* ---- owners and remote frees ---- */

static bool slab_take_remote(struct slice *slab)
{
    uint64_t remote = load_relaxed(slab->remote);
    do {
        if (REMOTE_COUNT(remote) == 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&slab->remote, &remote, remote & ~REMOTE_LIST_BITS,
                                                    memory_order_acquire, memory_order_relaxed));
    store_release(slab->head, REMOTE_LIST(remote));
    return true;
}

INLINE bool slab_push_remote(struct slice *slab, uint64_t *remote, void *block, uintptr_t offset, bool *notify)
{
    uint64_t count = REMOTE_COUNT(*remote) + 1;
    *notify = count >= REMOTE_WAKE(*remote) && !(*remote & REMOTE_PENDING);
    *(block_word *)block = REMOTE_LIST(*remote) * process_key.encode;
    uint64_t pushed = (*remote & ~REMOTE_LIST_BITS) | count << LINK_PLACE_BITS | LINK_PLACE_OF(offset) |
                      (*notify ? REMOTE_PENDING : 0);
    return atomic_compare_exchange_weak_explicit(&slab->remote, remote, pushed, memory_order_acq_rel,
                                                 memory_order_acquire);
}

static bool slab_set_remote_wake(struct slice *slab, uint64_t remote, uint64_t wake, bool drained)
{
    uint64_t changed = (remote & ~(REMOTE_WAKE_NEVER << REMOTE_WAKE_SHIFT)) | wake << REMOTE_WAKE_SHIFT;
    if (drained)
        changed &= ~REMOTE_PENDING;
    return changed == remote || atomic_compare_exchange_strong_explicit(&slab->remote, &remote, changed,
                                                                        memory_order_acq_rel, memory_order_relaxed);
}

static void slab_merge_remote(struct slice *slab)
{
    uint64_t kept = load_relaxed(slab->head);
    if (kept == LINK_EMPTY) {
        slab_take_remote(slab);
        return;
    }
    uint64_t remote = load_relaxed(slab->remote);
    while (!atomic_compare_exchange_weak_explicit(&slab->remote, &remote, remote & ~REMOTE_LIST_BITS,
                                                  memory_order_acquire, memory_order_relaxed))
        ;
    uint64_t link = REMOTE_LIST(remote);
    while (link < LINK_EMPTY) {
        block_word *block = slab_block(slab, link);
        uint64_t next = *block * process_key.decode;
        if (unlikely(next <= link))
            diag_fatal("corrupted free list", block);
        *block = kept * process_key.encode;
        kept = link_pushed(kept, LINK_OFFSET(link));
        link = next;
    }
    store_release(slab->head, kept);
}

static bool slab_claim(struct slice *slab, struct arena *owner, uint32_t owner_id, uint64_t wake)
{
    uint64_t nobody = 0;
    if (!atomic_compare_exchange_strong_explicit(&slab->remote, &nobody, REMOTE_OWNED_BY(owner_id, wake),
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    slab->stays = slab->last_owner == (uint16_t)owner_id;
    slab->last_owner = (uint16_t)owner_id;
    store_relaxed(slab->owner, owner);
    return true;
}

static size_t slab_count_formed(const struct slice *slab)
{
    size_t formed = 0;
    for (size_t i = 0; i < slab_class(slab)->capacity; i++)
        formed += !slab_block_is_unformed(slab, i);
    return formed;
}

static void slab_settle(struct slice *slab)
{
    store_relaxed(slab->formed, (uint16_t)slab_count_formed(slab));
    slab_note_hollow(slab, slab->purged ? load_relaxed(slab->unformed) : 0, load_relaxed(slab->unformed));
    slab->purged = load_relaxed(slab->unformed) != 0; /* perhaps: then frees had better look */
    store_relaxed(slab->limit, slab->purged ? 0 : slab_class(slab)->limit);
    slab->noted_free = slab->looked_free = 0;
}

static bool slab_disown(struct slice *slab, struct arena *owner)
{
    uint64_t remote = load_relaxed(slab->remote);
    if (REMOTE_COUNT(remote) != 0 || remote & REMOTE_PENDING)
        return false;
    slab->state = SLAB_NOBODY;
    store_relaxed(slab->owner, NULL); /* before the word says so, or the next owner's name could be overwritten */
    if (atomic_compare_exchange_strong_explicit(&slab->remote, &remote, 0, memory_order_release,
                                                memory_order_relaxed))
        return true;
    store_relaxed(slab->owner, owner);
    return false;
}

/* Searches one list. The links may change under a reader that is not the owner; each is checked before it is used,
   and a block that is live throughout is never linked to. */
static bool list_contains(const struct slice *slab, uint64_t link, const void *block)
{
    while (link < LINK_EMPTY) {
        const block_word *at = slab_block(slab, link);
        if (at == block)
            return true;
        uint64_t next = *at * process_key.decode;
        if (next <= link)
            return false;
        link = next;
    }
    return false;
}

static bool slab_lists_contain(struct slice *slab, const void *block)
{
    return list_contains(slab, load_acquire(slab->head), block) ||
           list_contains(slab, REMOTE_LIST(load_acquire(slab->remote)), block);
}

static bool slab_block_is_free(struct slice *slab, const void *block)
{
    return slab_block_is_unformed(slab, ((uintptr_t)block - slab_start(slab)) / slab_class(slab)->block_size) ||
           (slab_double_free_candidate(block) && slab_lists_contain(slab, block));
}

/* ---- giving pages back ---- */

/* Bits of the blocks on the free list. */
static void slab_mark_free(const struct slice *slab, uint64_t *bits)
{
    size_t size = slab_class(slab)->block_size;
    uint64_t link = load_relaxed(slab->head);
    while (link < LINK_EMPTY) {
        size_t number = LINK_OFFSET(link) / size;
        bits[number / 64] |= 1ull << number % 64;
        uint64_t next = *slab_block(slab, link) * process_key.decode;
        if (unlikely(next <= link))
            diag_fatal("corrupted free list", slab_block(slab, link));
        link = next;
    }
}

/* Formed pages that hold bytes of blocks, and none of a live one. */
static uint64_t slab_idle_pages(const struct slice *slab, const uint64_t *bits)
{
    size_t size = slab_class(slab)->block_size;
    uint64_t idle = 0;
    for (size_t page = 0, pages = slab_pages(slab); page < pages; page++) {
        if (load_relaxed(slab->unformed) >> page & 1)
            continue;
        size_t block = page * os_page_size / size;
        size_t end = page_first_block(slab, page + 1);
        bool live = block == slab_class(slab)->capacity; /* behind the last block: never touched */
        for (; block < end && !live; block++)
            live = !(bits[block / 64] >> block % 64 & 1) && !slab_block_is_unformed(slab, block);
        if (!live)
            idle |= 1ull << page;
    }
    return idle;
}

/* Makes the free list anew, in address order, without the blocks that start in `pages`, which become unformed. A page
   in which no block starts can be idle while the block that covers it stays on the list: it stays formed. */
LAST static void slab_unform(struct slice *slab, uint64_t pages, const uint64_t *bits)
{
    const struct size_class *row = slab_class(slab);
    uint64_t head = LINK_EMPTY, unformed = 0;
    size_t gone = 0;
    store_release(slab->head, LINK_EMPTY); /* a child forked half-way must not follow old links into new ones */
    for (size_t i = row->capacity; i-- > 0;) {
        if (!(bits[i / 64] >> i % 64 & 1))
            continue;
        size_t first = block_first_page(slab, i);
        if (pages >> first & 1) {
            unformed |= page_mask(first, max_size(first + 1, block_first_page(slab, i + 1)));
            gone++;
            continue;
        }
        size_t offset = i * row->block_size;
        *(block_word *)(slab_start(slab) + offset) = head * process_key.encode;
        head = link_pushed(head, offset);
    }
    uint64_t before = load_relaxed(slab->unformed);
    store_relaxed(slab->unformed, before | unformed);
    slab_note_hollow(slab, slab->purged ? before : 0, before | unformed);
    slab->purged = true;
    store_relaxed(slab->limit, 0);
    store_relaxed(slab->formed, (uint16_t)(slab->formed - gone));
    store_release(slab->head, head);
}

LAST static size_t slab_purge(struct slice *slab)
{
    if (slab_free_count(slab) == 0)
        return 0;
    if (slab->looked_free == slab_free_count(slab))
        return 0; /* as it was when last looked at, more or less */
    uint64_t bits[SLAB_SLICES_MAX * SLICE_SIZE / 64 / 64] = {0}; /* 16-byte blocks fill one slice only: 4096 bits */
    static_assert(sizeof bits * 8 >= SLICE_SIZE / 16, "a bit for every block");
    slab_mark_free(slab, bits);
    uint64_t idle = slab_idle_pages(slab, bits);
    if (idle != 0)
        slab_unform(slab, idle, bits);
    slab->looked_free = (uint16_t)slab_free_count(slab);
    if (idle == 0)
        return 0;
    size_t bytes = 0;
    for (uint64_t left = idle; left != 0;) {
        size_t page = (size_t)__builtin_ctzll(left);
        uint64_t ones = ~(left >> page);
        size_t length = ones != 0 ? (size_t)__builtin_ctzll(ones) : 64 - page;
        if (os_discard(slab_start(slab) + page * os_page_size, length * os_page_size))
            bytes += length * os_page_size;
        left &= ~page_mask(page, page + length);
    }
    return bytes;
}

/* ---- validity ---- */

VALIDITY bool slab_valid(struct slice *slab)
{
    const struct size_class *row = slab_class(slab);
    uint64_t head = load_relaxed(slab->head), remote = load_relaxed(slab->remote);
    bool valid = run_kind(slab) == RUN_SLAB && slab->back == 0 &&
                 run_length(slab) - row->slices <= (slab->features != 0) &&
                 slab_start(slab) == slice_address(region_of_slice(slab), slab) && slab->formed <= row->capacity &&
                 LINK_COUNT(head) + REMOTE_COUNT(remote) <= slab->formed &&
                 (REMOTE_ID(remote) != 0 || REMOTE_COUNT(remote) == 0);
    valid = valid && slab_count_formed(slab) == slab->formed;
    uint64_t link = head, count = LINK_COUNT(head);
    while (valid && link < LINK_EMPTY) {
        valid = LINK_OFFSET(link) % row->block_size == 0 && LINK_COUNT(link) == count-- &&
                LINK_OFFSET(link) / row->block_size < row->capacity &&
                !slab_block_is_unformed(slab, LINK_OFFSET(link) / row->block_size);
        if (valid) /* else it may lead out of the slab */
            link = *slab_block(slab, link) * process_key.decode;
    }
    return valid && count == 0 && link == LINK_EMPTY;
}
