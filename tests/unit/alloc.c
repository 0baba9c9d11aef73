/* alloc.c: the dispatch over slabs, runs and mappings: which serves what, at every boundary; contents
   across every kind of resize; what the look-up of a pointer says; out of memory. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/unwind.c"
#include "allocator/stack.c"

#include "allocator/options.c"
#include "allocator/os.c"
#include "allocator/os_heap.c"

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

#include "allocator/quarantine.c"
#include "allocator/thread.c"

#include "allocator/guard.c"
#include "allocator/guard_report.c"

#include "allocator/foreign.c"

#include "allocator/hardened.c"

#include "allocator/heap_map.c"
#include "allocator/heap_slab.c"

#include "allocator/heap_recover.c"

#include "allocator/heap_shard.c"

#include "allocator/heap_check.c"

#include "allocator/heap_open.c"

#include "allocator/heap.c"

#include "allocator/alloc.c"

#include "arenas.h"

static struct random dice;

static void alloc_begin(void)
{
    process_init_once();
    thread_init();
    dice = random_begin();
}

TestSuite(alloc, .init = alloc_begin);

static enum block_kind kind_of(const void *p) { return block_look_up(p).kind; }

/* Sizes next to every boundary: of classes, of slices, of pages, of the threshold. */
static const size_t edges[] = {
    0,      1,      15,     16,     17,     31,     32,     33,     48,      64,            65,      112,
    113,    128,    129,    256,    257,    1000,   1024,   1025,   2048,    4095,          4096,    4097,
    5120,   8192,   8193,   16384,  20481,  32767,  32768,  32769,  65535,   65536,         65537,   100000,
    131047, 131048, 131049, 131072, 131073, 200000, 262144, 262145, 524288,  1 << 20,       3 << 20, 5000000,
    (1 << 20) + 1,
};

static void fill(void *p, size_t size, unsigned seed)
{
    unsigned char *bytes = p;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7 + (i >> 8) + seed);
}

static void verify(const void *p, size_t size, unsigned seed)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < size; i++)
        check(bytes[i] == (unsigned char)(i * 7 + (i >> 8) + seed));
}

static bool is_byte(const void *p, size_t size, unsigned char byte)
{
    const unsigned char *bytes = p;
    return size == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void expect_block(void *p, size_t alignment, size_t size)
{
    check(p && (uintptr_t)p % max_size(alignment, BLOCK_ALIGNMENT) == 0);
    check(alloc_usable_size(p) >= size && alloc_owns(p) && alloc_owns((char *)p + alloc_usable_size(p) - 1));
}

/* ---- which serves what ---- */

Test(alloc, every_size_of_a_class)
{
    for (size_t size = 0; size <= CLASS_MAX; size++) {
        void *p = alloc_allocate(size);
        expect_block(p, 1, size);
        check(kind_of(p) == BLOCK_SLAB);
        unsigned actual = slab_of(p)->size_class, class = class_of(size);
        check(actual == class || actual == size_classes[class].lender);
        if (size % 3 == 0)
            alloc_release(p);
    }
    arenas_check();
}

Test(alloc, boundaries)
{
    check(kind_of(alloc_allocate(CLASS_MAX)) == BLOCK_SLAB);
    check(kind_of(alloc_allocate(CLASS_MAX + 1)) == BLOCK_MEDIUM);
    check(kind_of(alloc_allocate(131048)) == BLOCK_MEDIUM);
    check(kind_of(alloc_allocate(131049)) == BLOCK_MAPPING);
    void *medium = alloc_allocate(CLASS_MAX + 1);
    check(alloc_usable_size(medium) == SLICE_SIZE);
    check(alloc_usable_size(alloc_allocate(SLICE_SIZE)) == SLICE_SIZE);
    check(alloc_usable_size(alloc_allocate(SLICE_SIZE + 1)) == 2 * SLICE_SIZE);
    check(alloc_usable_size(alloc_allocate(131049)) == 131072 &&
          alloc_usable_size(alloc_allocate(131073)) == 135168);
}

/* A mapping's size is learned: the next of it comes from the break, and is one block after the other's
   place. */
Test(alloc, threshold_moves)
{
    void *p = alloc_allocate(1 << 20);
    check(kind_of(p) == BLOCK_MAPPING);
    alloc_release(p);
    check(load_relaxed(mapping_policy.threshold) == 1052672 &&
          load_relaxed(region_policy.trim_threshold) == 2105344);
    p = alloc_allocate(1 << 20);
    check(kind_of(p) == BLOCK_MEDIUM);
    void *larger = alloc_allocate((1 << 20) + 4096);
    check(kind_of(larger) == BLOCK_MAPPING);
    alloc_release(p);
    alloc_release(larger);
}

/* What was used before serves a request that could be mapped; what never was, does not. */
Test(alloc, reuse_before_mapping)
{
    void *p[8], *fence;
    for (int i = 0; i < 8; i++)
        p[i] = alloc_allocate(100000);
    fence = alloc_allocate(100000);
    for (int i = 0; i < 8; i++)
        alloc_release(p[i]);
    void *large = alloc_allocate(500000);
    check(kind_of(large) == BLOCK_MEDIUM && large == p[4]); /* the thread keeps what it freed first */
    check(kind_of(alloc_allocate(1000000)) == BLOCK_MAPPING);
    alloc_release(fence);
}

Test(alloc, no_mappings_allowed)
{
    mapping_policy.count_max = 0;
    void *p = alloc_allocate(10 << 20);
    check(kind_of(p) == BLOCK_MEDIUM && alloc_usable_size(p) >= 10 << 20);
    alloc_release(p);
}

Test(alloc, every_alignment)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(edges); i += 1 + (alignment > MIB)) {
            void *p = alloc_aligned(alignment, edges[i]), *other = alloc_aligned(alignment, edges[i]);
            expect_block(p, alignment, edges[i]);
            expect_block(other, alignment, edges[i]);
            check(p != other);
            if (edges[i] <= CLASS_MAX && alignment <= CLASS_MAX)
                check(kind_of(p) == BLOCK_SLAB);
            fill(p, edges[i], 1);
            fill(other, edges[i], 2);
            verify(p, edges[i], 1);
            alloc_release(p);
            verify(other, edges[i], 2);
            alloc_release_aligned_sized(other, alignment, edges[i]);
        }
    arenas_check();
}

