/* The threshold from which a request becomes a mapping: its default, how frees raise it, and what fixes
   it. */
#include "blocks.h"
#include "fresh.h"

CONTRACT_OF(threshold);

/* The first request that maps under a threshold: glibc adds 8 bytes and rounds up to 16. */
static size_t first_mapped(size_t threshold)
{
    return threshold - 23;
}

/* Is any of a few such requests mapped? The first may find free memory of the heap. None is freed, for that
   could raise the threshold, and the next would find its memory. */
static int is_mapped_aligned(size_t alignment, size_t size)
{
    for (int i = 0; i < 4; i++) {
        void *block = memalign(alignment, size);
        check(block);
        if (!lies_on_break(block))
            return 1;
    }
    return 0;
}

static int is_mapped(size_t size)
{
    return is_mapped_aligned(1, size);
}

FRESH(the_default)
{
    check(!is_mapped(first_mapped(128 * KIB) - 1));
    check(is_mapped(first_mapped(128 * KIB)));
    check(is_mapped(MIB));
    check(is_mapped(100 * MIB));
    check(mallinfo2().hblks == 3);
}

Test(threshold, is_128_kib)
{
    expect_fresh(the_default);
}

FRESH(raised_by_free)
{
    free(malloc(MIB));
    /* A mapping of 1 MiB has a header's page more in glibc: its whole length is the new threshold. */
    check(!is_mapped(MIB));
    check(!is_mapped(first_mapped(MIB)));
    check(is_mapped(MIB + 2 * page_size()));
    /* Never lowered. */
    char *smaller = calloc(1, MIB + 2 * page_size());
    free(smaller);
    check(!is_mapped(MIB));
}

FRESH(trim_follows)
{
    free(malloc(4 * MIB));
    /* The trim threshold is twice the new one: memory of that size can come and go without a system call. */
    char *block = malloc(4 * MIB);
    check(lies_on_break(block));
    void *high = sbrk(0);
    for (int i = 0; i < 100; i++) {
        free(block);
        check(sbrk(0) == high);
        check(lies_on_break(block = malloc(4 * MIB)));
    }
    check(sbrk(0) == high);
}

FRESH(up_to_32_mib)
{
    free(malloc(33 * MIB));
    check(is_mapped(200000));
    free(malloc(31 * MIB));
    check(!is_mapped(30 * MIB));
    check(is_mapped(33 * MIB));
}

FRESH(realloc_raises_nothing)
{
    char *block = malloc(MIB);
    block = realloc(block, 4 * MIB);
    block = realloc(block, 2 * MIB);
    check(is_mapped(200000));
    free(block);
    check(!is_mapped(200000));
}

Test(threshold, is_raised_by_the_free_of_a_mapping)
{
    expect_fresh(raised_by_free);
    expect_fresh(trim_follows);
    expect_fresh(up_to_32_mib);
    expect_fresh(realloc_raises_nothing);
}

static void expect_fixed(int parameter, int value)
{
    check(mallopt(parameter, value) == 1);
    free(malloc(MIB));
    free(malloc(MIB));
    check(is_mapped(MIB));
    check(is_mapped(first_mapped(128 * KIB)));
}

FRESH(fixed_by_trim_threshold)
{
    expect_fixed(M_TRIM_THRESHOLD, 128 << 10);
}

FRESH(fixed_by_top_pad)
{
    expect_fixed(M_TOP_PAD, 128 << 10);
}

FRESH(fixed_by_mmap_threshold)
{
    expect_fixed(M_MMAP_THRESHOLD, 128 << 10);
}

FRESH(fixed_by_mmap_max)
{
    expect_fixed(M_MMAP_MAX, 65536);
}

Test(threshold, is_fixed_by_setting_any_of_its_parameters)
{
    expect_fresh(fixed_by_trim_threshold);
    expect_fresh(fixed_by_top_pad);
    expect_fresh(fixed_by_mmap_threshold);
    expect_fresh(fixed_by_mmap_max);
}

FRESH(set_higher)
{
    check(mallopt(M_MMAP_THRESHOLD, 8 << 20) == 1);
    check(!is_mapped(first_mapped(8 * MIB) - 1));
    check(is_mapped(first_mapped(8 * MIB)));
}

FRESH(set_lower)
{
    check(mallopt(M_MMAP_THRESHOLD, 64 << 10) == 1);
    check(mallopt(M_TOP_PAD, 0) == 1);
    int mapped = 0;
    for (int i = 0; i < 8; i++)
        mapped += is_mapped(first_mapped(64 * KIB));
    /* What is free in the heap comes first. */
    check(mapped >= 4);
    for (int i = 0; i < 8; i++)
        check(!is_mapped(first_mapped(64 * KIB) - 1));
}

/* A negative value is a huge one. */
FRESH(set_negative)
{
    check(mallopt(M_MMAP_THRESHOLD, -1) == 1);
    for (size_t size = 200000; size < 128 * MIB; size *= 2)
        check(!is_mapped(size));
}

Test(threshold, can_be_set)
{
    expect_fresh(set_higher);
    expect_fresh(set_lower);
    expect_fresh(set_negative);
}

FRESH(free_memory_first)
{
    check(mallopt(M_MMAP_MAX, 0) == 1);
    char *piece = malloc(4 * MIB), *above = malloc(1000);
    check(lies_on_break(piece) && lies_on_break(above));
    free(piece);
    check(mallopt(M_MMAP_MAX, 65536) == 1);
    char *large = malloc(2 * MIB);
    check(lies_on_break(large) && large >= piece && large < piece + 4 * MIB);
    check(is_mapped(4 * MIB));
}

Test(threshold, matters_only_when_the_heap_would_have_to_grow)
{
    expect_fresh(free_memory_first);
}

FRESH(alignment_counts)
{
    check(!is_mapped(128000));
    check(!is_mapped_aligned(16, 128000));
    check(is_mapped_aligned(4096, 128000));
}

Test(threshold, is_compared_with_the_size_and_its_alignment)
{
    expect_fresh(alignment_counts);
}
