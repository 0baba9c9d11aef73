/* medium.c: what a thread keeps of freed medium blocks: which, how many, for how long; and that a run which is
   wanted by several at once goes to one of them. */
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

#include "allocator/medium.c"

static struct random dice;
static struct medium_cache cache;

static void medium_begin(void)
{
    os_init();
    dice = random_begin();
}

TestSuite(medium, .init = medium_begin);

/* As for a thread that asks the region. */
static struct slice *take(size_t slices)
{
    bool zero;
    struct slice *head = region_take(&(struct run_request){.slices = slices, .alignment = 1, .grow = true}, &zero);
    check(head);
    run_publish(head, RUN_MEDIUM);
    memset((void *)slice_address(region_of_slice(head), head), 1, slices << SLICE_SHIFT);
    return head;
}

/* The same, with the thread's account of it. */
static struct slice *ask(size_t slices)
{
    medium_miss(&cache, slices, 1);
    return take(slices);
}

static struct slice *keep(size_t slices)
{
    struct slice *head = ask(slices);
    check(medium_keep(&cache, head) && run_kind(head) == RUN_CACHED && run_length(head) == slices);
    return head;
}

/* Every run that is kept is listed once; how many slices. */
static size_t kept_check(void)
{
    size_t kept = 0;
    check(medium_valid(&cache) && region_valid(&regions[0]));
    for (size_t at = 0, length; at < load_relaxed(regions[0].count); at += length) {
        struct slice *head = &regions[0].map[at];
        size_t listed = 0;
        length = run_length(head);
        for (size_t place = 0; place < MEDIUM_SLICES; place++)
            listed += load_relaxed(cache.runs[place]) == head;
        check(listed == (run_kind(head) == RUN_CACHED));
        kept += run_kind(head) == RUN_CACHED ? length : 0;
    }
    check(kept == cache.slices);
    return kept;
}

Test(medium, the_same_length_comes_back_newest_first)
{
    struct slice *a = ask(2), *b = ask(1), *c = ask(2);
    check(medium_keep(&cache, a) && medium_keep(&cache, b) && medium_keep(&cache, c));
    check(kept_check() == 5);
    check(!medium_reuse(&cache, 3));
    check(medium_reuse(&cache, 2) == c && run_kind(c) == RUN_MEDIUM && run_length(c) == 2);
    check(medium_reuse(&cache, 2) == a && !medium_reuse(&cache, 2));
    check(medium_reuse(&cache, 1) == b && kept_check() == 0);
    check(medium_keep(&cache, b) && medium_reuse(&cache, 1) == b); /* owed again */
}

/* A thread that frees what others have allocated keeps none of it. */
Test(medium, only_what_is_owed_is_kept)
{
    struct slice *others = take(1), *another = take(1), *mine = ask(1);
    check(medium_keep(&cache, others) && !medium_keep(&cache, another) && !medium_keep(&cache, mine));
    check(run_kind(another) == RUN_MEDIUM && kept_check() == 1);
}

Test(medium, no_run_but_a_medium_one_is_kept)
{
    struct slice *head = ask(2);
    check(medium_keep(&cache, head) && !medium_keep(&cache, head)); /* freed twice */
    medium_flush(&cache);
    check(!medium_keep(&cache, head) && run_kind(head) == RUN_FREE);
    check(!medium_keep(&cache, head + 1)); /* inside it */
    check(kept_check() == 0);
}

Test(medium, the_longest_and_the_most)
{
    static_assert(MEDIUM_SLICES == 2 * MEDIUM_LONGEST, "two of the longest are the most");
    struct slice *first = ask(MEDIUM_LONGEST), *second = ask(MEDIUM_LONGEST), *one = ask(1);
    struct slice *longer = take(MEDIUM_LONGEST + 1);
    check(cache.owed == MEDIUM_SLICES && !medium_keep(&cache, longer));
    check(medium_keep(&cache, first) && medium_keep(&cache, second) && !medium_keep(&cache, one));
    check(kept_check() == MEDIUM_SLICES);
    ask(1); /* what is asked for now shall find room */
    check(run_kind(first) == RUN_FREE && kept_check() == MEDIUM_LONGEST && cache.owed == 1);
    check(medium_keep(&cache, one));
}