Test(alloc, blocks_do_not_overlap)
{
    enum { BLOCKS = 800 };
    static void *p[BLOCKS];
    static size_t sizes[BLOCKS];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            if (p[i])
                continue;
            sizes[i] = random_one_in(&dice, 10) ? edges[random_below(&dice, COUNT_OF(edges))]
                                                : random_below(&dice, 5000);
            expect_block(p[i] = alloc_allocate(sizes[i]), 1, sizes[i]);
            fill(p[i], sizes[i], (unsigned)i);
        }
        for (size_t i = 0; i < BLOCKS; i++)
            verify(p[i], sizes[i], (unsigned)i);
        for (size_t i = 0; i < BLOCKS; i++)
            if (random_one_in(&dice, 2)) {
                alloc_release(p[i]);
                p[i] = NULL;
            }
        arenas_check();
    }
}

/* ---- contents ---- */

/* calloc's blocks are zero however dirty the memory was, and wherever it comes from. */
Test(alloc, zeroed)
{
    for (int round = 0; round < 6; round++) {
        void *p[COUNT_OF(edges)], *dirty[COUNT_OF(edges)];
        for (size_t i = 0; i < COUNT_OF(edges); i++) {
            check((dirty[i] = alloc_allocate(edges[i])));
            memset(dirty[i], 0xff, alloc_usable_size(dirty[i]));
        }
        for (size_t i = 0; i < COUNT_OF(edges); i++)
            if ((i + (size_t)round) % 3)
                alloc_release(dirty[i]);
        for (size_t i = 0; i < COUNT_OF(edges); i++) {
            expect_block(p[i] = alloc_allocate_zeroed(edges[i]), 1, edges[i]);
            check(is_byte(p[i], edges[i], 0));
            memset(p[i], 0xee, edges[i]);
        }
        for (size_t i = 0; i < COUNT_OF(edges); i++)
            if (random_one_in(&dice, 2))
                alloc_release(p[i]);
        if (round % 2)
            region_trim_all(0);
    }
    for (size_t size = 0; size < 2000; size += 3) { /* fresh pages of slabs */
        void *p = alloc_allocate_zeroed(size);
        check(is_byte(p, size, 0));
        memset(p, 0xee, size);
    }
    arenas_check();
}

