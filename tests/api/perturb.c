/* M_PERTURB: new bytes and freed bytes carry a value that shows uses of uninitialised and of freed memory. */
#include "blocks.h"
#include "fresh.h"

CONTRACT_OF(perturb);

enum { VALUE = 0xa5 };

/* glibc's thread cache is between its small blocks and the filling; without it these are filled like all
   others. */
#define NO_THREAD_CACHE "GLIBC_TUNABLES=glibc.malloc.tcache_count=0"

static const size_t sizes[] = {1, 24, 200, 1000, 2000, 20000, 100000, 200000, MIB};

FRESH(fills)
{
    check(mallopt(M_PERTURB, VALUE) == 1);
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            unsigned char *block = malloc(sizes[i]);
            check(first_other_than(block, sizes[i], VALUE ^ 0xff) == sizes[i]);
            memset(block, 0, sizes[i]);
            /* Something behind it: the freed block must not be given back to the system and read as zero. */
            void *above = malloc(50);
            int kept = lies_on_break(block) && sizes[i] >= 200 && sizes[i] <= 20000;
            free(block);
            /* The links of free blocks are at their ends. */
            if (kept)
                check(first_other_than(opaque(block + 64), sizes[i] - 128, VALUE) == sizes[i] - 128);
            free(above);
        }
}

FRESH(leaves_calloc_zero)
{
    check(mallopt(M_PERTURB, VALUE) == 1);
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            unsigned char *block = calloc(1, sizes[i]);
            check(first_other_than(block, sizes[i], 0) == sizes[i]);
            memset(block, 1, sizes[i]);
            free(block);
        }
}

FRESH(keeps_contents_in_realloc)
{
    check(mallopt(M_PERTURB, VALUE) == 1);
    for (size_t from = 0; from < COUNT_OF(sizes); from++)
        for (size_t to = 0; to < COUNT_OF(sizes); to++) {
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            char *block = malloc(sizes[from]);
            fill_pattern(block, sizes[from], 2);
            block = realloc(block, sizes[to]);
            check(block && verify_pattern(block, kept, 2) == kept);
            free(block);
        }
}

/* 0 is off again; values have eight bits. */
FRESH(can_be_turned_off)
{
    check(mallopt(M_PERTURB, VALUE) == 1);
    check(mallopt(M_PERTURB, 0) == 1);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        unsigned char *block = malloc(sizes[i]);
        memset(block, 0x33, sizes[i]);
        free(block);
        block = malloc(sizes[i]);
        check(sizes[i] < 200 || first_other_than(block, sizes[i], VALUE ^ 0xff) < sizes[i]);
        free(block);
    }
    unsigned char *block = malloc(MIB * 2);
    check(first_other_than(block, MIB * 2, 0) == MIB * 2);
}

Test(perturb, fills_new_and_freed_bytes)
{
    expect_fresh(fills, NO_THREAD_CACHE);
}

Test(perturb, leaves_calloc_zero)
{
    expect_fresh(leaves_calloc_zero, NO_THREAD_CACHE);
}

Test(perturb, keeps_contents_in_realloc)
{
    expect_fresh(keeps_contents_in_realloc, NO_THREAD_CACHE);
}

Test(perturb, can_be_turned_off)
{
    expect_fresh(can_be_turned_off, NO_THREAD_CACHE);
}
