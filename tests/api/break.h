/* break.h: how the break moves under a load, for parts that run in a process of their own (fresh.h). */
#ifndef TESTS_API_BREAK_H
#define TESTS_API_BREAK_H

#include "blocks.h"
#include "fresh.h"

/* Small blocks until the break moves; more than 64 MiB of them do not fit under any pad that the tests ask
   for. */
static inline void grow_once(void)
{
    char *before = sbrk(0);
    for (size_t bytes = 0; sbrk(0) == before; bytes += 1000) {
        check(malloc(1000));
        check(bytes < 64 * MIB);
    }
}

/* How far the break moves when a heap of small blocks grows. The first growth is let pass, for it also covers
   what the libraries' constructors began with. */
static inline size_t growth_of_the_break(void)
{
    grow_once();
    char *before = sbrk(0);
    grow_once();
    return (size_t)((char *)sbrk(0) - before);
}

/* 20 MB of blocks on the break, freed from the last to the first: how far is the break lowered? */
static inline size_t lowered_by_frees(void)
{
    enum { COUNT = 200, SIZE = 100000 };
    static char *blocks[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        check(lies_on_break(blocks[i] = malloc(SIZE)));
    char *high = sbrk(0);
    for (unsigned i = COUNT; i-- > 0;)
        free(blocks[i]);
    return (size_t)(high - (char *)sbrk(0));
}

#endif