Test(alloc, perturb)
{
    void *before = alloc_allocate(500);
    alloc_set_perturb(0x5a);
    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        unsigned char *p = alloc_allocate(edges[i]);
        check(is_byte(p, edges[i], 0xa5));
        size_t size = alloc_usable_size(p);
        enum block_kind kind = kind_of(p);
        memset(p, 1, size);
        alloc_release(p);
        if (kind == BLOCK_SLAB && region_of(p) && run_kind(slab_of(p)) == RUN_SLAB && size > 16)
            check(is_byte(p + 8, size - 8, 0x5a)); /* behind the link */
        check(is_byte(p = alloc_allocate_zeroed(edges[i]), edges[i], 0));
        alloc_release(p);
        check(is_byte(p = alloc_aligned(64, edges[i]), edges[i], 0xa5));
        alloc_release(p);
    }
    alloc_release(before);
    alloc_set_perturb(0);
    unsigned char *p = alloc_allocate(500);
    memset(p, 1, 500);
    check(thread_arena == thread_home && p[0] == 1);
    alloc_release(p);
    arenas_check();
}

/* ---- resize ---- */

/* From every size to every other: the contents to the smaller of the two stay, the kind is as a fresh
   block's may be. */
Test(alloc, resize_matrix)
{
    for (size_t from = 0; from < COUNT_OF(edges); from++)
        for (size_t to = 0; to < COUNT_OF(edges); to++) {
            if (edges[to] == 0 || (edges[from] > MIB && edges[to] > MIB && random_one_in(&dice, 2)))
                continue;
            void *p = alloc_allocate(edges[from]);
            fill(p, edges[from], (unsigned)from);
            size_t usable = alloc_usable_size(p);
            void *moved = alloc_resize(p, edges[to]);
            expect_block(moved, 1, edges[to]);
            verify(moved, min_size(edges[from], edges[to]), (unsigned)from);
            if (edges[to] <= usable && edges[to] > usable / 2)
                check(moved == p); /* what still fits stays */
            fill(moved, edges[to], 1);
            alloc_release_sized(moved, edges[to]);
        }
    arenas_check();
}

