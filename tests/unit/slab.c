/* slab.c: the free list, forming, remote frees, purging and ownership of one slab, against a model that
   knows of every block whether it is live and what is in it. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/os.c"
#include "allocator/regret.h"
#include "allocator/classes.h"
#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"
#include "allocator/slab.c"

/* A slab never looks into its owner. */
static char owner_of_tests, other_owner;
#define OWNER ((struct arena *)&owner_of_tests)
#define OTHER ((struct arena *)&other_owner)
enum { OWNER_ID = 1, OTHER_ID = 2 };

static struct slice *slab_begin(unsigned class)
{
    if (process_key.encode == 0)
        link_key_init(&process_key, os_init());
    struct run_request request = {.slices = size_classes[class].slices, .alignment = 1, .grow = true};
    bool zero = false;
    struct slice *slab = region_take(&request, &zero);
    check(slab);
    slab_create(slab, class, 1, OWNER, OWNER_ID, zero);
    check(slab_valid(slab));
    return slab;
}

/* As the owner's refill does. */
static void *slab_next_block(struct slice *slab, bool *clean)
{
    *clean = false;
    void *block = slab_pop(slab);
    if (!block && (slab_take_remote(slab) || slab_form(slab, clean)))
        block = slab_pop(slab);
    return block;
}

static uintptr_t offset_of(const struct slice *slab, const void *block)
{
    return (uintptr_t)block - slab_start(slab);
}

/* As another thread's free does. True if it is told to notify the owner. */
static bool free_remotely(struct slice *slab, void *block)
{
    uint64_t remote = load_acquire(slab->remote);
    bool notify;
    while (!slab_push_remote(slab, &remote, block, offset_of(slab, block), &notify))
        ;
    return notify;
}

/* ---- the model ---- */

struct model {
    struct slice *slab;
    size_t size, capacity, live_count;
    unsigned char stamp[4096]; /* what fills block i; 0: it is not live */
    void *live[4096];
    struct random random;
};

static void model_begin(struct model *model, unsigned class, struct random random)
{
    *model = (struct model){.slab = slab_begin(class),
                            .size = size_classes[class].block_size,
                            .capacity = size_classes[class].capacity,
                            .random = random};
}

static size_t model_number(const struct model *model, const void *block)
{
    uintptr_t offset = offset_of(model->slab, block);
    check(offset % model->size == 0);
    check(slab_is_block(model->slab, offset) || model->slab->purged); /* then frees take the slow path */
    check(offset / model->size < model->capacity);
    return offset / model->size;
}

static bool filled_with(const void *block, unsigned char byte, size_t from, size_t to)
{
    const unsigned char *bytes = block;
    return from >= to || (bytes[from] == byte && memcmp(bytes + from, bytes + from + 1, to - from - 1) == 0);
}

static void model_verify(const struct model *model, const void *block)
{
    unsigned char stamp = model->stamp[model_number(model, block)];
    check(stamp != 0);
    check(filled_with(block, stamp, 0, model->size));
}

static void model_verify_all(const struct model *model)
{
    for (size_t i = 0; i < model->live_count; i++)
        model_verify(model, model->live[i]);
    uint64_t head = load_relaxed(model->slab->head), remote = load_relaxed(model->slab->remote);
    check(model->slab->formed == model->live_count + LINK_COUNT(head) + REMOTE_COUNT(remote));
    check(slab_valid(model->slab));
}

/* False if the slab is full. */
static bool model_allocate(struct model *model)
{
    bool clean;
    void *block = slab_next_block(model->slab, &clean);
    if (!block) {
        check(model->live_count == model->capacity);
        return false;
    }
    size_t number = model_number(model, block);
    check(model->stamp[number] == 0); /* handed out once */
    check(*(block_word *)block == 0);
    check(!clean || filled_with(block, 0, 0, model->size));
    check(!slab_double_free_candidate(block));
    model->stamp[number] = (unsigned char)(1 + random_below(&model->random, 255));
    memset(block, model->stamp[number], model->size);
    model->live[model->live_count++] = block;
    return true;
}

static void *model_take_any(struct model *model)
{
    size_t i = random_below(&model->random, model->live_count);
    void *block = model->live[i];
    model_verify(model, block);
    model->stamp[model_number(model, block)] = 0;
    model->live[i] = model->live[--model->live_count];
    return block;
}

