/* arena.c, arena_registry.c: slabs as threads use them up, free into them from everywhere, leave them and
   adopt them. At quiet points every slab is in its place; when all is freed, by whomever, nothing is left. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"

#include "allocator/options.c"
#include "allocator/os.c"

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/slab.c"
#include "allocator/spare.c"

#include "allocator/medium.c"
#include "allocator/mapping.c"

#include "allocator/arena.c"
#include "allocator/arena_registry.c"

#include "arenas.h"

static struct random dice;

static void arena_begin(void)
{
    link_key_init(&process_key, os_init());
    dice = random_begin();
}

TestSuite(arena, .init = arena_begin);

static void *blocks[5000];

/* ---- the life of a slab, step by step ---- */

Test(arena, full_slab_is_nobodys_until_its_first_free)
{
    struct arena *mine = arena_obtain(), *other = arena_obtain();
    check(mine->id == 1 && other->id == 2 && arena_by_id(2) == other && arena_count() == 2);
    size_t count = fill_slab(mine, CLASS, blocks);
    struct slice *slab = slab_of(blocks[0]);
    check(load_relaxed(slab->owner) == mine && mine->open[CLASS] == slab);
    bool clean;
    void *next = arena_allocate(mine, CLASS, &clean);
    check(slab_of(next) != slab && !load_relaxed(slab->owner) && load_relaxed(slab->remote) == 0);
    arenas_check();
    arena_free(other, blocks[5]);
    check(load_relaxed(slab->owner) == other && slab->state == SLAB_WAITING && other->waiting[CLASS] == slab);
    for (size_t i = 0; i < slab_enough(slab); i++) /* whoever owns it is told when it is worth opening */
        if (i != 5)
            arena_free(other, blocks[i]);
    while (slab->state == SLAB_WAITING)
        arena_free(other, blocks[--count]);
    check(other->partial[CLASS] == slab && slab_free_count(slab) <= slab_enough(slab) + 1);
    arenas_check();
    void *again = arena_allocate(other, CLASS, &clean);
    check(slab_of(again) == slab && other->open[CLASS] == slab && slab->state == SLAB_OPEN);
    arenas_check();
}

/* Uses up what is open, and opens `slab` again, which must be next; full, it is closed. */
static void use_up_again(struct arena *arena, struct slice *slab)
{
    bool clean;
    check(arena->partial[CLASS] == slab);
    while (arena->open[CLASS] != slab)
        check(arena_allocate(arena, CLASS, &clean));
    while (arena->open[CLASS] == slab)
        check(arena_allocate(arena, CLASS, &clean));
}

Test(arena, full_slab_stays_with_the_thread_that_was_first_before)
{
    struct arena *mine = arena_obtain(), *other = arena_obtain();
    bool clean;
    fill_slab(mine, CLASS, blocks);
    struct slice *slab = slab_of(blocks[0]);
    check(arena_allocate(mine, CLASS, &clean) && !load_relaxed(slab->owner));
    size_t enough = slab_enough(slab);
    for (int round = 0; round < 3; round++) { /* after the first time it is never let go */
        for (size_t i = 0; i < enough; i++) {
            check(slab->state != SLAB_PARTIAL && mine->partial[CLASS] == NULL);
            arena_free(mine, blocks[i]);
        }
        use_up_again(mine, slab);
        check(load_relaxed(slab->owner) == mine && slab->state == SLAB_WAITING && slab_free_count(slab) == 0);
        check(load_relaxed(slab->remote) == REMOTE_OWNED_BY(mine->id, 1));
        arenas_check();
    }
    /* Another thread is first: the owner is told, and knows better the next time. */
    arena_free(other, blocks[0]);
    check(mine->pending == slab);
    arena_drain(mine);
    for (size_t i = 1; i < enough; i++)
        arena_free(i % 2 ? mine : other, blocks[i]);
    arena_drain(mine);
    arenas_check();
    use_up_again(mine, slab);
    check(!load_relaxed(slab->owner) && load_relaxed(slab->remote) == 0);
    /* A full one that stays is let go when its thread ends. */
    for (size_t i = 0; i < enough; i++)
        arena_free(mine, blocks[i]);
    use_up_again(mine, slab);
    check(load_relaxed(slab->owner) == mine);
    arena_retire(mine);
    check(!load_relaxed(slab->owner) && !slab->orphan);
    arenas_check();
}

