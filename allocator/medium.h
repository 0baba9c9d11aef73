/* medium.h: runs of freed medium blocks that their thread keeps for its next requests of the same length.

   What a program allocates and frees in turn need not go through the region, its lock and its coalescing each time. A
   thread's cache is part of its arena. The truth is the run word: RUN_CACHED, which only compare-and-swap leaves, so
   that of a thread that wants its run again and one that takes it for the region (malloc_trim, out of memory, a
   block that grows into it) one gets it. What the cache lists are hints: a run that somebody took is dropped when
   it is come by.

        RUN_MEDIUM -> RUN_CACHED   medium_keep: the free
        RUN_CACHED -> RUN_MEDIUM   medium_reuse: the next malloc
        RUN_CACHED -> RUN_FREE     region_release_if: evicted, flushed, taken away

   How much. `owed` counts the slices that the thread has asked for and not freed since, up to what it may keep: a run
   is kept if it is owed. So a thread keeps no more than it has lately used itself, and nothing where it frees what
   others allocate. What all threads keep is a share of what slabs may keep free. All of it goes back before the heap
   grows, and when the thread's slabs have wanted attention twice without a medium block in between; what is kept
   behind a long free run goes, too (region.c).

   Invariants (medium_valid): every RUN_CACHED run is listed in an arena's cache, in a forked child perhaps in a dead
   one's; slices + owed <= MEDIUM_SLICES, so there is a place for each run. */
#ifndef BRIM_MEDIUM_H
#define BRIM_MEDIUM_H

#include "region.h"

/* The most that a thread keeps; the longest run that it keeps, as longer ones seldom come back at the same length. */
enum { MEDIUM_SLICES = 8, MEDIUM_LONGEST = 4 };

struct medium_cache {
    _Atomic(struct slice *) runs[MEDIUM_SLICES]; /* the oldest first. Its thread writes, any reads */
    uint8_t lengths[MEDIUM_SLICES];
    uint8_t count;
    uint8_t slices; /* in all of them */
    uint8_t owed;
    bool used; /* since medium_age came by */
};

/* Where the block of a medium run is. */
INLINE void *medium_start(const struct slice *head) { return (void *)slice_address(region_of_slice(head), head); }
/* A run of so many slices, RUN_MEDIUM again, or NULL. */
INLINE struct slice *medium_reuse(struct medium_cache *cache, size_t slices);
/* Keeps a medium block's run, which must have no features. False: it is as it was. */
INLINE bool medium_keep(struct medium_cache *cache, struct slice *head);
/* The thread, one of `threads`, asks the region for a run of so many slices. */
static void medium_miss(struct medium_cache *cache, size_t slices, size_t threads);
/* A slab of the thread wants attention: if it had no use for what it keeps since the last time, all goes back. */
INLINE void medium_age(struct medium_cache *cache);
/* All of it goes back. Its thread, */
static void medium_flush(struct medium_cache *cache);
/* or any. */
RARE void medium_take_away(const struct medium_cache *cache);
/* All of it goes back, and nothing is kept until the next request: how much may be has perhaps changed. Its thread. */
static void medium_renew(struct medium_cache *cache);
/* region_resize, which takes away what is kept behind the block. */
static bool medium_resize(struct slice *head, size_t slices);
VALIDITY bool medium_valid(const struct medium_cache *cache);

#endif