static void model_free(struct model *model, bool remotely)
{
    void *block = model_take_any(model);
    check(!slab_block_is_free(model->slab, block));
    if (remotely)
        free_remotely(model->slab, block);
    else
        slab_push(model->slab, block, offset_of(model->slab, block));
    check(slab_double_free_candidate(block));
    check(slab_block_is_free(model->slab, block));
}

/* The slab fills and empties by turns, so that purges find every mixture of live, free and unformed pages. */
static void model_run(struct model *model, size_t steps)
{
    size_t target = model->capacity;
    for (size_t step = 0; step < steps; step++) {
        if (step % (2 * model->capacity + 16) == 0)
            target = random_below(&model->random, model->capacity + 1);
        bool allocate = model->live_count < target ? !random_one_in(&model->random, 4)
                                                   : random_one_in(&model->random, 4);
        if (allocate || model->live_count == 0)
            model_allocate(model);
        else
            model_free(model, random_one_in(&model->random, 3));
        if (random_one_in(&model->random, 50))
            slab_merge_remote(model->slab);
        if (random_one_in(&model->random, 100)) {
            check(slab_purge(model->slab) % os_page_size == 0);
            model_verify_all(model);
        }
        if (step % 256 == 0)
            check(slab_valid(model->slab));
    }
    model_verify_all(model);
}

Test(slab, random_use_of_every_class)
{
    static struct model model;
    struct random random = random_begin();
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        model_begin(&model, class, random);
        model_run(&model, 3000 + 2 * model.capacity);
        while (model.live_count > 0)
            model_free(&model, random_one_in(&random, 2));
        slab_merge_remote(model.slab);
        check(slab_free_count(model.slab) == model.slab->formed);
        slab_destroy(model.slab);
        check(region_valid(&regions[0]));
        random = model.random;
    }
}

/* ---- forming ---- */

/* A fresh slab touches its pages one after the other, and hands its blocks out in address order, each
   once. */
Test(slab, forms_every_block_once_in_address_order)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slice *slab = slab_begin(class);
        size_t size = size_classes[class].block_size, previous_formed = 0;
        for (size_t i = 0; i < size_classes[class].capacity; i++) {
            bool clean;
            void *block = slab_next_block(slab, &clean);
            check(block && offset_of(slab, block) == i * size);
            check(slab->formed > i);
            /* A batch is a page, or a quarter of what is formed already. */
            check(slab->formed - previous_formed <= 1 + os_page_size / size + previous_formed / 4 + 1 ||
                  slab->formed == previous_formed);
            previous_formed = slab->formed;
            check(slab_valid(slab));
        }
        bool clean;
        check(!slab_next_block(slab, &clean) && slab->unformed == 0);
    }
}

/* Only what is known to be zero is called clean. */
Test(slab, clean_is_zero)
{
    struct slice *slab = slab_begin(class_of(1024));
    check(slab->clean == slab->unformed); /* fresh from the break */
    bool clean;
    unsigned char *block = slab_next_block(slab, &clean);
    check(clean && filled_with(block, 0, 0, 1024));
    block = slab_next_block(slab, &clean);
    check(!clean); /* it came off the list */
    slab_destroy(slab);
    struct run_request request = {.slices = 1, .alignment = 1, .grow = true};
    bool zero;
    struct slice *run = region_take(&request, &zero);
    slab_create(run, class_of(1024), 1, OWNER, OWNER_ID, false);
    block = slab_next_block(run, &clean);
    check(block && !clean);
}

/* ---- the link ---- */

Test(slab, keys_are_inverse)
{
    struct random random = random_begin();
    for (int i = 0; i < 10000; i++) {
        struct link_key key;
        link_key_init(&key, random_next(&random));
        check(key.encode * key.decode == 1 && key.encode % 2 == 1);
    }
}

