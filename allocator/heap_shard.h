/* heap_shard.h: what one thread has of one heap: its slabs by class, as an arena has those of the process's own heap.

   A shard is in the process's own memory: addresses that the fast paths need, and the heads of lists that run through
   the descriptors of slabs which the shard owns. What counts of it for others is in those descriptors. So a killed
   process leaves nothing in a shard, and in a forked child, where the kernel wipes them, shards begin anew.

     open[class]      the slab that malloc pops from                         never wakes
     partial[class]   have free blocks, next to be opened                    wake when all blocks may be free
     waiting          were full, fewer than an eighth has come back          wake when an eighth has

   Full slabs belong to nobody, and to their first freer then.

   Shards belong to a thread until it ends, also when their heap is closed: another thread's stale pointer to one can
   never be taken for its own. */
#ifndef BRIM_HEAP_SHARD_H
#define BRIM_HEAP_SHARD_H

#include "heap_recover.h"
#include "sync.h"

struct heap_shard {
    _Atomic(struct brim_heap *) heap; /* NULL: of none. Written by its thread, or by who closes the heap */
    uintptr_t base;                   /* the heap's */
    _Atomic size_t reach;             /* bytes of it that the fast path of free may look into; 0: of none */
    struct link_key key;              /* the heap's */
    uint64_t token;                   /* what is in our slabs' `owner`; odd */
    uint64_t free_token;              /* the same for the fast path of free; nobody's where that must not: locked */
    uint32_t owner;                   /* what our slabs' `remote` says */
    uint32_t waiting;                 /* list through next and previous; 0: empty */
    uint32_t partial[CLASS_COUNT];
    _Atomic uintptr_t table[HEAP_TABLES]; /* the heap's, as far as reach goes */
    struct heap_slice *open[CLASS_COUNT]; /* heap_slice_none if there is none. Changed by heap_shard_set_open */
    uintptr_t origin[CLASS_COUNT];        /* of the open slab */
    struct heap_slice *open_by_step[STEPS_MAX / 16 + 1]; /* both again, by size in 16-byte steps */
    uintptr_t origin_by_step[STEPS_MAX / 16 + 1];
    struct heap_shard *thread_next, *heap_next; /* all of this thread, all of this heap. Handles' lock */
};

/* The open slab of a class. */
INLINE struct heap_slab heap_shard_open(const struct heap_shard *shard, unsigned class)
{
    return (struct heap_slab){shard->open[class], shard->origin[class]};
}
/* That for a size up to STEPS_MAX. */
INLINE struct heap_slab heap_shard_open_for(const struct heap_shard *shard, size_t size)
{
    return (struct heap_slab){shard->open_by_step[(size + 15) / 16], shard->origin_by_step[(size + 15) / 16]};
}

/* What a thread has before its first block: equal to no heap's. */
static const LAST_CONSTANT struct heap_shard heap_shard_none;
/* The shard that the thread used last. */
static _Thread_local struct heap_shard *thread_shard = (struct heap_shard *)&heap_shard_none;

/* Handles, and the lists of shards. */
static struct lock heap_handles_lock = {.rank = RANK_HEAPS};

/* Sees to it that this process is one of the heap's: after fork it is not yet. False, and an error, if it cannot be. */
static bool heap_attend(struct brim_heap *heap);
/* The calling thread's shard of the heap. NULL, and an error, if there is none to be had. */
static struct heap_shard *heap_shard_get(struct brim_heap *heap);
/* A block of the class, when its open slab has none. NULL and an error if there is none. */
static void *heap_shard_refill(struct heap_shard *shard, unsigned class);
/* Frees a block of a slab that makes sense, whoever owns it. */
static void heap_shard_release(struct heap_shard *shard, const struct heap_slab *slab, void *block);
/* The push of that block, in its slab, has reached the slab's wake count. */
static void heap_shard_wake(struct heap_shard *shard, const void *block);
/* Makes a slab of ours nobody's, or ends it. Heap's lock. */
static void heap_slab_leave(struct brim_heap *heap, size_t index);
/* Gives back all that this process's shards have of the heap, and its slot. Handles' lock. */
static void heap_shards_retire(struct brim_heap *heap);
/* Has the process's word of who it is been wiped by a fork? Sets it. */
static uint64_t heap_process_identity(void);
/* The first heap of the process: what forked children must not have. False if the kernel cannot wipe memory. */
static bool heap_process_init(void);

#endif
