/* heap_recover.h: the heap's lock as others take it, the orphans, and what killed processes leave.

   Orphans are nobody's slabs that have room, listed by class so that they are used before the heap grows. A listed slab
   may be claimed by who frees a block of it; it stays in the list until somebody who looks for room finds it, or until
   it ends.

   Recovery walks all slices: it frees the run that a dead holder of the lock had detached, sets what the slices behind
   each head should say, settles the slabs of dead processes, and makes bitmap and lists anew. Each of its stores can be
   the last before it is killed itself: it held the lock, so the next one walks again. The living go on meanwhile in
   the slabs that they own. A forked child's copy of a private heap is a heap whose processes are all dead. */
#ifndef BRIM_HEAP_RECOVER_H
#define BRIM_HEAP_RECOVER_H

#include "heap_slab.h"

/* Takes the lock, and follows the heap's growth. False, and an error, if the heap turned out to be damaged, or larger
   than our address space: the lock is free then. */
static bool heap_lock(struct brim_heap *heap);
/* With the lock: recovers what is left of processes that have ended (`everyone`: of all but this one). False if the
   heap is damaged. */
static bool heap_recover(struct brim_heap *heap, bool everyone);
/* With the lock: are there processes that have ended? */
static bool heap_has_dead(const struct brim_heap *heap);
/* Takes a slot for this process. False if there is none. */
static bool heap_enter(struct brim_heap *heap, uint64_t identity);
/* Can the heap be walked, and its slabs be used? Changes nothing. */
static bool heap_is_tiled(const struct brim_heap *heap);
/* With the lock: how many processes have it open. */
static size_t heap_processes(const struct brim_heap *heap);

/* With the lock. */
static void heap_orphan_add(struct brim_heap *heap, size_t index);
static void heap_orphan_remove(struct brim_heap *heap, size_t index);
/* Claims an orphan of the class for `owner`. 0 if there is none (an error if the list makes no sense). */
static size_t heap_orphan_take(struct brim_heap *heap, unsigned class, uint32_t owner, uint64_t token);
/* Ends a slab without a live block, orphan or not. */
static void heap_slab_end(struct brim_heap *heap, size_t index);

#endif