/* Every link has a code that is one at sight, and no change of up to three neighbouring bytes makes another of it. */
Test(slab, codes_of_links)
{
    struct random random = random_begin();
    for (int i = 0; i < 10000; i++) {
        struct link_key key;
        link_key_init(&key, i == 0 ? 0 : i == 1 ? ~0ull : random_next(&random));
        uint64_t links[] = {LINK_EMPTY, LINK_AT((1 << 13) - 2, 0), LINK_LOWEST | random_next(&random)};
        for (size_t j = 0; j < sizeof links / sizeof *links; j++) {
            uint64_t code = links[j] * key.encode;
            check(link_is_at(&code, &key) && code * key.decode == links[j]);
            uint64_t changed = code ^ (random_next(&random) & 0xffffff) << 8 * (random_next(&random) % 8);
            check(changed == code || !link_is_at(&changed, &key));
        }
        uint64_t other = random_next(&random) >> 8; /* whose last byte is not all ones */
        check(!link_is_at(&other, &key));
    }
}

/* Frees `count` blocks of a new slab of 64-byte blocks; blocks[count - 1] is the first of the list. */
static struct slice *slab_with_list(void **blocks, size_t count, bool remotely)
{
    struct slice *slab = slab_begin(class_of(64));
    bool clean;
    for (size_t i = 0; i < count; i++)
        blocks[i] = slab_next_block(slab, &clean);
    while (slab_pop(slab))
        ; /* so that the list holds these alone */
    for (size_t i = 0; i < count; i++)
        if (remotely)
            free_remotely(slab, blocks[i]);
        else
            slab_push(slab, blocks[i], offset_of(slab, blocks[i]));
    return slab;
}

/* Writes one byte over a link, for every byte of it and several values, and expects to be caught by `use`. */
static void expect_corruption_caught(bool remotely, void (*use)(struct slice *))
{
    enum { COUNT = 4 };
    void *blocks[COUNT];
    struct slice *slab = slab_with_list(blocks, COUNT, remotely);
    for (size_t victim = 0; victim < COUNT; victim += COUNT - 1)
        for (size_t byte = 0; byte < 8; byte++) {
            static const unsigned char changes[] = {0x01, 0x80, 0xff};
            for (size_t change = 0; change < COUNT_OF(changes); change++) {
                char expected[64];
                snprintf(expected, sizeof expected, "brim: corrupted free list: %p", blocks[victim]);
                expect_fatal(expected, {
                    ((unsigned char *)blocks[victim])[byte] ^= changes[change];
                    use(slab);
                });
            }
        }
}

static void pop_all(struct slice *slab)
{
    while (slab_pop(slab))
        ;
}

static void purge(struct slice *slab) { slab_purge(slab); }

static void merge(struct slice *slab)
{
    bool clean;
    slab_form(slab, &clean); /* with something on the free list, the merge walks */
    slab_merge_remote(slab);
}

Test(slab, corrupted_link_is_caught_by_pop) { expect_corruption_caught(false, pop_all); }
Test(slab, corrupted_link_is_caught_by_purge) { expect_corruption_caught(false, purge); }
Test(slab, corrupted_link_is_caught_by_merge) { expect_corruption_caught(true, merge); }

/* Common overwrites of a whole link: what a clearing, strings, small numbers and pointers leave. */
Test(slab, overwritten_link_is_caught)
{
    void *blocks[2];
    struct slice *slab = slab_with_list(blocks, 2, false);
    const uint64_t values[] = {0,     1,          2,          16,         0x4141414141414141,
                               ~0ull, 0xffffffff, 1ull << 31, 1ull << 18, (uintptr_t)blocks[0]};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "brim: corrupted free list: %p", blocks[1]);
        expect_fatal(expected, {
            *(block_word *)blocks[1] = values[i];
            pop_all(slab);
        });
    }
}

Test(slab, double_free_candidates)
{
    struct random random = random_begin();
    void *blocks[8];
    struct slice *slab = slab_with_list(blocks, 8, false);
    for (size_t i = 0; i < 8; i++) {
        check(slab_double_free_candidate(blocks[i]) && slab_block_is_free(slab, blocks[i]));
        check(list_contains(slab, load_relaxed(slab->head), blocks[i]));
    }
    void *block = slab_pop(slab);
    check(block == blocks[7] && !slab_double_free_candidate(block) && !slab_block_is_free(slab, block));
    /* A live block that holds a copy of a link is a candidate, and found innocent. */
    *(block_word *)block = *(block_word *)blocks[0];
    check(slab_double_free_candidate(block) && !slab_block_is_free(slab, block));
    for (int i = 0; i < 1000; i++) {
        *(block_word *)block = random_next(&random);
        check(!slab_double_free_candidate(block));
    }
    *(block_word *)block = 0;
    check(!slab_double_free_candidate(block));
    free_remotely(slab, block);
    check(slab_double_free_candidate(block) && slab_block_is_free(slab, block));
    check(!list_contains(slab, load_relaxed(slab->head), block));
    check(list_contains(slab, REMOTE_LIST(load_relaxed(slab->remote)), block));
}