/* A slab whose blocks all come back goes back itself, by whatever mixture of owner's and others' frees. */
Test(arena, empty_slab_is_destroyed)
{
    for (int round = 0; round < 200; round++) {
        struct arena *mine = arena_obtain(), *other = arena_obtain();
        unsigned class = (unsigned)random_below(&dice, CLASS_COUNT);
        while (class_borrows(mine, class))
            ; /* a slab of its own */
        size_t count = size_classes[class].capacity, share = random_below(&dice, 5);
        fill_slab(mine, class, blocks);
        bool clean;
        void *next = arena_allocate(mine, class, &clean);
        for (size_t i = count; i > 1; i--) {
            size_t j = random_below(&dice, i);
            void *block = blocks[j];
            blocks[j] = blocks[i - 1];
            blocks[i - 1] = block;
        }
        for (size_t i = 0; i < count; i++)
            arena_free(random_below(&dice, 4) < share ? mine : other, blocks[i]);
        arena_drain(mine);
        arena_drain(other);
        arenas_check();
        check(slabs_there() == 1 && slab_of(next) == mine->open[class]);
        arena_free(other, next);
        arena_retire(mine);
        arena_retire(other);
        check(slabs_there() == 0);
        arenas_check();
    }
    check(arena_count() == 2); /* idle ones are used again */
}

/* The count of what is free locally and remotely is watched by two counts; one is always reached in time. */
Test(arena, remote_frees_reach_the_owner)
{
    struct arena *mine = arena_obtain(), *other = arena_obtain();
    size_t count = fill_slab(mine, CLASS, blocks);
    bool clean;
    arena_allocate(mine, CLASS, &clean);
    arena_free(mine, blocks[--count]); /* claims it */
    struct slice *slab = slab_of(blocks[0]);
    check(load_relaxed(slab->owner) == mine && slab->state == SLAB_WAITING);
    arena_free(other, blocks[--count]);
    check(mine->pending == slab && load_relaxed(slab->remote) & REMOTE_PENDING);
    arena_drain(mine);
    check(!mine->pending && !(load_relaxed(slab->remote) & REMOTE_PENDING) && slab->state == SLAB_WAITING);
    while (!mine->pending)
        arena_free(other, blocks[--count]);
    arena_drain(mine);
    arenas_check();
    while (count > 0) {
        arena_free(other, blocks[--count]);
        if (mine->pending)
            arena_drain(mine);
    }
    check(!mine->waiting[CLASS] && !mine->partial[CLASS] && slabs_there() == 1);
    arenas_check();
}

Test(arena, borrowing)
{
    struct arena *mine = arena_obtain();
    bool clean;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        unsigned lender = size_classes[class].lender;
        void *block = arena_allocate(mine, class, &clean);
        struct slice *slab = slab_of(block);
        check(slab->size_class == lender && mine->open[class] == slab && mine->open[lender] == slab);
        check(!clean || ((char *)block)[size_classes[class].block_size - 1] == 0);
        arenas_check();
        /* Used much, it gets its own. */
        for (int i = 0; i < 3 * size_classes[lender].capacity && slab_of(block)->size_class != class; i++)
            check((block = arena_allocate(mine, class, &clean)));
        check(slab_of(block)->size_class == class);
        arenas_check();
    }
}

/* ---- threads that end ---- */

Test(arena, orphans_are_adopted)
{
    struct arena *gone = arena_obtain();
    bool clean;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        while (class_borrows(gone, class))
            ;
        for (int i = 0; i < 3; i++)
            blocks[class * 3 + i] = arena_allocate(gone, class, &clean);
    }
    arena_retire(gone);
    arenas_check();
    size_t slabs = slabs_there();
    check(slabs == CLASS_COUNT);
    struct arena *heir = arena_obtain();
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        check(heir->slabs[class] == 0 && arena_stride(heir, class) == 0); /* it begins as small as any */
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        void *block = arena_allocate(heir, class, &clean);
        check(slab_of(block) == slab_of(blocks[class * 3]) && load_relaxed(slab_of(block)->owner) == heir);
        arena_free(heir, block);
    }
    check(slabs_there() == slabs);
    arenas_check();
    for (size_t i = 0; i < 3 * CLASS_COUNT; i++)
        arena_free(heir, blocks[i]);
    arena_trim(heir);
    check(slabs_there() == 0);
}

