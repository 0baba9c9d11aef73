/* heap_check.h: a heap looked at as a whole: walked, counted, checked.

   Invariants (heap_check):
   - heads tile [0, count); slice 0 and the tables are where the header says, and nothing else is one;
   - what is not a head is INSIDE; the further slices of a slab say how far back its head is, all others nothing;
   - a slice is marked in the bitmap iff it is not free; none before first_free is free; no run is detached;
   - a slab makes sense; its lists hold each block once, on a block's start, none of them unformed; formed is what is
     not unformed; nothing is announced; its owner is a process that lives;
   - the list of orphans of a class has slabs of that class that say so, each once, linked both ways; a slab of nobody
     that has room is listed;
   - the lock is held by nobody else, the root is 0 or within the heap. */
#ifndef BRIM_HEAP_CHECK_H
#define BRIM_HEAP_CHECK_H

#include "heap_shard.h"

/* False, with an error and the first fault in words if there is room for it. */
static bool heap_check(struct brim_heap *heap, char *message, size_t size);
static int heap_walk(struct brim_heap *heap, int (*visit)(void *block, size_t size, void *argument), void *argument);
static bool heap_tally(struct brim_heap *heap, struct brim_heap_stats *stats);

#endif