/* The search ends on a list whose links were overwritten, and does not leave the slab. */
Test(slab, search_of_a_broken_list_ends)
{
    void *blocks[8];
    struct slice *slab = slab_with_list(blocks, 8, false);
    *(block_word *)blocks[4] = 0x4141414141414141;
    for (size_t i = 0; i < 8; i++)
        check(list_contains(slab, load_relaxed(slab->head), blocks[i]) == (i >= 4));
    check(!slab_valid(slab));
}

/* ---- owners ---- */

Test(slab, wake_counts)
{
    void *blocks[8];
    struct slice *slab = slab_with_list(blocks, 8, false);
    for (size_t i = 0; i < 8; i++)
        blocks[i] = slab_pop(slab);
    slab->wake = WAKE_AT(3);
    for (size_t i = 0; i < 8; i++)
        check(slab_push(slab, blocks[i], offset_of(slab, blocks[i])) == (i >= 2));
    for (size_t i = 0; i < 8; i++)
        blocks[i] = slab_pop(slab);
    check(slab_set_remote_wake(slab, load_relaxed(slab->remote), 3, false));
    for (size_t i = 0; i < 4; i++) /* told once, by whoever reaches the count */
        check(free_remotely(slab, blocks[i]) == (i == 2));
    check(load_relaxed(slab->remote) & REMOTE_PENDING);
    check(slab_take_remote(slab)); /* taking the list leaves PENDING to who holds it */
    check(load_relaxed(slab->remote) == (REMOTE_OWNED_BY(OWNER_ID, 3) | REMOTE_PENDING));
    for (size_t i = 4; i < 8; i++)
        check(!free_remotely(slab, blocks[i]));
    uint64_t stale = load_relaxed(slab->remote) - LINK_ONE;
    check(!slab_set_remote_wake(slab, stale, 2, true));
    check(slab_set_remote_wake(slab, load_relaxed(slab->remote), 5, true));
    uint64_t remote = load_relaxed(slab->remote);
    check(!(remote & REMOTE_PENDING) && REMOTE_WAKE(remote) == 5 && REMOTE_COUNT(remote) == 4);
    check(REMOTE_ID(remote) == OWNER_ID && slab_valid(slab));
}

Test(slab, disown_and_claim)
{
    void *blocks[4];
    struct slice *slab = slab_with_list(blocks, 4, false);
    check(!slab_claim(slab, OTHER, OTHER_ID, REMOTE_WAKE_NEVER));
    check(slab_disown(slab, OWNER));
    check(load_relaxed(slab->owner) == NULL && load_relaxed(slab->remote) == 0 && slab->state == SLAB_NOBODY);
    check(slab_valid(slab));
    check(slab_claim(slab, OTHER, OTHER_ID, REMOTE_WAKE_NEVER));
    check(!slab_claim(slab, OWNER, OWNER_ID, REMOTE_WAKE_NEVER));
    check(load_relaxed(slab->owner) == OTHER && REMOTE_ID(load_relaxed(slab->remote)) == OTHER_ID);
    for (size_t i = 4; i-- > 0;)
        check(slab_pop(slab) == blocks[i]);
    free_remotely(slab, blocks[0]);
    check(!slab_disown(slab, OTHER) && load_relaxed(slab->owner) == OTHER);
    check(slab_take_remote(slab) && !slab_take_remote(slab));
    check(slab_set_remote_wake(slab, load_relaxed(slab->remote), 1, false));
    check(slab_pop(slab) == blocks[0]);
    check(free_remotely(slab, blocks[0]) && slab_take_remote(slab));
    check(!slab_disown(slab, OTHER)); /* somebody holds PENDING */
    check(slab_set_remote_wake(slab, load_relaxed(slab->remote), REMOTE_WAKE_NEVER, true));
    check(slab_disown(slab, OTHER));
}