/* Whoever frees a block of an orphan takes it over, and its last block takes it along. */
Test(arena, orphans_are_claimed_by_their_first_freer)
{
    struct arena *gone = arena_obtain(), *other = arena_obtain();
    bool clean;
    for (int i = 0; i < 10; i++)
        blocks[i] = arena_allocate(gone, CLASS, &clean);
    arena_retire(gone);
    struct slice *slab = slab_of(blocks[0]);
    check(slab->orphan && !load_relaxed(slab->owner) && orphans.first[CLASS] == slab);
    for (int i = 0; i < 10; i++) {
        arena_free(other, blocks[i]);
        check(!orphans.first[CLASS]);
        arenas_check();
    }
    check(slabs_there() == 0);
}

/* Between a freer's claim and its taking the slab out of the list, somebody else looks for an orphan. */
Test(arena, orphan_that_is_being_claimed)
{
    struct arena *gone = arena_obtain(), *freer = arena_obtain(), *seeker;
    bool clean;
    void *first = arena_allocate(gone, CLASS, &clean);
    arena_retire(gone);
    seeker = arena_obtain();
    struct slice *slab = slab_of(first);
    check(slab->orphan && slab_claim(slab, freer, freer->id, REMOTE_WAKE_NEVER));
    void *block = arena_allocate(seeker, CLASS, &clean);
    check(block && slab_of(block) != slab && load_relaxed(slab->owner) == freer);
    orphan_claimed(slab); /* the rest of the free */
    slab_wait(freer, slab);
    slab_push(slab, first, (uintptr_t)first - slab_start(slab));
    slab_reconsider(freer, slab, false);
    arenas_check();
    check(slabs_there() == 1 && slab_of(block)->orphan == 0);
}

/* Blocks are freed while their owner leaves, or after it left with a notice on its way: nothing stays
   behind. */
Test(arena, notices_to_an_arena_that_is_idle)
{
    struct arena *mine = arena_obtain(), *other = arena_obtain();
    bool clean;
    size_t count = fill_slab(mine, CLASS, blocks);
    arena_allocate(mine, CLASS, &clean);
    struct slice *slab = slab_of(blocks[0]);
    arena_free(mine, blocks[--count]);
    /* The sender has set PENDING, but has not come to the pending stack yet, when the owner retires. */
    void *last = blocks[--count];
    uint64_t remote = load_relaxed(slab->remote);
    bool notify;
    while (!slab_push_remote(slab, &remote, last, (uintptr_t)last - slab_start(slab), &notify))
        ;
    check(notify);
    arena_retire(mine);
    check(load_relaxed(mine->state) == ARENA_IDLE);
    check(load_relaxed(slab->owner) == mine); /* it could not be left */
    arenas_check();
    arena_notify(mine, slab);
    check(load_relaxed(mine->state) == ARENA_IDLE && !mine->pending && !load_relaxed(slab->owner) &&
          slab->orphan);
    arenas_check();
    while (count > 0)
        arena_free(other, blocks[--count]);
    arena_drain(other);
    check(slab->state != SLAB_WAITING || run_kind(slab) != RUN_SLAB);
    check(arena_obtain() == mine); /* it is to be had again */
    arenas_check();
}

/* ---- giving back ---- */

static size_t resident_bytes(const void *from, size_t size)
{
    static unsigned char vector[4096];
    size_t resident = 0;
    check(size / os_page_size <= sizeof vector && mincore((void *)from, size, vector) == 0);
    for (size_t i = 0; i < size / os_page_size; i++)
        resident += vector[i] & 1;
    return resident * os_page_size;
}

/* Of many slabs with few live blocks left, nearly all pages go back, unprompted; and what is live is
   untouched. */
