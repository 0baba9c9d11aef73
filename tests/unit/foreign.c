/* foreign.c: what is taken for a block of libc's malloc, and what is not. The malloc of this program is libc's own, and
   shares the break with the rooms under test. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/options.c"
#include "allocator/os.c"

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/foreign.c"

#include <malloc.h>

static struct random dice;

static void take(size_t slices)
{
    struct run_request request = {.slices = slices, .alignment = 1, .grow = true};
    bool zero;
    struct slice *head = region_take(&request, &zero);
    check(head);
    run_publish(head, RUN_MEDIUM);
}

static void foreign_begin(void)
{
    os_init();
    dice = random_begin();
    take(1);
}

TestSuite(foreign, .init = foreign_begin);

/* Small blocks of libc's are blocks wherever they lie, and stay so while our heap grows over the stretch. */
Test(foreign, blocks_of_the_main_arena)
{
    enum { BLOCKS = 4000 };
    static char *p[BLOCKS];
    static size_t sizes[BLOCKS];
    size_t described = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        sizes[i] = random_below(&dice, (size_t)1 << random_between(&dice, 1, 16));
        check((p[i] = malloc(sizes[i])));
        memset(p[i], (int)i, sizes[i]);
        if (random_one_in(&dice, 50))
            take(random_between(&dice, 1, 20));
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        check(foreign_is_block(p[i]) || (uintptr_t)p[i] < regions[0].first);
        if (!foreign_is_block(p[i]))
            continue;
        described += region_of(p[i]) != NULL;
        check(foreign_usable_size(p[i]) == malloc_usable_size(p[i]) && foreign_usable_size(p[i]) >= sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            check(p[i][j] == (char)i);
        foreign_release(p[i]);
    }
    check(described > BLOCKS / 2 && region_valid(&regions[0]));
}

static size_t *header_at(unsigned char *p) { return (size_t *)(p - sizeof(size_t)); }

/* A header in somebody's part of the break that makes sense, and then all that is wrong with one. */
Test(foreign, headers)
{
    enum { SIZE = 4096 };
    sbrk((intptr_t)(-(uintptr_t)sbrk(0) & 15));
    unsigned char *p = (unsigned char *)sbrk(SIZE) + 64;
    for (int grown = 0; grown < 2; grown++) {
        *header_at(p) = 160 | 1;
        *header_at(p + 160) = 16 | 1;
        check(foreign_is_block(p));
        check(!foreign_is_block(p + 8) && !foreign_is_block(p + 16) && !foreign_is_block(p + 32));
        static const size_t wrong[] = {0,           1,       16 | 1,        160 | 3, 160 | 5,  168 | 1, 176 | 1,
                                       1 << 20 | 1, SIZE_MAX, (size_t)1 << 63 | 1, SIZE - 64 + 17, 24};
        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
            *header_at(p) = wrong[i];
            check(!foreign_is_block(p));
        }
        *header_at(p) = 160;
        check(foreign_is_block(p));
        static const size_t wrong_next[] = {0, 1, 16, 160, 16 | 3, 16 | 5, 24 | 1};
        for (size_t i = 0; i < COUNT_OF(wrong_next); i++) {
            *header_at(p + 160) = wrong_next[i];
            check(!foreign_is_block(p));
        }
        take(200); /* the piece is now inside the region */
        check(region_of(p) == &regions[0]);
    }
}

/* Elsewhere a block is one only by the user's word, and must be aligned even then. */
Test(foreign, elsewhere)
{
    char *mapped = malloc(1 << 20);
    check(!foreign_is_block(mapped) && !foreign_is_block(&dice) && !foreign_is_block((void *)(UINTPTR_MAX - 15)));
    store_relaxed(foreign_all, true);
    check(foreign_is_block(mapped) && !foreign_is_block(mapped + 8));
    check(foreign_usable_size(mapped) >= 1 << 20);
    foreign_release(mapped);
}

Test(foreign, parts_of_the_break)
{
    uintptr_t ours = regions[0].base;
    while (run_kind(&regions[0].map[(ours - regions[0].base) >> SLICE_SHIFT]) == RUN_FOREIGN)
        ours += SLICE_SIZE;
    check(!region_is_foreign(ours, 1));
    uintptr_t end = regions[0].end;
    check(!region_is_foreign(end - 1, 1) && !region_is_foreign(end, 1) && !region_is_foreign(end - 1, 2));
    uintptr_t piece = (uintptr_t)sbrk(300 * KIB);
    check(piece >= end);
    check(region_is_foreign(piece, 300 * KIB) && !region_is_foreign(piece, 300 * KIB + 1));
    check(!region_is_foreign(end - 1, 2) && !region_is_foreign(piece, SIZE_MAX) && !region_is_foreign(0, 1));
    take(300);
    check(region_is_foreign(piece, 300 * KIB) && !region_is_foreign(piece, 300 * SLICE_SIZE));
    check(!region_is_foreign(ours, piece - ours + 1));
    check(region_valid(&regions[0]));
}
