/* misuse.h: what the programs in this folder share. Each makes one mistake. Where brim finds it, a line
   on fd 2 names it and the pointer; so that "expect" knows the pointer, a program announces it on fd 1. Where brim does
   not, the program comes to its end: status 1 if the mistake had an effect, 0 if it had none. */
#ifndef MISUSE_H
#define MISUSE_H

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "../support.h"

/* A pointer that the diagnosis may name. Without a stream: abort would lose its buffer, and dprintf allocates one. */
static inline void *announce(void *p)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%p\n", p);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(2);
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
