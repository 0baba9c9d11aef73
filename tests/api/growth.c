/* How the heap grows when the break is not its alone: somebody else's sbrk, and a mapping in the way. */
#include "break.h"

#include <sys/mman.h>

CONTRACT_OF(growth);

enum { COUNT = 4000, SIZE = 1000 };

static void fill_heap(void *blocks[COUNT])
{
    for (unsigned i = 0; i < COUNT; i++) {
        check((blocks[i] = malloc(SIZE)) != NULL);
        fill_pattern(blocks[i], SIZE, i);
    }
}

static void verify_heap(void *blocks[COUNT])
{
    for (unsigned i = 0; i < COUNT; i++)
        check(verify_pattern(blocks[i], SIZE, i) == SIZE);
}

FRESH(foreign_sbrk)
{
    static void *before[COUNT], *after[COUNT];
    fill_heap(before);
    char *theirs = sbrk(300001);
    check(theirs != (char *)-1);
    fill_pattern(theirs, 300001, 77);
    fill_heap(after);
    /* The heap went on above them, and no block is theirs. */
    check((char *)after[COUNT - 1] > theirs + 300001);
    check(lies_on_break(after[COUNT - 1]));
    for (unsigned i = 0; i < COUNT; i++)
        check((char *)after[i] + SIZE <= theirs || (char *)after[i] >= theirs + 300001);
    check(verify_pattern(theirs, 300001, 77) == 300001);
    verify_heap(before);
    verify_heap(after);
    for (unsigned i = 0; i < COUNT; i++) {
        free(before[i]);
        free(after[i]);
    }
    malloc_trim(0);
    check((char *)sbrk(0) >= theirs + 300001);
    check(verify_pattern(theirs, 300001, 77) == 300001);
}

Test(growth, steps_over_the_sbrk_of_others)
{
    expect_fresh(foreign_sbrk);
}

/* Nobody can lower a break that is not where they left it. */
FRESH(foreign_top)
{
    static void *blocks[COUNT];
    fill_heap(blocks);
    char *theirs = sbrk(4096), *high = sbrk(0);
    check(high == theirs + 4096);
    fill_pattern(theirs, 4096, 78);
    for (unsigned i = 0; i < COUNT; i++)
        free(blocks[i]);
    malloc_trim(0);
    check(sbrk(0) == high);
    check(verify_pattern(theirs, 4096, 78) == 4096);
    fill_heap(blocks);
    verify_heap(blocks);
    check(verify_pattern(theirs, 4096, 78) == 4096);
}

Test(growth, leaves_a_break_that_others_moved)
{
    expect_fresh(foreign_top);
}

static void *block_the_break(void)
{
    void *wanted = (void *)round_up((uintptr_t)sbrk(0), page_size());
    void *blocker =
        mmap(wanted, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    check(blocker == wanted);
    check(sbrk((intptr_t)page_size() * 2) == (void *)-1);
    return blocker;
}

FRESH(blocked)
{
    static void *blocks[COUNT], *elsewhere[COUNT], *again[COUNT];
    fill_heap(blocks);
    struct mallinfo2 before = mallinfo2();
    void *blocker = block_the_break();
    fill_heap(elsewhere);
    check(!lies_on_break(elsewhere[COUNT - 1]));
    struct mallinfo2 info = mallinfo2();
    /* What the heap takes then is a part of it, not one of the mappings. */
    check(info.hblks == before.hblks && info.hblkhd == before.hblkhd);
    check(info.arena >= before.arena + COUNT * SIZE / 2);
    check(info.uordblks >= before.uordblks + COUNT * SIZE);

    /* The break is tried first at the next growth, and is free again. */
    munmap(blocker, page_size());
    char *low = sbrk(0);
    for (int i = 0; i < 4; i++)
        fill_heap(again);
    check(lies_on_break(again[COUNT - 1]) && (char *)again[COUNT - 1] >= low - 256 * KIB);
    check((char *)sbrk(0) > low);
    verify_heap(blocks);
    verify_heap(elsewhere);
    verify_heap(again);
    for (unsigned i = 0; i < COUNT; i++) {
        free(blocks[i]);
        free(elsewhere[i]);
        free(again[i]);
    }
    fill_heap(blocks);
    verify_heap(blocks);
}

Test(growth, goes_elsewhere_while_the_break_is_blocked)
{
    expect_fresh(blocked);
}