Test(arena, purges_what_is_idle)
{
    enum { COUNT = 16 * MIB / 1024 };
    static struct known_block known[COUNT];
    struct arena *mine = arena_obtain();
    for (size_t i = 0; i < COUNT; i++)
        check(known_allocate(&known[i], mine, CLASS, (unsigned char)(i % 251 + 1)));
    size_t live = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (i % 16 == 0)
            live++;
        else
            arena_free(mine, known[i].start);
    arenas_check();
    size_t resident = 0;
    for (size_t at = 0, length; at < load_relaxed(regions[0].count); at += length) {
        length = run_length(&regions[0].map[at]);
        if (run_kind(&regions[0].map[at]) == RUN_SLAB)
            resident += resident_bytes((void *)slice_address(&regions[0], &regions[0].map[at]),
                                       length * SLICE_SIZE);
    }
    check(resident < live * os_page_size + region_purge_budget() + 4 * MIB);
    for (size_t i = 0; i < COUNT; i += 16)
        known_verify(&known[i]);
    check(arena_trim(mine));
    arenas_check();
    for (size_t i = 0; i < COUNT; i += 16) {
        known_verify(&known[i]);
        arena_free(mine, known[i].start);
    }
    arena_trim(mine);
    check(slabs_there() == 0);
}

/* Without memory for a new slab, the last free blocks of all others are handed out before NULL is. */
/* What an ended thread left is given back, too, by those that end after it: a few slabs at a time. */
Test(arena, purges_orphans)
{
    enum { BLOCKS = 5000, EACH = 32 };
    unsigned class = class_of(2048);
    struct arena *gone = arena_obtain();
    bool clean;
    for (int i = 0; i < BLOCKS; i++)
        check((blocks[i] = arena_allocate(gone, class, &clean)));
    size_t threshold = load_relaxed(region_policy.trim_threshold);
    store_relaxed(region_policy.trim_threshold, SIZE_MAX); /* nothing goes back now */
    for (int i = 0; i < BLOCKS; i++)
        if (i % EACH != 0)
            arena_free(gone, blocks[i]);
    check(gone->idle > 4 * MIB && load_relaxed(orphans.idle) == 0);
    check(load_relaxed(idle_total) == gone->idle_told && gone->idle - gone->idle_told + SLICE_SIZE <= 2 * SLICE_SIZE);
    arena_retire(gone);
    size_t idle = load_relaxed(orphans.idle);
    check(gone->idle == 0 && idle > 4 * MIB && load_relaxed(idle_total) == idle);
    store_relaxed(region_policy.trim_threshold, threshold);
    for (int i = 0; i < 8; i++) {
        arena_retire(arena_obtain());
        check(load_relaxed(orphans.idle) <= idle && load_relaxed(idle_total) == load_relaxed(orphans.idle));
        idle = load_relaxed(orphans.idle);
        arenas_check();
    }
    check(idle <= region_purge_budget());
    for (int i = 0; i < BLOCKS; i += EACH)
        arena_free(gone, blocks[i]);
    check(slabs_there() == 0 && load_relaxed(idle_total) == 0);
}

/* A sender that has noted on a slab that it will announce it, and is not there in a forked child. */
Test(arena, announced_by_nobody)
{
    struct arena *mine = arena_obtain(), *senders = arena_obtain();
    bool clean;
    blocks[0] = arena_allocate(mine, CLASS, &clean);
    struct slice *slab = slab_of(blocks[0]);
    arena_in_hand = NULL;
    atomic_fetch_or(&slab->remote, REMOTE_PENDING);
    arena_after_fork(mine);
    check(load_relaxed(senders->state) == ARENA_DEAD && load_relaxed(mine->pending) == slab);
    arena_drain(mine);
    check(!load_relaxed(mine->pending) && !(load_relaxed(slab->remote) & REMOTE_PENDING));
    arena_free(mine, blocks[0]);
    arena_trim(mine);
    check(slabs_there() == 0);
}

