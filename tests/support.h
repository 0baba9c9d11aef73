/* support.h: what every test that runs on brim shares. Include it after <criterion/criterion.h>, or without
   it. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weak: the same test program also runs on glibc's malloc, to show that a contract test is right. */
#pragma weak brim_owns
extern int brim_owns(const void *p);

/* Keeps the compiler from removing an allocation that it can see is unused. */
static inline void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

/* The allocator this test was started for: BRIM_TEST_ALLOCATOR=glibc means glibc's, anything else brim's. */
static inline int brim_is_expected(void)
{
    const char *expected = getenv("BRIM_TEST_ALLOCATOR");
    return !expected || strcmp(expected, "glibc") != 0;
}

/* Stops the program unless a block of this size comes from the expected allocator. A preload that silently
   failed would otherwise pass every test. */
static inline void require_expected_allocator_for(size_t size)
{
    void *block = opaque(malloc(size));
    int is_brim = brim_owns && brim_owns(block);
    free(block);
    if (is_brim != brim_is_expected()) {
        fprintf(stderr, "wrong allocator: wanted %s, a block of %zu bytes is %sbrim's\n",
                brim_is_expected() ? "brim" : "glibc", size, is_brim ? "" : "not ");
        exit(99);
    }
}

/* The usual form: a block of a slab and a mapping. Freeing the mapping raises the threshold, as any such free
   does; a test that needs the threshold of a fresh process asks for a small block only. */
static inline void require_expected_allocator(void)
{
    require_expected_allocator_for(24);
    require_expected_allocator_for(1 << 20);
}

/* Keeps the compiler from judging a size that is wrong on purpose. */
static inline size_t opaque_size(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

#endif