/* The largest counts and offsets fit their fields side by side. */
Test(slab, remote_word_at_its_limits)
{
    struct slice *slab = slab_begin(0);
    static void *blocks[4096];
    bool clean;
    for (size_t i = 0; i < 4096; i++)
        check((blocks[i] = slab_next_block(slab, &clean)));
    store_relaxed(slab->remote, REMOTE_OWNED_BY(REMOTE_ID_MAX, 4096));
    for (size_t i = 0; i < 4096; i++) {
        check(free_remotely(slab, blocks[i]) == (i == 4095));
        uint64_t remote = load_relaxed(slab->remote);
        check(REMOTE_ID(remote) == REMOTE_ID_MAX && REMOTE_WAKE(remote) == 4096);
        check(REMOTE_COUNT(remote) == i + 1 &&
              LINK_OFFSET(REMOTE_LIST(remote)) == offset_of(slab, blocks[i]));
    }
    check(slab_take_remote(slab) && slab_free_count(slab) == 4096 && slab_valid(slab));
    for (size_t i = 4096; i-- > 0;)
        check(slab_pop(slab) == blocks[i]);
}

/* ---- threads ---- */

enum { SENDERS = 3 };

struct contest {
    struct slice *slab;
    pthread_barrier_t start;
    _Atomic unsigned winners, notified;
    struct {
        void *_Atomic blocks[4096]; /* a ring from the owner to this sender */
        _Atomic size_t given, done;
    } lanes[SENDERS];
    _Atomic bool finished;
};

static struct contest contest;

static void *claimer(void *argument)
{
    pthread_barrier_wait(&contest.start);
    if (slab_claim(contest.slab, argument, OTHER_ID, REMOTE_WAKE_NEVER))
        atomic_fetch_add(&contest.winners, 1);
    return NULL;
}

Test(slab, one_claimer_wins)
{
    static char names[SENDERS];
    contest.slab = slab_begin(class_of(64));
    check(pthread_barrier_init(&contest.start, NULL, SENDERS) == 0);
    for (int round = 0; round < 200; round++) {
        store_relaxed(contest.slab->remote, 0);
        atomic_store(&contest.winners, 0);
        pthread_t threads[SENDERS];
        for (int i = 0; i < SENDERS; i++)
            check(pthread_create(&threads[i], NULL, claimer, &names[i]) == 0);
        for (int i = 0; i < SENDERS; i++)
            pthread_join(threads[i], NULL);
        check(atomic_load(&contest.winners) == 1);
        char *owner = (char *)load_relaxed(contest.slab->owner);
        check(owner >= names && owner < names + SENDERS);
    }
}

static void *sender(void *argument)
{
    size_t lane = (size_t)(uintptr_t)argument;
    for (size_t done = 0;;) {
        if (done == atomic_load(&contest.lanes[lane].given)) {
            if (atomic_load(&contest.finished) && done == atomic_load(&contest.lanes[lane].given))
                return NULL;
            sched_yield();
            continue;
        }
        void *block = contest.lanes[lane].blocks[done % 4096];
        check(filled_with(block, (unsigned char)(lane + 1), 0, 64));
        if (free_remotely(contest.slab, block))
            atomic_fetch_add(&contest.notified, 1);
        atomic_store(&contest.lanes[lane].done, ++done);
    }
}

/* The owner hands blocks to senders who free them, while it takes the remote list, merges it, frees some
   itself, and changes the wake count: every block comes back exactly once, PENDING is won exactly once
   each time. */