Test(arena, out_of_memory)
{
    struct arena *mine = arena_obtain();
    bool clean;
    size_t count = 0;
    void *more[32];
    check(arena_allocate(mine, CLASS, &clean));
    struct rlimit limit = {1, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    while ((blocks[count] = arena_allocate(mine, CLASS, &clean)))
        count++;
    check(count >= 63);
    check(!arena_allocate(mine, CLASS, &clean));
    arenas_check();
    for (size_t i = 0; i < count; i++) { /* each block that comes back can be had again */
        arena_free(mine, blocks[i]);
        check((blocks[i] = arena_allocate(mine, CLASS, &clean)));
    }
    check(!arena_allocate(mine, CLASS, &clean));
    for (size_t i = 0; i < 32; i++)
        arena_free(mine, blocks[i * 2]);
    for (size_t i = 0; i < 32; i++)
        check((more[i] = arena_allocate(mine, CLASS, &clean)));
    check(!arena_allocate(mine, CLASS, &clean));
    limit.rlim_cur = RLIM_INFINITY;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(arena_allocate(mine, CLASS, &clean));
    arenas_check();
}

/* Then larger blocks, if they are aligned well enough: the smallest class that has any. */
Test(arena, scrape)
{
    enum { SMALL = 0, ODD = 6, EVEN = 16 }; /* blocks of 16, 112 and 640 bytes */
    struct arena *mine = arena_obtain();
    bool clean;
    mine->borrows[ODD] = mine->borrows[EVEN] = 2; /* slabs of their own */
    check(arena_allocate(mine, ODD, &clean) && arena_allocate(mine, EVEN, &clean));
    struct rlimit limit = {1, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    while (arena_allocate(mine, SMALL, &clean))
        ;
    check(slab_of(arena_scrape(mine, SMALL, 16, &clean))->size_class == ODD);
    void *block = arena_scrape(mine, SMALL, 128, &clean);
    check((uintptr_t)block % 128 == 0 && slab_of(block)->size_class == EVEN);
    check(!arena_scrape(mine, SMALL, 256, &clean) && !arena_scrape(mine, EVEN, 16, &clean));
    while (arena_scrape(mine, SMALL, 16, &clean))
        ;
    check(!arena_allocate(mine, ODD, &clean) && !arena_allocate(mine, EVEN, &clean));
    arena_free(mine, block);
    check(arena_scrape(mine, SMALL, 16, &clean) == block);
    arenas_check();
}

/* ---- random use ---- */

/* Threads played by one: which comes next is chance, who frees is chance, ends and beginnings are
   frequent. */
Test(arena, threads_in_turns)
{
    enum { PLAYERS = 5, KNOWN = 4000 };
    static struct known_block known[KNOWN];
    struct arena *players[PLAYERS];
    size_t count = 0, target = KNOWN;
    for (int i = 0; i < PLAYERS; i++)
        players[i] = arena_obtain();
    for (int step = 0; step < 300000; step++) {
        if (step % 15000 == 0)
            target = random_below(&dice, KNOWN);
        size_t player = random_below(&dice, PLAYERS);
        bool more = count < target ? !random_one_in(&dice, 4) : random_one_in(&dice, 4);
        if (more && count < KNOWN) {
            unsigned class = (unsigned)random_below(&dice, random_one_in(&dice, 4) ? CLASS_COUNT : 8);
            check(known_allocate(&known[count++], players[player], class,
                                 (unsigned char)random_between(&dice, 1, 255)));
        } else if (count > 0) {
            size_t i = random_below(&dice, count);
            known_verify(&known[i]);
            arena_free(players[player], known[i].start);
            known[i] = known[--count];
        }
        if (random_one_in(&dice, 1000)) {
            arena_retire(players[player]);
            players[player] = arena_obtain();
        }
        if (random_one_in(&dice, 2000))
            arena_trim(players[player]);
        if (random_one_in(&dice, 4000))
            arena_purge_orphans(players[player], SIZE_MAX);
        if (step % 3000 == 0)
            arenas_check();
    }
    arenas_check();
    while (count > 0)
        arena_free(players[random_below(&dice, PLAYERS)], known[--count].start);
    for (int i = 0; i < PLAYERS; i++)
        arena_retire(players[i]);
    arenas_check();
    check(slabs_there() == 0);
    check(arena_count() <= 2 * PLAYERS);
    check(load_relaxed(idle_total) == 0); /* the account of what is idle is even */
}

/* ---- threads that are some ---- */

enum { THREADS = 4, SLOTS = 2000, PHASES = 6, STEPS = 12000 };

/* Blocks on their way between threads; the records are malloc's. */
static _Atomic(struct known_block *) slots[SLOTS];
static pthread_barrier_t phase_begins, phase_ends;

/* Threads allocate and put, take and free, and come and go with their arenas. */
static void *trader(void *argument)
{
    struct random random = {(uintptr_t)argument};
    for (int phase = 0; phase < PHASES; phase++) {
        pthread_barrier_wait(&phase_begins);
        struct arena *arena = arena_obtain();
        check(arena);
        for (int step = 0; step < STEPS; step++) {
            struct known_block *block = NULL;
            if (random_one_in(&random, 2)) {
                unsigned class = (unsigned)random_below(&random,
                                                        random_one_in(&random, 8) ? CLASS_COUNT : 12);
                block = malloc(sizeof *block);
                check(known_allocate(block, arena, class, (unsigned char)random_between(&random, 1, 255)));
            }
            block = atomic_exchange(&slots[random_below(&random, SLOTS)], block);
            if (block) {
                known_verify(block);
                arena_free(arena, block->start);
                free(block);
            }
            if (random_one_in(&random, 1000)) {
                arena_retire(arena);
                check((arena = arena_obtain()));
            }
            if (random_one_in(&random, 2000))
                arena_trim(arena);
        }
        arena_retire(arena);
        pthread_barrier_wait(&phase_ends);
    }
    return NULL;
}

Test(arena, threads)
{
    pthread_t threads[THREADS];
    check(pthread_barrier_init(&phase_begins, NULL, THREADS + 1) == 0);
    check(pthread_barrier_init(&phase_ends, NULL, THREADS + 1) == 0);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, trader, (void *)(uintptr_t)random_next(&dice)) == 0);
    for (int phase = 0; phase < PHASES; phase++) {
        pthread_barrier_wait(&phase_begins);
        pthread_barrier_wait(&phase_ends);
        arenas_check(); /* the others wait at the next barrier */
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct arena *last = arena_obtain();
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i]) {
            known_verify(slots[i]);
            arena_free(last, atomic_load(&slots[i])->start);
            free(slots[i]);
        }
    /* A race may have left slabs waiting in an idle arena. */
    for (uint32_t idle = arena_count(); idle > 0; idle--)
        arena_retire(arena_obtain());
    arena_retire(last);
    arenas_check();
    check(slabs_there() == 0 && region_trim_all(0) && load_relaxed(regions[0].count) <= 1);
}

