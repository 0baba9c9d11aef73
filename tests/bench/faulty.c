/* faulty: allocators with a known fault, to be preloaded, that the harness must find out. Built once for each
   FAULT. All but the fault is glibc's own malloc. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void __libc_free(void *block);

#define SLOW 1    /* does everything ten times */
#define CRASH 2   /* dies in a block of more than 200,000 bytes */
#define HANG 3    /* never comes back from one */
#define HOG 4     /* gives a mebibyte for every one of them, and keeps it */
#define OVERLAP 5 /* gives the same block twice */

enum { TRIGGER = 200000 };
#ifndef OVERLAP_SIZE
#define OVERLAP_SIZE 64
#endif

__attribute__((visibility("default"))) void *malloc(size_t size)
{
#if FAULT == SLOW
    for (int i = 0; i < 9; i++) {
        void *volatile block = __libc_malloc(size);
        __libc_free(block);
    }
#elif FAULT == CRASH
    if (size > TRIGGER)
        raise(SIGSEGV);
#elif FAULT == HANG
    if (size > TRIGGER)
        for (;;)
            pause();
#elif FAULT == HOG
    if (size > TRIGGER) {
        void *block = __libc_malloc(16 << 20);
        if (block)
            memset(block, 1, 16 << 20);
    }
#elif FAULT == OVERLAP
    static char *last;
    if (size == OVERLAP_SIZE && last) {
        char *twice = last;
        last = NULL;
        return twice;
    }
    char *block = __libc_malloc(size);
    if (size == OVERLAP_SIZE)
        last = block;
    return block;
#endif
    return __libc_malloc(size);
}

#if FAULT == OVERLAP
/* The block that was given twice would be freed twice. */
__attribute__((visibility("default"))) void free(void *block)
{
    (void)block;
}
#endif