Test(slab, remote_frees_meet_the_owner)
{
    struct random random = random_begin();
    struct slice *slab = contest.slab = slab_begin(class_of(64));
    static bool held[1024]; /* by the owner, in `own`, or by a sender */
    static void *own[1024];
    size_t own_count = 0, drained = 0;
    pthread_t threads[SENDERS];
    for (size_t i = 0; i < SENDERS; i++)
        check(pthread_create(&threads[i], NULL, sender, (void *)i) == 0);
    for (int step = 0; step < 200000; step++) {
        bool clean;
        void *block = slab_next_block(slab, &clean);
        if (block) {
            size_t lane = random_below(&random, SENDERS + 1);
            if (lane == SENDERS) {
                own[own_count++] = block;
            } else {
                memset(block, (int)lane + 1, 64);
                size_t given = atomic_load(&contest.lanes[lane].given);
                contest.lanes[lane].blocks[given % 4096] = block;
                atomic_store(&contest.lanes[lane].given, given + 1);
            }
        } else {
            sched_yield();
        }
        if (own_count > 0 && random_one_in(&random, 3)) {
            block = own[--own_count];
            slab_push(slab, block, offset_of(slab, block));
        }
        if (random_one_in(&random, 64))
            slab_merge_remote(slab);
        uint64_t remote = load_acquire(slab->remote);
        bool pending = remote & REMOTE_PENDING;
        if ((pending || random_one_in(&random, 32)) &&
            slab_set_remote_wake(slab, remote, random_between(&random, 1, 64), pending))
            drained += pending;
    }
    atomic_store(&contest.finished, true);
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    drained += (load_acquire(slab->remote) & REMOTE_PENDING) != 0;
    check(atomic_load(&contest.notified) == drained && drained > 0);
    slab_merge_remote(slab);
    while (own_count > 0) {
        void *block = own[--own_count];
        slab_push(slab, block, offset_of(slab, block));
    }
    check(slab_free_count(slab) == slab->formed && slab_valid(slab));
    for (void *block; (block = slab_pop(slab));) {
        check(!held[offset_of(slab, block) / 64]);
        held[offset_of(slab, block) / 64] = true;
    }
}

/* ---- purging ---- */

static size_t resident_pages(const struct slice *slab)
{
    unsigned char vector[64];
    size_t bytes = slab_class(slab)->slices * SLICE_SIZE, resident = 0;
    check(mincore((void *)slab_start(slab), bytes, vector) == 0);
    for (size_t i = 0; i < bytes / os_page_size; i++)
        resident += vector[i] & 1;
    return resident;
}

/* With every combination of live and free blocks around it, a page goes back exactly if no byte of a live
   block is in it; what is live keeps its contents; what went back is formed again, each block once. */
Test(slab, purge_gives_back_idle_pages)
{
    static struct model model;
    struct random random = random_begin();
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        for (int round = 0; round < 6; round++) {
            model_begin(&model, class, random);
            while (model_allocate(&model))
                ;
            size_t keep = random_below(&model.random, model.capacity);
            while (model.live_count > keep)
                model_free(&model, false);
            uint64_t live_pages = 0;
            for (size_t i = 0; i < model.live_count; i++) {
                uintptr_t offset = offset_of(model.slab, model.live[i]);
                for (size_t page = offset / os_page_size; page <= (offset + model.size - 1) / os_page_size;
                     page++)
                    live_pages |= 1ull << page;
            }
            size_t given = slab_purge(model.slab);
            model_verify_all(&model);
            size_t pages = (model.capacity * model.size + os_page_size - 1) / os_page_size;
            check(given % os_page_size == 0);
            check(given / os_page_size + (size_t)__builtin_popcountll(live_pages) <= pages);
            check(resident_pages(model.slab) >= (size_t)__builtin_popcountll(live_pages));
            if (model.size <= os_page_size / 2) /* larger blocks may keep a page that they only share */
                check(resident_pages(model.slab) == (size_t)__builtin_popcountll(live_pages));
            check(slab_purge(model.slab) == 0); /* what is given back is not given back again */
            while (model_allocate(&model))
                ;
            check(model.live_count == model.capacity);
            model_verify_all(&model);
            while (model.live_count > 0)
                model_free(&model, false);
            slab_destroy(model.slab);
            random = model.random;
        }
}

/* Pages that the kernel keeps (mlock) are formed again, and not called zero. */
Test(slab, purge_of_locked_memory)
{
    struct slice *slab = slab_begin(class_of(1024));
    void *blocks[64];
    bool clean;
    check(mlock((void *)slab_start(slab), SLICE_SIZE) == 0);
    for (size_t i = 0; i < 64; i++)
        memset(blocks[i] = slab_next_block(slab, &clean), 0xab, 1024);
    for (size_t i = 1; i < 64; i++)
        slab_push(slab, blocks[i], offset_of(slab, blocks[i]));
    check(slab_purge(slab) == 0 && slab_valid(slab));
    for (size_t i = 1; i < 64; i++) {
        unsigned char *block = slab_next_block(slab, &clean);
        check(block && (!clean || filled_with(block, 0, 0, 1024)));
    }
    check(!slab_next_block(slab, &clean) && *(char *)blocks[0] == (char)0xab);
}