/* A block that grows and shrinks for long, among others that do. */
Test(alloc, resize_at_random)
{
    enum { BLOCKS = 60 };
    void *p[BLOCKS];
    size_t sizes[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        fill(p[i] = alloc_allocate(sizes[i] = 1), 1, (unsigned)i);
    for (int step = 0; step < 6000; step++) {
        size_t i = random_below(&dice, BLOCKS),
               size = 1 + random_below(&dice, (size_t)1 << random_between(&dice, 4, 19));
        p[i] = alloc_resize(p[i], size);
        expect_block(p[i], 1, size);
        verify(p[i], min_size(size, sizes[i]), (unsigned)i);
        fill(p[i], size, (unsigned)i);
        sizes[i] = size;
        if (step % 500 == 0)
            arenas_check();
    }
    for (size_t i = 0; i < BLOCKS; i++)
        alloc_release(p[i]);
    arenas_check();
    check(mapping_valid() && mapping_totals().count == 0);
}

/* ---- pointers from outside ---- */

Test(alloc, look_up)
{
    char *small = alloc_allocate(100), *medium = alloc_allocate(100000), *mapped = alloc_allocate(1000000);
    char *foreign = sbrk(200 * KIB);
    check(alloc_allocate(40000)); /* grows the region over somebody's memory */
    while (region_of(foreign) == NULL)
        check(alloc_allocate(40000));
    check(kind_of(small) == BLOCK_SLAB && kind_of(medium) == BLOCK_MEDIUM &&
          kind_of(mapped) == BLOCK_MAPPING);
    for (int offset = 1; offset < 100; offset++) {
        check(kind_of(small + offset) == BLOCK_INTERIOR);
        check(kind_of(medium + offset * 1000) == BLOCK_INTERIOR);
        check(kind_of(mapped + offset * 10000) == BLOCK_INTERIOR);
    }
    check(kind_of(&small) == BLOCK_FOREIGN && kind_of((void *)16) == BLOCK_FOREIGN &&
          kind_of(NULL) == BLOCK_FOREIGN);
    check(kind_of((void *)UINTPTR_MAX) == BLOCK_FOREIGN && kind_of(regions) == BLOCK_FOREIGN);
    for (size_t offset = 0; offset < 200 * KIB; offset += 4 * KIB)
        check(kind_of(foreign + offset) == BLOCK_FOREIGN && !alloc_owns(foreign + offset));
    check(!alloc_owns(&small) && !alloc_owns(NULL) && alloc_owns(small + 50) && alloc_owns(mapped + 999999));
    alloc_release(small);
    check(kind_of(small) == BLOCK_FREE);
    size_t block_size = size_classes[slab_of(small)->size_class].block_size;
    check(kind_of(small + 2 * block_size) == BLOCK_FREE); /* never handed out */
    alloc_release(medium);
    check(kind_of(medium) != BLOCK_MEDIUM);
    alloc_release(mapped);
    check(kind_of(mapped) == BLOCK_FOREIGN && !alloc_owns(mapped));
}

static void expect_refused(const char *bug, const void *p, void (*use)(void *))
{
    char line[100];
    snprintf(line, sizeof line, "brim: %s: %p", bug, p);
    expect_fatal(line, use((void *)(uintptr_t)p));
}

static void use_release(void *p) { alloc_release(p); }
static void use_resize(void *p) { alloc_resize(p, 10); }
static void use_usable_size(void *p) { alloc_usable_size(p); }
static void use_sized(void *p) { alloc_release_sized(p, 7000); }

Test(alloc, refusals)
{
    char *small = alloc_allocate(100), *medium = alloc_allocate(100000), *mapped = alloc_allocate(1000000),
         local;
    expect_refused("invalid free", &local, use_release);
    expect_refused("invalid free", (void *)16, use_release);
    expect_refused("invalid free of an interior pointer", small + 16, use_release);
    expect_refused("invalid free of an interior pointer", small + 1, use_release);
    expect_refused("invalid free of an interior pointer", medium + 65536, use_release);
    expect_refused("invalid free of an interior pointer", mapped + 4096, use_release);
    expect_refused("invalid pointer passed to realloc", small + 16, use_resize);
    expect_refused("invalid pointer passed to realloc", &local, use_resize);
    expect_refused("invalid pointer passed to malloc_usable_size", medium + 16, use_usable_size);
    expect_refused("size mismatch in sized free", small, use_sized);
    alloc_release(small);
    expect_refused("double free", small, use_release);
    expect_refused("double free", small, use_sized);
    expect_refused("invalid pointer passed to realloc", small, use_resize);
    expect_refused("invalid pointer passed to malloc_usable_size", small, use_usable_size);
    alloc_release(medium);
    expect_refused("double free", medium, use_release);
    alloc_release(mapped);
    expect_refused("invalid free", mapped, use_release);
}

/* Freed twice with other blocks freed between, by another thread, and when the slab's pages have gone
   back. */
static void *release_in_thread(void *p)
{
    alloc_release(p);
    return NULL;
}

Test(alloc, double_frees_far_apart)
{
    void *p[200];
    for (int i = 0; i < 200; i++)
        p[i] = alloc_allocate(1024);
    pthread_t thread;
    check(pthread_create(&thread, NULL, release_in_thread, p[150]) == 0);
    pthread_join(thread, NULL);
    for (int i = 10; i < 60; i++)
        alloc_release(p[i]);
    expect_refused("double free", p[10], use_release);
    expect_refused("double free", p[59], use_release);
    expect_refused("double free", p[150], use_release);
    thread_trim();
    expect_refused("double free", p[30], use_release);
}

/* ---- sized free ---- */

Test(alloc, sized_free_takes_every_right_size)
{
    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        alloc_release_sized(alloc_allocate(edges[i]), edges[i]);
        alloc_release_sized(alloc_allocate_zeroed(edges[i]), edges[i]);
        for (size_t alignment = 1; alignment <= 128 * KIB; alignment *= 2)
            alloc_release_aligned_sized(alloc_aligned(alignment, edges[i]), alignment, edges[i]);
        for (size_t j = 0; j < COUNT_OF(edges); j++)
            if (edges[j] != 0)
                alloc_release_sized(alloc_resize(alloc_allocate(edges[i]), edges[j]), edges[j]);
    }
    alloc_release_sized(NULL, 100);
    alloc_release_aligned_sized(NULL, 64, 100);
    arenas_check();
}

static size_t wrong_size, wrong_alignment;
static void use_wrong(void *p) { alloc_release_aligned_sized(p, wrong_alignment, wrong_size); }

Test(alloc, sized_free_refuses_the_impossible)
{
    static const struct {
        size_t size, alignment, wrong_size, wrong_alignment;
    } rows[] = {
        {100, 16, 1000, 16},       {1000, 16, 100, 16},     {40000, 16, 100000, 16},
        {100, 16, SIZE_MAX, 16},   {40000, 16, 0, 1 << 30}, {30000, 16, 40000, 16},
        {32768, 32768, 10, 65536}, {16, 16, 16, 64 << 20},  {100, 16, 100, (size_t)1 << 63},
        {100, 16, 100000, 16},     {1 << 20, 16, 2 << 20, 16},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        void *p = alloc_aligned(rows[i].alignment, rows[i].size);
        wrong_size = rows[i].wrong_size;
        wrong_alignment = rows[i].wrong_alignment;
        expect_refused("size mismatch in sized free", p, use_wrong);
        alloc_release(p);
    }
    /* The first block of a slab is aligned to more than its class promises. */
    void *first;
    do
        first = alloc_allocate(1024);
    while ((uintptr_t)first % SLICE_SIZE != 0);
    wrong_size = 10;
    wrong_alignment = SLICE_SIZE;
    expect_refused("size mismatch in sized free", first, use_wrong);
}

