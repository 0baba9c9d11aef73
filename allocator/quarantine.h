/* quarantine.h: freed blocks of slabs that wait before they can be handed out again.

   Each arena has a ring of places for each group of block sizes, so that it holds few bytes whatever is freed. A block
   that comes takes a random place; the block that was there goes back to its slab. While it waits it counts as live for
   its slab, and its first word is a mark that no free list can hold: the code of a link of count 0 at its own place
   plus one. So whoever frees it again finds the mark, or later a link.

   Another thread's block is given back to its owner at once: it waits on the slab's remote list, until the owner has used
   up all others.

   Of two threads that free a block at the same time exactly one finds it unmarked. Each notes the block in a place of its
   own first, then exchanges the word; so whoever finds the mark also finds the block in another's place, or soon on
   the remote list, and can tell it from a word that the program copied there. */
#ifndef BRIM_QUARANTINE_H
#define BRIM_QUARANTINE_H

#include "arena.h"

#define QUARANTINE_MARK(offset) LINK_AT(0, LINK_PLACE_OF((uint64_t)(offset)) | 1)

enum { QUARANTINE_PLACES = 128 + 32 + 4 };
struct quarantine {
    _Atomic(void *) places[QUARANTINE_PLACES]; /* its arena's thread; others look for one pointer */
};

/* What a block's way into the quarantine has shown. */
struct quarantined {
    uint64_t found;               /* the block's first word before, decoded: more than LINK_LOWEST if it may be free */
    void *before;                 /* the block whose place it has, for quarantine_end, or NULL */
    const _Atomic(void *) *place;
};

/* The arena's quarantine, for its thread, with what else is needed to use it. NULL if there is no memory. */
static struct quarantine *quarantine_of(struct arena *arena);
/* The block at `offset` of a slab that is the thread's own waits from now on. Its first word alone has changed. Seeded. */
INLINE struct quarantined quarantine_put(struct quarantine *quarantine, const struct slice *slab, void *block,
                                         uintptr_t offset);
/* The same for a block of somebody else's, for the caller to give back. */
INLINE struct quarantined quarantine_put_foreign(const struct slice *slab, void *block, uintptr_t offset);
/* Fatal if the block of which `what` was found was free already. */
RARE void quarantine_judge(struct slice *slab, const void *block, struct quarantined what);
/* Ends a block's wait. Fatal if its first word has changed. */
INLINE void quarantine_end(struct arena *arena, void *block);
/* Is the block in a quarantine, in another place than `except`? */
RARE bool quarantine_contains(const void *block, const _Atomic(void *) *except);
/* Its thread is done with the arena: all blocks go back. */
static void quarantine_flush(struct arena *arena);

#endif
