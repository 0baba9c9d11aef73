/* heap_slab.h: blocks of one class in a heap: forming, owners, remote frees, and what a killed owner leaves.

   As slab.h, with its link words under the heap's key, but

   - the owner is a number that means the same in all processes;
   - nobody tells the owner of remote frees: it finds them when it next wants blocks of the slab;
   - what takes more than one store is announced in the descriptor (`forming`, `taken`), so that whoever finds the
     slab of a killed owner knows which of them were done: no block is lost but one that was being handed out;
   - what was on the lists of a slab that is claimed is looked through once, then: a file can say anything.

   `remote`:  63      32 31  30   18 17         4 3     0
             | owner    | 0 | count | place / 16 |   0   |

   nobody -> mine   heap_slab_claim, by whoever frees a block of it, or adopts it
   mine -> nobody   heap_slab_disown: when it is full, when its thread ends, when its process was found dead */
#ifndef BRIM_HEAP_SLAB_H
#define BRIM_HEAP_SLAB_H

#include "heap_map.h"

#define HEAP_REMOTE_OWNER(remote) ((uint32_t)((remote) >> 32))
#define HEAP_REMOTE_LIST(remote) ((remote)&0xffffffff)
#define HEAP_UNIT (4 * KIB) /* of forming, whatever the page size */

/* The places that a link may lead to are below this: that of the last block, and 1. */
INLINE uint32_t heap_class_bound(const struct size_class *row)
{
    return (uint32_t)LINK_PLACE_OF((row->capacity - 1u) * row->block_size) + 1;
}
/* Is `next` what may follow `link`? One block fewer, in the slab. */
INLINE bool heap_link_follows(uint64_t next, uint64_t link, uint32_t bound)
{
    return next - ((link | (LINK_ONE - 1)) + 1) < bound;
}

/* A slab as its owner sees it, in the owner's memory; of one that is nobody's, while it is looked at. */
struct heap_slab {
    struct heap_slice *slice;
    uintptr_t origin; /* address that places count from: 16 below its first block */
};

/* Slabs that belong to no place have this one: empty, and never written. */
static const LAST_CONSTANT struct heap_slice heap_slice_none = {.head = LINK_EMPTY};

/* Pops a block; NULL if the list is empty, or a link was overwritten. Owner. */
INLINE void *heap_slab_pop(struct heap_slab slab, const struct link_key *key)
{
    uint64_t head = load_relaxed(slab.slice->head), place = LINK_PLACE(head);
    if (unlikely(place == 0))
        return NULL;
    block_word *block = (block_word *)(slab.origin + place);
    uint64_t next = *block * key->decode;
    if (unlikely(next <= head))
        return NULL;
    store_relaxed(slab.slice->head, next);
    __atomic_store_n(block, 0, __ATOMIC_RELEASE);
    return block;
}

/* Pushes the block at `offset`. Owner. True if the slab wants attention. */
INLINE bool heap_slab_push(struct heap_slice *slice, void *block, uintptr_t offset, const struct link_key *key)
{
    uint64_t head = load_relaxed(slice->head);
    *(block_word *)block = head * key->encode;
    head = link_pushed(head, offset);
    store_release(slice->head, head);
    return head <= slice->wake;
}

INLINE uint32_t heap_slab_owner(const struct heap_slice *slice)
{
    return HEAP_REMOTE_OWNER(load_acquire(slice->remote));
}
INLINE const struct size_class *heap_slab_class(const struct heap_slice *slice)
{
    return &size_classes[slice->size_class];
}
/* Acquires what the senders of remote frees had looked at: the slab may be ended after it. */
INLINE size_t heap_slab_free_count(const struct heap_slice *slice)
{
    return LINK_COUNT(load_relaxed(slice->head)) + REMOTE_COUNT(load_acquire(slice->remote));
}
/* Is there a block to be had from it, formed or not? */
INLINE bool heap_slab_has_room(const struct heap_slice *slice)
{
    return heap_slab_free_count(slice) != 0 || load_relaxed(slice->unformed) != 0;
}
INLINE bool heap_slab_is_idle(const struct heap_slice *slice)
{
    return heap_slab_free_count(slice) == load_relaxed(slice->formed);
}

INLINE uintptr_t heap_slab_start(const struct heap_slab *slab) { return slab->origin + BLOCK_ALIGNMENT; }
INLINE uint32_t heap_slab_bound(const struct heap_slab *slab) { return heap_class_bound(heap_slab_class(slab->slice)); }

/* Is the slice the head of a slab whose fields can be used? `count`: slices that there are. */
static bool heap_slab_makes_sense(const struct brim_heap *heap, size_t index, size_t count);
/* The view of a slab that makes sense. */
static struct heap_slab heap_slab_view(const struct brim_heap *heap, size_t index);

/* Makes a detached run a slab of `class` that `owner` owns, nothing formed. Lock. */
static void heap_slab_create(struct brim_heap *heap, size_t index, unsigned class, uint32_t owner, uint64_t token);
/* Ends a slab of which no block is live. Lock; owner, or nobody's. */
static void heap_slab_destroy(struct brim_heap *heap, size_t index);
/* Forms the blocks of some more units; the list is empty. Owner. False if all are formed. */
static bool heap_slab_form(const struct heap_slab *slab, const struct link_key *key);
/* If the list is empty, takes the remote list for it, whole. Owner. True if there was one. */
static bool heap_slab_take_remote(const struct heap_slab *slab);
/* Puts a block on the list of `remote`, the word just read. False if it has changed (it is read anew). */
static bool heap_slab_push_remote(struct heap_slice *slice, uint64_t *remote, void *block, uintptr_t offset,
                                  const struct link_key *key);
/* Do the lists of the slab lead from block to block in it, and what it says of them fit? */
static bool heap_slab_lists_hold(const struct heap_slab *slab, const struct link_key *key);
/* nobody -> owner. False if somebody else was faster. The lists must be looked at then, before anything is popped. */
static bool heap_slab_claim(struct heap_slice *slice, uint32_t owner, uint64_t token);
/* owner -> nobody; a remote list stays with it. `full`: only if there is none, else false. */
static bool heap_slab_disown(struct heap_slice *slice, bool full);
/* dead owner -> nobody: finishes or undoes what it was about. Lock. */
static void heap_slab_settle(const struct heap_slab *slab, const struct link_key *key);
/* Is the block, at a block's start, free? The lists may move meanwhile. */
static bool heap_slab_block_is_free(const struct heap_slab *slab, const void *block, const struct link_key *key);
/* Sets the bits of all free and unformed blocks. False if a list makes no sense. What others do meanwhile is seen or
   not. */
#define HEAP_BITS (SLICE_SIZE / 16 / 64)
static bool heap_slab_map_free(const struct heap_slab *slab, const struct link_key *key, uint64_t bits[HEAP_BITS]);
/* How many blocks are formed, by what is unformed. */
static size_t heap_slab_count_formed(const struct heap_slice *slice);

#endif
