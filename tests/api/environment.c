/* Settings from outside: glibc's MALLOC_ variables and GLIBC_TUNABLES, which win over them. */
#include "break.h"

#include <pthread.h>

CONTRACT_OF(environment);

static size_t expected_number(void)
{
    return strtoul(getenv("EXPECTED"), NULL, 0);
}

/* The first request that maps is EXPECTED bytes. Tried repeatedly: the first few may find free memory of the
   heap. */
FRESH(first_mapped)
{
    size_t size = expected_number(), mapped = 0;
    for (int i = 0; i < 8; i++)
        mapped += !lies_on_break(malloc(size));
    check(mapped >= 4);
    for (int i = 0; i < 8; i++)
        check(lies_on_break(malloc(size - 1)));
}

FRESH(nothing_mapped)
{
    for (size_t size = 100000; size <= 64 * MIB; size *= 2)
        check(lies_on_break(malloc(size)));
}

/* Of five mappings wanted, EXPECTED are. */
FRESH(mappings)
{
    size_t mapped = 0;
    for (int i = 0; i < 5; i++)
        mapped += !lies_on_break(malloc(MIB));
    check(mapped == expected_number());
    check(mallinfo2().hblks == mapped);
}

FRESH(growth)
{
    size_t growth = growth_of_the_break();
    check(growth >= expected_number() && growth < expected_number() + 256 * KIB);
}

/* By at least EXPECTED, which is 0 for not at all. */
FRESH(lowered)
{
    size_t lowered = lowered_by_frees();
    check(expected_number() ? lowered >= expected_number() : lowered == 0);
}

/* The threshold does not move any more. */
FRESH(threshold_is_fixed)
{
    for (int i = 0; i < 3; i++) {
        void *block = malloc(MIB);
        check(!lies_on_break(block));
        free(block);
    }
}

/* New blocks are filled with EXPECTED; 0 means that they are not, and a fresh mapping shows it. */
FRESH(filled)
{
    static const size_t sizes[] = {100, 2000, 20000};
    unsigned char value = (unsigned char)expected_number();
    for (size_t i = 0; value && i < COUNT_OF(sizes); i++) {
        unsigned char *block = malloc(sizes[i]);
        check(first_other_than(block, sizes[i], value) == sizes[i]);
    }
    unsigned char *mapping = malloc(MIB);
    check(first_other_than(mapping, MIB, value) == MIB);
}

static void *block_of_thread(void *unused)
{
    (void)unused;
    return malloc(100);
}

FRESH(threads_on_break)
{
    check(malloc(100));
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *block;
        check(pthread_create(&thread, NULL, block_of_thread, NULL) == 0);
        pthread_join(thread, &block);
        check(block && lies_on_break(block));
    }
}

/* Whatever was said, the allocator works. */
FRESH(works)
{
    static void *blocks[1000];
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            fill_pattern(blocks[i] = malloc(i * 40), i * 40, i);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
            check(verify_pattern(blocks[i], i * 40, i) == i * 40);
            free(blocks[i]);
        }
    }
}

#define TUNABLE(setting) "GLIBC_TUNABLES=glibc.malloc." setting

Test(environment, mmap_threshold)
{
    expect_fresh(first_mapped, "EXPECTED=131049", "MALLOC_MMAP_THRESHOLD_=131072");
    expect_fresh(first_mapped, "EXPECTED=262121", "MALLOC_MMAP_THRESHOLD_=262144");
    expect_fresh(first_mapped, "EXPECTED=65513", "MALLOC_MMAP_THRESHOLD_=65536", "MALLOC_TOP_PAD_=0");
    expect_fresh(first_mapped, "EXPECTED=1048553", "MALLOC_MMAP_THRESHOLD_=0x100000");
    expect_fresh(first_mapped, "EXPECTED=1048553", "MALLOC_MMAP_THRESHOLD_=04000000");
    expect_fresh(nothing_mapped, "MALLOC_MMAP_THRESHOLD_=-1");
    expect_fresh(first_mapped, "EXPECTED=262121", TUNABLE("mmap_threshold=262144"));
    expect_fresh(first_mapped, "EXPECTED=1048553", TUNABLE("mmap_threshold=0x100000"));
    expect_fresh(first_mapped, "EXPECTED=1048553", TUNABLE("mmap_threshold=04000000"));
}

Test(environment, mmap_max)
{
    expect_fresh(mappings, "EXPECTED=5", "MALLOC_MMAP_MAX_=65536");
    expect_fresh(mappings, "EXPECTED=3", "MALLOC_MMAP_MAX_=3");
    expect_fresh(mappings, "EXPECTED=0", "MALLOC_MMAP_MAX_=0");
    expect_fresh(mappings, "EXPECTED=2", TUNABLE("mmap_max=2"));
    expect_fresh(nothing_mapped, TUNABLE("mmap_max=0"));
}