Test(medium, the_oldest_makes_room)
{
    struct slice *heads[MEDIUM_SLICES];
    for (size_t i = 0; i < MEDIUM_SLICES; i++) {
        heads[i] = ask(1);
        take(1); /* a fence */
    }
    for (size_t i = 0; i < MEDIUM_SLICES; i++)
        check(medium_keep(&cache, heads[i]));
    ask(3);
    for (size_t i = 0; i < MEDIUM_SLICES; i++)
        check(run_kind(heads[i]) == (i < 3 ? RUN_FREE : RUN_CACHED));
    kept_check();
}

/* Many threads keep little each; one that has memory returned to the letter, nothing. */
Test(medium, bounds)
{
    take(1);
    check(medium_limit(1) == MEDIUM_SLICES && medium_limit(2) == MEDIUM_SLICES && medium_limit(4) == 4 &&
          medium_limit(1000) == MEDIUM_LEAST);
    take(100 * MIB >> SLICE_SHIFT);
    check(medium_limit(2) == MEDIUM_SLICES); /* in proportion to what is live */
    region_policy.trim_explicit = true;
    region_policy.trim_threshold = 128 * KIB;
    check(medium_limit(1) == 0);
    struct slice *head = ask(1);
    check(!medium_keep(&cache, head));
    region_policy.trim_threshold = 1 * MIB;
    check(medium_limit(1) == 4);
    region_policy.trim_threshold = SIZE_MAX; /* nothing goes back */
    check(medium_limit(1) == MEDIUM_SLICES && medium_limit(1000) == MEDIUM_SLICES);
}

Test(medium, what_is_not_used_goes_back)
{
    struct slice *head = keep(2);
    medium_age(&cache);
    check(medium_reuse(&cache, 2) == head && medium_keep(&cache, head));
    medium_age(&cache);
    check(run_kind(head) == RUN_CACHED);
    medium_age(&cache);
    check(run_kind(head) == RUN_FREE && kept_check() == 0);
}

/* Somebody else has it now, and it is kept again, or not. */
Test(medium, taken_away)
{
    struct slice *heads[3] = {ask(1), ask(1), ask(1)};
    for (int i = 0; i < 3; i++)
        check(medium_keep(&cache, heads[i]));
    medium_take_away(&cache);
    for (int i = 0; i < 3; i++)
        check(run_kind(heads[i]) == RUN_FREE || run_kind(heads[i]) == RUN_INSIDE);
    check(medium_valid(&cache) && region_valid(&regions[0]));
    check(!medium_reuse(&cache, 1) && cache.count == 0);
    keep(1);
    medium_take_away(&cache);
    medium_flush(&cache);
    check(kept_check() == 0);
    keep(1);
    check(kept_check() == 1);
}

/* A block grows into what is kept behind it, and into nothing else. */
Test(medium, resize)
{
    struct slice *head = ask(2), *behind = ask(1), *next = ask(2), *live = take(1);
    check(head + 2 == behind && behind + 1 == next && next + 2 == live);
    check(medium_keep(&cache, behind));
    check(!medium_resize(head, 4) && run_kind(behind) == RUN_FREE);
    check(medium_resize(head, 3) && run_length(head) == 3);
    check(medium_keep(&cache, next));
    check(medium_resize(head, 5) && run_length(head) == 5);
    check(medium_resize(head, 1) && medium_valid(&cache) && region_valid(&regions[0]));
    check(!medium_reuse(&cache, 1) && !medium_reuse(&cache, 2));
}

