/* free: keeps errno, ignores NULL, takes what any entry point and any thread allocated, and does free. */
#include "blocks.h"

#include <pthread.h>

CONTRACT_OF(free);

Test(free, of_null_does_nothing)
{
    errno = 4321;
    for (int i = 0; i < 1000; i++)
        free(opaque(NULL));
    cr_assert_eq(errno, 4321);
}

Test(free, keeps_errno)
{
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            void *block = malloc(boundary_sizes[i]);
            errno = 4321;
            free(block);
            cr_assert_eq(errno, 4321, "errno is %d after free of %zu bytes", errno, boundary_sizes[i]);
        }
    /* Many frees in a row give memory back to the system: these calls must not show either. */
    enum { COUNT = 3000 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        memset(blocks[i] = malloc(20000), 1, 20000);
    errno = 4321;
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    cr_assert_eq(errno, 4321);
}

Test(free, takes_blocks_of_every_entry_point)
{
    for (int round = 0; round < 200; round++)
        for (size_t size = 0; size < 300000; size = size * 3 + 7) {
            void *aligned = NULL;
            cr_assert_eq(posix_memalign(&aligned, 256, size), 0);
            void *blocks[] = {
                malloc(size),
                calloc(1, size),
                realloc(NULL, size),
                realloc(malloc(1), size + 1),
                reallocarray(NULL, 2, size),
                aligned,
                aligned_alloc(64, size),
                memalign(4096, size),
                valloc(size),
                pvalloc(size),
            };
            for (size_t i = 0; i < COUNT_OF(blocks); i++) {
                cr_assert_not_null(blocks[i], "entry %zu, %zu bytes", i, size);
                free(blocks[i]);
            }
        }
}

/* More than 5 GB in all, were they not freed. */
Test(free, makes_memory_available_again)
{
    size_t before = resident_bytes();
    for (int round = 0; round < 400; round++)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            unsigned char *block = malloc(boundary_sizes[i]);
            for (size_t at = 0; at < boundary_sizes[i]; at += 4096)
                block[at] = 1;
            free(block);
        }
    cr_assert_lt(resident_bytes(), before + 24 * MIB);
}

enum { HANDED_OVER = 3000 };

static void *free_all(void *argument)
{
    void **blocks = argument;
    errno = 4321;
    for (int i = 0; i < HANDED_OVER; i++)
        free(blocks[i]);
    return (void *)(intptr_t)(errno == 4321);
}

Test(free, takes_blocks_of_another_thread)
{
    static void *blocks[HANDED_OVER];
    size_t before = resident_bytes();
    for (int round = 0; round < 30; round++) {
        for (size_t i = 0; i < HANDED_OVER; i++) {
            size_t size = i % 700 ? i * 7 % 4000 : 200000;
            blocks[i] = memset(malloc(size), 1, size);
        }
        pthread_t thread;
        void *errno_kept;
        cr_assert_eq(pthread_create(&thread, NULL, free_all, blocks), 0);
        cr_assert_eq(pthread_join(thread, &errno_kept), 0);
        cr_assert_not_null(errno_kept);
    }
    /* About 7 MiB live at a time; 210 MiB in all. */
    cr_assert_lt(resident_bytes(), before + 40 * MIB);
}