/* ---- out of memory ---- */

static void limit_address_space(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
}

Test(alloc, out_of_memory)
{
    enum { BLOCKS = 2 << 20 };
    static void *p[BLOCKS];
    void *large = alloc_allocate(1 << 20), *medium = alloc_allocate(100000), *small = alloc_allocate(3000);
    fill(large, 1 << 20, 1);
    fill(medium, 100000, 2);
    fill(small, 3000, 3);
    for (int round = 0; round < 2; round++) {
        limit_address_space(1);
        for (size_t i = 0; i < COUNT_OF(edges); i++) {
            size_t count = 0;
            errno = 0;
            while (count < BLOCKS && (p[count] = alloc_allocate(edges[i])))
                count++;
            check(count < BLOCKS && errno == ENOMEM);
            errno = 0;
            check(!alloc_allocate_zeroed(edges[i]) && errno == ENOMEM);
            if (edges[i] != 0 && count > 0) {
                fill(p[0], edges[i], 4);
                errno = 0;
                check(!alloc_resize(p[0], 64 * MIB) && errno == ENOMEM);
                verify(p[0], edges[i], 4);
            }
            errno = EXDEV;
            while (count > 0)
                alloc_release(p[--count]);
            check(errno == EXDEV);
        }
        verify(large, 1 << 20, 1);
        verify(medium, 100000, 2);
        verify(small, 3000, 3);
        arenas_check();
        limit_address_space(RLIM_INFINITY);
        for (size_t i = 0; i < COUNT_OF(edges); i++)
            alloc_release(alloc_allocate(edges[i]));
    }
    limit_address_space(1); /* shrinking cannot fail */
    for (size_t i = 0; i < BLOCKS && (p[i] = alloc_allocate(16)); i++)
        ;
    check(alloc_resize(large, 50000) && alloc_resize(medium, 40000));
    check((small = alloc_resize(small, 10)));
    verify(small, 10, 3);
    alloc_release_sized(small, 10);
}

Test(alloc, impossible_sizes)
{
    static const size_t sizes[] = {
        (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,      PTRDIFF_MAX - 65536, SIZE_MAX,
        SIZE_MAX - 15,           SIZE_MAX - 65536, (size_t)1 << 47,     (size_t)1 << 62};
    char *small = alloc_allocate(100), *medium = alloc_allocate(100000), *mapped = alloc_allocate(1000000);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        errno = 0;
        check(!alloc_allocate(sizes[i]) && errno == ENOMEM);
        errno = 0;
        check(!alloc_allocate_zeroed(sizes[i]) && errno == ENOMEM);
        errno = 0;
        check(!alloc_resize(small, sizes[i]) && !alloc_resize(medium, sizes[i]) &&
              !alloc_resize(mapped, sizes[i]));
        check(errno == ENOMEM);
        for (size_t alignment = 16; alignment != 0; alignment *= 2) {
            errno = 0;
            check(!alloc_aligned(alignment, sizes[i]) && errno == ENOMEM);
        }
    }
    for (size_t alignment = (size_t)1 << 47; alignment != 0; alignment *= 2)
        check(!alloc_aligned(alignment, 1) && !alloc_aligned(alignment, 100000));
    check(load_relaxed(region_count) == 1 && mapping_totals().count == 1);
}

Test(alloc, errno_is_kept)
{
    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        errno = EXDEV;
        void *p = alloc_allocate(edges[i]);
        p = alloc_resize(p, edges[i] + 1);
        alloc_release(p);
        p = alloc_allocate_zeroed(edges[i]);
        alloc_release_sized(p, edges[i]);
        alloc_release(NULL);
        p = alloc_aligned(4096, edges[i]);
        alloc_release(p);
        check(errno == EXDEV);
    }
}

/* ---- what a thread keeps of medium blocks ---- */

static void kept_release(void *p)
{
    alloc_release(p);
    check(run_kind(slab_at(region_of(p), p)) == RUN_CACHED);
}

