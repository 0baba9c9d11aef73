/* misuse.h: what the programs in this folder share. Each makes one mistake, which brim must answer with one
   line on fd 2 that names it and the pointer, and with SIGABRT. So that expect-abort knows the pointer, a
   program announces it on fd 1; one that comes to its end fails by that. */
#ifndef MISUSE_H
#define MISUSE_H

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "../support.h"

/* A pointer that the diagnosis may name. Without stdio's buffer, which abort would lose. */
static inline void *announce(void *p)
{
    dprintf(STDOUT_FILENO, "%p\n", p);
    return opaque(p);
}

/* A block that the program may use: any failure here is the test's. */
static inline unsigned char *allocate(size_t size)
{
    unsigned char *p = opaque(malloc(size));
    if (!p)
        _exit(2);
    return p;
}

/* Frees it in a thread of its own, and waits for that. */
static inline void *free_it(void *p)
{
    free(p);
    return NULL;
}
static inline void free_elsewhere(void *p)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_it, p) != 0 || pthread_join(thread, NULL) != 0)
        _exit(2);
}

static inline size_t size_argument(char **arguments, int index)
{
    return opaque_size(strtoul(arguments[index], NULL, 0));
}

#endif
