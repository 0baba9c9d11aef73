/* mallinfo2 and mallinfo: the identities between the fields, and that they follow what the program does. */
#include "blocks.h"
#include "fresh.h"

#include <pthread.h>

CONTRACT_OF(mallinfo);

static void expect_identities(struct mallinfo2 info)
{
    check(info.uordblks + info.fordblks == info.arena);
    check(info.fsmblks <= info.fordblks);
    check(info.keepcost <= info.fordblks);
    check(info.usmblks == 0);
    check((info.smblks == 0) == (info.fsmblks == 0));
    check((info.hblks == 0) == (info.hblkhd == 0));
    check(info.hblkhd % page_size() == 0);
}

FRESH(identities)
{
    enum { COUNT = 4000 };
    static struct { void *block; size_t size; } slots[COUNT];
    unsigned state = 99;
    size_t live = 0;
    expect_identities(mallinfo2());
    for (int step = 0; step < 40000; step++) {
        state = state * 1103515245u + 12345u;
        unsigned at = (state >> 8) % COUNT;
        free(slots[at].block);
        live -= slots[at].size;
        slots[at].size = 1 + (state >> 16) % (state % 50 ? 3000 : 60000);
        slots[at].block = malloc(slots[at].size);
        live += slots[at].size;
        if (step % 1000)
            continue;
        struct mallinfo2 info = mallinfo2();
        expect_identities(info);
        check(info.uordblks >= live);
        /* Small blocks round up, and half of a heap may be free, but no more than that is lost in between. */
        check(info.uordblks < live * 2 + MIB);
    }
    for (int i = 0; i < COUNT; i++)
        free(slots[i].block);
    expect_identities(mallinfo2());
}

Test(mallinfo, fields_add_up)
{
    expect_fresh(identities);
}

/* A medium block that was freed is free, though its thread may keep it for the next request. */
FRESH(medium)
{
    enum { SIZE = 100000 };
    free(malloc(SIZE));
    struct mallinfo2 before = mallinfo2();
    void *block = malloc(SIZE);
    struct mallinfo2 with = mallinfo2();
    expect_identities(with);
    check(with.uordblks >= before.uordblks + SIZE && with.uordblks <= before.uordblks + 2 * SIZE);
    free(block);
    struct mallinfo2 after = mallinfo2();
    expect_identities(after);
    check(after.uordblks == before.uordblks && after.keepcost == before.keepcost);
    check(malloc(SIZE) == block);
}

Test(mallinfo, follows_a_medium_block)
{
    expect_fresh(medium);
}

FRESH(heap)
{
    enum { COUNT = 1000, SIZE = 10000 };
    static void *blocks[COUNT];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(SIZE);
    struct mallinfo2 full = mallinfo2();
    expect_identities(full);
    check(full.uordblks >= before.uordblks + COUNT * SIZE);
    check(full.uordblks <= before.uordblks + COUNT * SIZE / 4 * 5);
    check(full.arena >= before.uordblks + COUNT * SIZE);
    check(full.hblks == before.hblks);
    /* The break region is what `arena` counts, in a process with one thread. */
    check(full.arena <= (size_t)((char *)sbrk(0) - (char *)blocks[0]) + 2 * MIB);
    for (int i = 0; i < COUNT; i += 2)
        free(blocks[i]);
    struct mallinfo2 half = mallinfo2();
    expect_identities(half);
    check(half.uordblks <= full.uordblks - COUNT / 2 * SIZE);
    check(half.ordblks + half.smblks > 1);
    check(half.fordblks >= COUNT / 2 * SIZE);
    for (int i = 1; i < COUNT; i += 2)
        free(blocks[i]);
    struct mallinfo2 after = mallinfo2();
    expect_identities(after);
    check(after.uordblks <= before.uordblks + 64 * KIB);
    /* Some of it may be kept for what comes next, until it is asked for. */
    malloc_trim(0);
    struct mallinfo2 trimmed = mallinfo2();
    expect_identities(trimmed);
    check(trimmed.arena < full.arena / 2);
}