static size_t runs_of_kind(enum run_kind kind)
{
    size_t runs = 0;
    for (size_t at = 0; at < load_relaxed(regions[0].count); at += run_length(&regions[0].map[at]))
        runs += run_kind(&regions[0].map[at]) == kind;
    return runs;
}

/* Whatever asks for so much gets the run that was freed last. */
Test(alloc, medium_blocks_come_back)
{
    char *p = alloc_allocate(100000);
    memset(p, 1, 100000);
    kept_release(p);
    check(alloc_allocate(70000) == p && kind_of(p) == BLOCK_MEDIUM && alloc_usable_size(p) == 2 * SLICE_SIZE);
    kept_release(p);
    check(alloc_allocate_zeroed(2 * SLICE_SIZE) == p && is_byte(p, 2 * SLICE_SIZE, 0));
    kept_release(p);
    check(alloc_aligned(SLICE_SIZE, 100000) == p);
    alloc_release_sized(p, 100000);
    check(kind_of(p) == BLOCK_FREE && kind_of(p + 16) == BLOCK_FREE && kind_of(p + SLICE_SIZE) == BLOCK_INTERIOR);
    check(alloc_owns(p));
    arenas_check();
}

Test(alloc, medium_blocks_freed_twice)
{
    void *p = alloc_allocate(100000);
    kept_release(p);
    expect_refused("double free", p, use_release);
    expect_refused("double free", p, use_sized);
    expect_refused("invalid pointer passed to realloc", p, use_resize);
    expect_refused("invalid pointer passed to malloc_usable_size", p, use_usable_size);
}

/* The heap does not grow while something is kept, nor is there anything mapped that would fit. */
Test(alloc, kept_runs_serve_before_growth)
{
    enum { BLOCKS = 4 };
    char *p[BLOCKS];
    check(alloc_allocate(100) && region_policy.top_pad != 0);
    for (int i = 0; i < BLOCKS; i++)
        p[i] = alloc_allocate(100000);
    void *fence = alloc_allocate(100000);
    for (int i = 0; i < BLOCKS; i++)
        kept_release(p[i]);
    char *large = alloc_allocate(BLOCKS * 2 * SLICE_SIZE + 1 - 100000);
    check(kind_of(large) == BLOCK_MEDIUM && large == p[0] && thread_home->medium.count == 0);
    alloc_release(large);
    alloc_release(fence);
    arenas_check();
}

/* A block grows into what was freed behind it. */
Test(alloc, resize_into_a_kept_run)
{
    char *p = alloc_allocate(60000), *behind = alloc_allocate(60000);
    check(behind == p + SLICE_SIZE);
    fill(p, 60000, 1);
    kept_release(behind);
    check(alloc_resize(p, 120000) == p);
    verify(p, 60000, 1);
    arenas_check();
}

static void *keep_some(void *barrier)
{
    void *p[2] = {alloc_allocate(60000), alloc_allocate(60000)};
    kept_release(p[0]);
    kept_release(p[1]);
    if (barrier) {
        pthread_barrier_wait(barrier);
        pthread_barrier_wait(barrier);
        check(alloc_allocate(60000)); /* whatever became of them */
    }
    return NULL;
}

/* A thread's end, malloc_trim, and another thread that is out of memory: all have what a thread keeps. */
Test(alloc, kept_runs_of_other_threads)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    void *fence = alloc_allocate(100);
    check(pthread_create(&thread, NULL, keep_some, NULL) == 0);
    pthread_join(thread, NULL);
    check(runs_of_kind(RUN_CACHED) == 0);
    check(pthread_barrier_init(&barrier, NULL, 2) == 0);
    for (int round = 0; round < 2; round++) {
        check(pthread_create(&thread, NULL, keep_some, &barrier) == 0);
        pthread_barrier_wait(&barrier);
        check(runs_of_kind(RUN_CACHED) == 2);
        if (round == 0) {
            thread_trim();
        } else {
            limit_address_space(1);
            while (alloc_allocate(SLICE_SIZE))
                ;
            limit_address_space(RLIM_INFINITY);
        }
        check(runs_of_kind(RUN_CACHED) == 0);
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
        arenas_check();
    }
    alloc_release(fence);
}