Test(medium, at_random)
{
    enum { LIVE = 24 };
    struct slice *live[LIVE] = {NULL};
    for (size_t i = 0; i < COUNT_OF(live); i++)
        live[i] = ask(random_between(&dice, 1, 10));
    for (int step = 0; step < 20000; step++) {
        size_t i = random_below(&dice, LIVE), slices = random_between(&dice, 1, 10);
        if (!medium_keep(&cache, live[i]))
            region_release(live[i]);
        if (!(live[i] = medium_reuse(&cache, slices)))
            live[i] = ask(slices);
        check(run_kind(live[i]) == RUN_MEDIUM && run_length(live[i]) == slices);
        if (random_one_in(&dice, 50))
            medium_take_away(&cache);
        if (random_one_in(&dice, 50))
            medium_age(&cache);
        if (step % 100 == 0)
            check(medium_valid(&cache) && region_valid(&regions[0]));
    }
    for (size_t i = 0; i < LIVE; i++)
        region_release(live[i]);
    medium_flush(&cache);
    check(kept_check() == 0);
    for (size_t at = 0; at < load_relaxed(regions[0].count); at += run_length(&regions[0].map[at]))
        check(run_kind(&regions[0].map[at]) != RUN_MEDIUM);
}

/* ---- threads ---- */

enum { THREADS = 3, ROUNDS = 30000 };
static struct medium_cache caches[THREADS];
static _Atomic size_t kept_rounds;

static void *use(void *number)
{
    struct medium_cache *mine = &caches[(size_t)number];
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t slices = 1 + round / 32 % 3;
        struct slice *head = medium_reuse(mine, slices);
        if (head) {
            atomic_fetch_add(&kept_rounds, 1);
        } else {
            medium_miss(mine, slices, THREADS);
            head = take(slices);
        }
        size_t *first = (size_t *)slice_address(region_of_slice(head), head);
        *first = (size_t)number; /* nobody else has it */
        if (round % 64 == 0)
            medium_take_away(&caches[((size_t)number + 1) % THREADS]);
        check(*first == (size_t)number && run_kind(head) == RUN_MEDIUM && run_length(head) == slices);
        if (!medium_keep(mine, head))
            check(region_release_if(head, RUN_WORD(RUN_MEDIUM, slices)));
    }
    return NULL;
}

Test(medium, threads_take_away_from_one_another)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, use, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(kept_rounds > ROUNDS / 2);
    for (size_t i = 0; i < THREADS; i++) {
        check(medium_valid(&caches[i]));
        medium_flush(&caches[i]);
    }
    check(region_valid(&regions[0]));
    for (size_t at = 0; at < load_relaxed(regions[0].count); at += run_length(&regions[0].map[at]))
        check(run_kind(&regions[0].map[at]) == RUN_FREE || run_kind(&regions[0].map[at]) == RUN_FOREIGN);
}

static struct slice *_Atomic twice;
static pthread_barrier_t both;
static _Atomic int freed;

static void *free_it(void *number)
{
    for (int round = 0; round < 2000; round++) {
        pthread_barrier_wait(&both);
        struct slice *head = twice;
        caches[(size_t)number].owed = 1;
        bool kept = medium_keep(&caches[(size_t)number], head);
        freed += kept || ((size_t)number == 0 && region_release_if(head, RUN_WORD(RUN_MEDIUM, 1)));
        pthread_barrier_wait(&both);
        medium_flush(&caches[(size_t)number]);
        pthread_barrier_wait(&both);
    }
    return NULL;
}

/* Of two threads that free a block at the same time, one does. */
Test(medium, double_free_race)
{
    pthread_t threads[2];
    check(pthread_barrier_init(&both, NULL, 3) == 0);
    for (size_t i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, free_it, (void *)i) == 0);
    for (int round = 0; round < 2000; round++) {
        twice = take(1);
        freed = 0;
        pthread_barrier_wait(&both);
        pthread_barrier_wait(&both);
        check(freed == 1);
        pthread_barrier_wait(&both);
        check(region_valid(&regions[0]));
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}