Test(mallinfo, follows_the_heap)
{
    expect_fresh(heap);
}

FRESH(mappings)
{
    struct mallinfo2 before = mallinfo2();
    void *blocks[10];
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        size_t size = 200000 + i * 300000;
        blocks[i] = malloc(size);
        bytes += round_up(size, page_size());
        struct mallinfo2 info = mallinfo2();
        check(info.hblks == before.hblks + i + 1);
        check(info.hblkhd >= before.hblkhd + bytes);
        check(info.hblkhd <= before.hblkhd + bytes + (i + 1) * page_size());
        check(info.arena == before.arena && info.uordblks == before.uordblks);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        free(blocks[i]);
        check(mallinfo2().hblks == before.hblks + COUNT_OF(blocks) - 1 - i);
    }
    check(mallinfo2().hblkhd == before.hblkhd);
}

Test(mallinfo, counts_mappings_in_whole_pages)
{
    expect_fresh(mappings);
}

FRESH(top)
{
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    void *block = malloc(8 * MIB);
    free(block);
    check(mallopt(M_MMAP_MAX, 0) == 1);
    block = malloc(8 * MIB);
    check(lies_on_break(block));
    struct mallinfo2 held = mallinfo2();
    check(held.keepcost < MIB);
    free(block);
    struct mallinfo2 released = mallinfo2();
    expect_identities(released);
    check(released.keepcost >= 8 * MIB);
    char *high = sbrk(0);
    check(malloc_trim(0) == 1);
    struct mallinfo2 trimmed = mallinfo2();
    expect_identities(trimmed);
    check(trimmed.keepcost < MIB);
    size_t lowered = (size_t)(high - (char *)sbrk(0));
    check(released.arena - trimmed.arena == lowered);
    /* What it foretold, but for the pad and a page or two. */
    check(lowered <= released.keepcost && lowered + 256 * KIB > released.keepcost);
}

Test(mallinfo, keepcost_foretells_a_trim)
{
    expect_fresh(top);
}

static void *hold_blocks(void *argument)
{
    pthread_barrier_t *barrier = argument;
    static __thread void *blocks[1000];
    for (int i = 0; i < 1000; i++)
        blocks[i] = malloc(3000);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    for (int i = 0; i < 1000; i++)
        free(blocks[i]);
    return NULL;
}

FRESH(threads)
{
    enum { COUNT = 3 };
    pthread_t started[COUNT];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, COUNT + 1);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < COUNT; i++)
        check(pthread_create(&started[i], NULL, hold_blocks, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    struct mallinfo2 held = mallinfo2();
    expect_identities(held);
    check(held.uordblks >= before.uordblks + COUNT * 3000000);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < COUNT; i++)
        pthread_join(started[i], NULL);
    struct mallinfo2 after = mallinfo2();
    expect_identities(after);
    check(after.uordblks <= before.uordblks + MIB);
}

Test(mallinfo, covers_every_thread)
{
    expect_fresh(threads);
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

FRESH(narrow)
{
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i * 100));
    check(malloc(3 * MIB));
    struct mallinfo narrow = mallinfo();
    struct mallinfo2 wide = mallinfo2();
    check(narrow.arena == (int)wide.arena && narrow.ordblks == (int)wide.ordblks);
    check(narrow.smblks == (int)wide.smblks && narrow.hblks == (int)wide.hblks);
    check(narrow.hblkhd == (int)wide.hblkhd && narrow.usmblks == (int)wide.usmblks);
    check(narrow.fsmblks == (int)wide.fsmblks && narrow.uordblks == (int)wide.uordblks);
    check(narrow.fordblks == (int)wide.fordblks && narrow.keepcost == (int)wide.keepcost);
    /* Beyond int: cut, not refused. */
    void *huge = malloc(5 * 1024 * MIB);
    check(huge);
    wide = mallinfo2();
    check(wide.hblkhd >= 5 * 1024 * MIB);
    check(mallinfo().hblkhd == (int)wide.hblkhd);
    free(huge);
}

Test(mallinfo, the_old_one_is_the_same_cut_to_int)
{
    expect_fresh(narrow);
}