/* A thread that has stopped using medium blocks gives them back while it goes on with small ones. */
Test(alloc, kept_runs_do_not_stay)
{
    enum { BLOCKS = 2000 };
    static void *p[BLOCKS];
    region_policy.trim_threshold = SIZE_MAX; /* so that the heap grows in the first round only */
    for (int round = 0; round < 3; round++) {
        if (round == 1)
            kept_release(alloc_allocate(100000));
        for (size_t i = 0; i < BLOCKS; i++)
            p[i] = alloc_allocate(1000);
        for (size_t i = 0; i < BLOCKS; i++)
            alloc_release(p[i]);
    }
    check(runs_of_kind(RUN_CACHED) == 0);
    arenas_check();
}

/* ---- threads ---- */

enum { THREADS = 4, SLOTS = 500 };

struct parcel {
    size_t size;
    unsigned seed;
};
static _Atomic(struct parcel *) parcels[SLOTS];

static void parcel_open(struct parcel *parcel)
{
    verify(parcel + 1, parcel->size, parcel->seed);
    alloc_release(parcel);
}

static void *trader(void *argument)
{
    struct random random = {(uintptr_t)argument};
    for (int step = 0; step < 15000; step++) {
        struct parcel *parcel = NULL;
        if (random_one_in(&random, 2)) {
            size_t size = random_below(
                &random, (size_t)1 << random_between(&random, 1, random_one_in(&random, 20) ? 19 : 11));
            parcel = random_one_in(&random, 3) ? alloc_allocate_zeroed(sizeof *parcel + size)
                                               : alloc_allocate(sizeof *parcel + size);
            check(parcel);
            *parcel = (struct parcel){size, (unsigned)step};
            fill(parcel + 1, size, parcel->seed);
        }
        parcel = atomic_exchange(&parcels[random_below(&random, SLOTS)], parcel);
        if (!parcel)
            continue;
        if (random_one_in(&random, 4)) {
            size_t size = random_below(&random, 3000);
            verify(parcel + 1, parcel->size, parcel->seed);
            parcel = alloc_resize(parcel, sizeof *parcel + size);
            parcel->size = min_size(size, parcel->size);
        }
        parcel_open(parcel);
    }
    return NULL;
}

Test(alloc, threads)
{
    pthread_t threads[THREADS];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < THREADS; i++)
            check(pthread_create(&threads[i], NULL, trader, (void *)(uintptr_t)random_next(&dice)) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        arenas_check();
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (parcels[i])
            parcel_open(parcels[i]);
    for (uint32_t idle = arena_count(); idle > 0; idle--)
        arena_retire(arena_obtain());
    thread_trim();
    arenas_check();
    check(slabs_there() == 0 && mapping_totals().count == 0 && mapping_valid());
    for (size_t at = 0, length; at < load_relaxed(regions[0].count); at += length) {
        length = run_length(&regions[0].map[at]);
        check(run_kind(&regions[0].map[at]) == RUN_FREE || run_kind(&regions[0].map[at]) == RUN_FOREIGN);
    }
}

/* ---- guarded blocks ---- */

static void *guarded(size_t alignment, size_t size)
{
    thread_sample.left = 1; /* it is its turn */
    void *p = alignment == 0 ? alloc_allocate_zeroed(size) : alloc_aligned(alignment, size);
    check(kind_of(p) == BLOCK_GUARDED);
    expect_block(p, max_size(alignment, 1), size);
    check(alloc_usable_size(p) == size);
    return p;
}

/* Each way to have one, to resize it and to give it back. */
Test(alloc, guarded)
{
    guard_sample(50);
    size_t page = os_page_size;
    static const size_t sizes[] = {0, 1, 16, 24, 100, 1000, 4000, 4096};
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            size_t size = sizes[i];
            unsigned char *p = guarded(0, size);
            check(is_byte(p, size, 0));
            fill(p, size, 1);
            if (size != 0) {
                check(alloc_resize(p, size) == p);
                thread_sample.left = 10; /* it is not its turn */
                p = alloc_resize(p, 2 * size);
                verify(p, size, 1);
                check(kind_of(p) != BLOCK_GUARDED);
            }
            alloc_release(p);
            p = guarded(1, size);
            fill(p, size, 2);
            if (size > 1) {
                p = alloc_resize(p, size / 2);
                verify(p, size / 2, 2);
            }
            alloc_release(p);
            alloc_release_sized(guarded(1, size), size);
            alloc_release_aligned_sized(guarded(256, size), 256, size);
            alloc_release(guarded(page, size));
        }
    /* Others are not, though it be their turn. */
    thread_sample.left = 1;
    check(kind_of(alloc_allocate(page + 1)) == BLOCK_SLAB && kind_of(alloc_allocate(1 << 20)) == BLOCK_MAPPING);
    check(guard_valid());
    arenas_check();
}