/* ---- the registry ---- */

Test(arena, ids)
{
    enum { MANY = 1000 };
    static struct arena *many[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = arena_obtain();
        check(many[i] && many[i]->id == i + 1 && (uintptr_t)many[i] % CACHE_LINE == 0);
        check(load_relaxed(many[i]->state) == ARENA_ACTIVE);
        for (unsigned class = 0; class < CLASS_COUNT; class ++)
            check(many[i]->open[class] == SLAB_NONE);
    }
    for (uint32_t id = 1; id <= MANY; id++)
        check(arena_by_id(id) == many[id - 1]);
    for (uint32_t i = 0; i < MANY; i++)
        arena_retire(many[i]);
    for (uint32_t i = 0; i < MANY; i++)
        arena_obtain();
    check(arena_count() == MANY);
    arenas_check();
}

/* The places of all ids are different, and inside their chunks. */
Test(arena, places)
{
    uint32_t first = 0;
    for (unsigned chunk = 0; chunk < ARENA_CHUNKS; chunk++) {
        uint32_t places = (uint32_t)ARENA_FIRST_CHUNK << chunk;
        check(chunk_of(first) == chunk && chunk_of(first + places - 1) == chunk);
        first += places;
    }
    check(first > REMOTE_ID_MAX);
}

Test(arena, no_memory_for_an_arena)
{
    struct arena *arena;
    struct rlimit limit = {1, RLIM_INFINITY};
    check(arena_obtain());
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    uint32_t obtained = 1;
    while ((arena = arena_obtain()))
        obtained++;
    check(arena_count() == obtained && !arena_obtain());
    limit.rlim_cur = RLIM_INFINITY;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(arena_obtain()->id == obtained + 1);
}