Test(environment, top_pad)
{
    expect_fresh(growth, "EXPECTED=0x400000", "MALLOC_TOP_PAD_=4194304");
    expect_fresh(growth, "EXPECTED=0x1000", "MALLOC_TOP_PAD_=0");
    expect_fresh(growth, "EXPECTED=0x100000", TUNABLE("top_pad=1048576"));
}

Test(environment, trim_threshold)
{
    expect_fresh(lowered, "EXPECTED=18000000", "MALLOC_TRIM_THRESHOLD_=131072");
    expect_fresh(lowered, "EXPECTED=10000000", "MALLOC_TRIM_THRESHOLD_=4000000");
    expect_fresh(lowered, "EXPECTED=0", "MALLOC_TRIM_THRESHOLD_=64000000");
    expect_fresh(lowered, "EXPECTED=0", "MALLOC_TRIM_THRESHOLD_=-1");
    expect_fresh(lowered, "EXPECTED=0", TUNABLE("trim_threshold=64000000"));
    expect_fresh(lowered, "EXPECTED=18000000", TUNABLE("trim_threshold=131072"));
}

Test(environment, any_of_these_fixes_the_threshold)
{
    expect_fresh(threshold_is_fixed, "MALLOC_MMAP_THRESHOLD_=131072");
    expect_fresh(threshold_is_fixed, "MALLOC_TRIM_THRESHOLD_=131072");
    expect_fresh(threshold_is_fixed, "MALLOC_TOP_PAD_=131072");
    expect_fresh(threshold_is_fixed, "MALLOC_MMAP_MAX_=65536");
    expect_fresh(threshold_is_fixed, TUNABLE("mmap_threshold=131072"));
    expect_fresh(threshold_is_fixed, TUNABLE("trim_threshold=131072"));
    expect_fresh(threshold_is_fixed, TUNABLE("top_pad=131072"));
    expect_fresh(threshold_is_fixed, TUNABLE("mmap_max=65536"));
}

Test(environment, perturb)
{
    expect_fresh(filled, "EXPECTED=0x5a", "MALLOC_PERTURB_=165");
    expect_fresh(filled, "EXPECTED=0x5a", "MALLOC_PERTURB_=0xa5");
    expect_fresh(filled, "EXPECTED=0", "MALLOC_PERTURB_=0");
    expect_fresh(filled, "EXPECTED=0x5a", TUNABLE("perturb=165"));
    expect_fresh(filled, "EXPECTED=0x5a", TUNABLE("perturb=0245"));
}

Test(environment, one_arena)
{
    expect_fresh(threads_on_break, "MALLOC_ARENA_MAX=1");
    expect_fresh(threads_on_break, TUNABLE("arena_max=1"));
}

Test(environment, tunables_win_and_come_in_lists)
{
    expect_fresh(first_mapped, "EXPECTED=262121", "MALLOC_MMAP_THRESHOLD_=1048576",
                 TUNABLE("mmap_threshold=262144"));
    expect_fresh(mappings, "EXPECTED=2", "MALLOC_MMAP_MAX_=0", TUNABLE("mmap_max=2"));
    expect_fresh(first_mapped, "EXPECTED=262121",
                 TUNABLE("tcache_count=0:glibc.malloc.mmap_threshold=262144:glibc.malloc.perturb=165"));
    expect_fresh(filled, "EXPECTED=0x5a",
                 TUNABLE("tcache_count=0:glibc.malloc.mmap_threshold=262144:glibc.malloc.perturb=165"));
    expect_fresh(mappings, "EXPECTED=3", "GLIBC_TUNABLES=glibc.cpu.x86_ibt=off:glibc.malloc.mmap_max=3");
}

Test(environment, what_is_out_of_range_or_unknown_is_ignored)
{
    expect_fresh(filled, "EXPECTED=0", TUNABLE("perturb=256"));
    expect_fresh(filled, "EXPECTED=0", TUNABLE("perturb=-1"));
    expect_fresh(mappings, "EXPECTED=5", TUNABLE("no_such_thing=1"));
    expect_fresh(mappings, "EXPECTED=5", "GLIBC_TUNABLES=glibc.malloc");
    expect_fresh(mappings, "EXPECTED=5", "GLIBC_TUNABLES=");
    expect_fresh(mappings, "EXPECTED=5", "GLIBC_TUNABLES=:::=:=");
    expect_fresh(works, "MALLOC_ARENA_MAX=0");
    expect_fresh(works, TUNABLE("arena_max=0"));
    expect_fresh(works, "MALLOC_ARENA_TEST=1");
    expect_fresh(works, TUNABLE("arena_test=1"));
}

Test(environment, the_other_tunables_are_accepted)
{
    expect_fresh(works, TUNABLE("mxfast=0"));
    expect_fresh(works, TUNABLE("mxfast=160"));
    expect_fresh(works, TUNABLE("tcache_max=0"));
    expect_fresh(works, TUNABLE("tcache_count=1000"));
    expect_fresh(works, TUNABLE("tcache_unsorted_limit=10"));
    expect_fresh(works, TUNABLE("hugetlb=1"));
    expect_fresh(works, TUNABLE("check=3"));
}