/* A block that is not sampled comes from where it would, with perturbation, too. */
Test(alloc, unsampled)
{
    guard_sample(50);
    thread_sample.left = 1 << 30;
    void *first = alloc_allocate(100);
    alloc_release(first);
    for (int i = 0; i < 100; i++) {
        void *p = i % 2 ? alloc_allocate(100) : alloc_allocate_zeroed(100);
        check(p == first && (i % 2 || is_byte(p, 100, 0)));
        alloc_release(p);
    }
    alloc_set_perturb(0x5a);
    void *p = alloc_allocate(100);
    check(is_byte(p, 100, 0xa5));
    thread_sample.left = 1;
    unsigned char *sampled = alloc_allocate(100);
    check(kind_of(sampled) == BLOCK_GUARDED && is_byte(sampled, 100, 0xa5));
    alloc_release(sampled);
    alloc_release(p);
    guard_sample(0);
    alloc_set_perturb(0);
    check(thread_supply == thread_home && thread_arena == thread_home);
}

/* ---- malloc from a heap ---- */

static struct brim_heap *private_heap(void)
{
    struct brim_heap_options options = {.size = sizeof options, .kind = BRIM_HEAP_PRIVATE};
    struct brim_heap *heap = brim_heap_create(&options);
    check(heap);
    return heap;
}

Test(alloc, a_heap_serves_a_thread_while_it_is_in_use)
{
    alloc_begin();
    struct brim_heap *heap = private_heap(), *other = private_heap();
    static const size_t sizes[] = {0, 1, 100, CLASS_MAX, CLASS_MAX + 1, 1000000, 40000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *before = alloc_allocate(sizes[i]);
        check(before && !brim_heap_of(before));
        check(brim_heap_use(heap) == NULL);
        char *in_heap = alloc_allocate(sizes[i]), *zeroed = alloc_allocate_zeroed(sizes[i]),
             *aligned = alloc_aligned(4096, sizes[i]);
        check(brim_heap_of(in_heap) == heap && brim_heap_of(zeroed) == heap && brim_heap_of(aligned) == heap);
        check((uintptr_t)aligned % 4096 == 0 && alloc_owns(in_heap));
        for (size_t at = 0; at < sizes[i]; at += 1000)
            check(zeroed[at] == 0);
        check(!brim_heap_of(before = alloc_resize(before, sizes[i] + 50000))); /* stays where it is from */
        alloc_release(before);
        check(brim_heap_use(other) == heap);
        in_heap = alloc_resize(in_heap, sizes[i] + 70000);
        check(brim_heap_of(in_heap) == heap && alloc_usable_size(in_heap) >= sizes[i] + 70000);
        check(brim_heap_use(NULL) == other);
        check(brim_heap_of(in_heap = alloc_resize(in_heap, 10)) == heap);
        before = alloc_allocate(sizes[i]);
        check(!brim_heap_of(before));
        alloc_release(before);
        alloc_release_sized(in_heap, 10);
        alloc_release(zeroed);
        alloc_release(aligned);
    }
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == 0);
    brim_heap_close(heap);
    brim_heap_close(other);
}

Test(alloc, no_heap_serves_alignments_beyond_its_own)
{
    alloc_begin();
    struct brim_heap *heap = private_heap();
    brim_heap_use(heap);
    char *block = alloc_aligned(MIB, 100);
    check(block && (uintptr_t)block % MIB == 0 && !brim_heap_of(block));
    alloc_release(block);
    brim_heap_use(NULL);
    brim_heap_close(heap);
}

Test(alloc, a_full_heap_is_out_of_memory)
{
    alloc_begin();
    struct brim_heap_options options = {.size = sizeof options, .kind = BRIM_HEAP_PRIVATE, .limit = MIB};
    struct brim_heap *heap = brim_heap_create(&options);
    brim_heap_use(heap);
    errno = 0;
    check(!alloc_allocate(2 * MIB) && errno == ENOMEM);
    brim_heap_use(NULL);
    brim_heap_close(heap);
}

Test(alloc, a_block_of_a_heap_is_freed_once)
{
    alloc_begin();
    struct brim_heap *heap = private_heap();
    char *block = brim_heap_malloc(heap, 100), line[100];
    snprintf(line, sizeof line, "brim: double free: %p", (void *)block);
    expect_fatal(line, alloc_release(block); alloc_release(block));
    snprintf(line, sizeof line, "brim: invalid free of an interior pointer: %p", (void *)(block + 16));
    expect_fatal(line, alloc_release(block + 16));
    brim_heap_close(heap);
}
