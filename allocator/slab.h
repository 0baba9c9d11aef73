/* slab.h: blocks of one size class inside a run; the free list and its link word, forming, ownership, remote frees.

   The link. A free list is one word, its head: how many blocks are on it and where the first one is,

        63                31 30            18 17              0
       | all ones           | ~count         | place in slab   |        LINK_EMPTY: count 0, place 0

   A place is an offset in the slab and 16: so 0 is none, which the mask that isolates the place tells by the way. Places
   count from the slab's `origin`, 16 bytes below its first block.

   and each free block's first word holds, encoded, what the head was before the block was pushed. So a push or a pop
   is one store to the head, the count is exact at every moment and costs nothing, and whoever is stopped half-way
   (a fork, a signal) leaves either list. A link that is followed must decode to more than the link before it (one block
   fewer). The same word tells a double free: the first word of a block that is being freed decodes to a link only if the
   block is free (or by chance, or when the program copied it: so the list is searched before anyone is accused).

   The code is multiplication by an odd key modulo 2^64. A link is above LINK_LOWEST, so as a signed number it is a small
   negative one, and the key has 25 bits: its code is above LINK_CODE_LOWEST, and the code's last byte all ones. Other
   words, such as zero, pointers, text and counts, so are no links at sight; a change of up to three neighbouring bytes of
   a code never gives another, as it is no multiple of the key; a random word decodes to a link with probability 2^-33,
   one whose last byte is all ones with 2^-25.
   And a free looks at one byte: the load of a word that the program has just written in parts (a count of references)
   would wait until the parts have left the store buffer.

   Owners. A slab belongs to one arena, whose thread alone touches head, wake, formed and unformed, or to nobody.
   `remote` is the truth of that, with the list of the blocks that others freed:

        63        44 43  31 30   18 17        4  3   2         1  0
       | owner's id | wake | count | place / 16  | 0 | PENDING | 0 0 |       the whole word 0: nobody

   nobody -> mine    slab_claim: compare-and-swap, by whoever frees a block of it or adopts an orphan
   mine -> nobody    slab_disown: compare-and-swap, fails if a remote free came; a full slab is disowned, so that
                     its first freer gets it and frees the rest without atomics, unless that was its owner the last time
   others' frees     slab_push_remote: compare-and-swap onto the list; at the count `wake` the sender sets PENDING and
                     then hands the slab to the owner's pending stack (arena.c); who holds PENDING keeps the slab
                     from being destroyed

   Invariants (slab_valid): formed = on the free list + on the remote list + live; every offset is a multiple of the
   block size, of a formed block; nobody's slab has an empty remote list. */
#ifndef BRIM_SLAB_H
#define BRIM_SLAB_H

#include "classes.h"
#include "diag.h"
#include "region.h"

#define LINK_PLACE_BITS 18
#define LINK_ONE ((uint64_t)1 << LINK_PLACE_BITS)
#define LINK_PLACE(link) ((link) & (LINK_ONE - 1))
#define LINK_PLACE_OF(offset) ((offset) + BLOCK_ALIGNMENT)
#define LINK_OFFSET(link) (LINK_PLACE(link) - BLOCK_ALIGNMENT) /* there is a block */
#define LINK_COUNT(link) (~(link) >> LINK_PLACE_BITS)
#define LINK_AT(count, place) (~(uint64_t)(count) << LINK_PLACE_BITS | (place))
#define LINK_EMPTY LINK_AT(0, 0)
#define LINK_LOWEST (~(uint64_t)0 << 31)
/* slab->wake: a push that makes the list this long leaves the fast path. */
#define WAKE_AT(count) LINK_AT(count, LINK_ONE - 1)
#define WAKE_NEVER ((uint64_t)0)
#define LINK_KEY_BITS 25
#define LINK_CODE_LOWEST (~(uint64_t)0 << (LINK_KEY_BITS + 31))
static_assert(LINK_CODE_LOWEST >> 56 == 0xff && LINK_CODE_LOWEST << 8 == 0, "the last byte of a code is all ones");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "and it is byte 7");
static_assert(SLAB_SLICES_MAX * SLICE_SIZE <= 1 << LINK_PLACE_BITS, "the place of a block above 16 bytes fits a link");
static_assert(SLICE_SIZE < 1 << LINK_PLACE_BITS, "so does that of a smaller one");

#define REMOTE_PENDING ((uint64_t)4)
#define REMOTE_WAKE_SHIFT 31
#define REMOTE_WAKE_NEVER ((uint64_t)0x1fff)
#define REMOTE_WAKE(remote) ((remote) >> REMOTE_WAKE_SHIFT & REMOTE_WAKE_NEVER)
#define REMOTE_ID_SHIFT 44
#define REMOTE_ID_MAX ((1u << 20) - 1)
#define REMOTE_ID(remote) ((uint32_t)((remote) >> REMOTE_ID_SHIFT))
#define REMOTE_LIST_BITS (~LINK_LOWEST & ~(uint64_t)(BLOCK_ALIGNMENT - 1))
#define REMOTE_COUNT(remote) (((remote) & REMOTE_LIST_BITS) >> LINK_PLACE_BITS)
/* The list as a link. */
#define REMOTE_LIST(remote) LINK_AT(REMOTE_COUNT(remote), LINK_PLACE(remote) & REMOTE_LIST_BITS)
#define REMOTE_OWNED_BY(id, wake) ((uint64_t)(id) << REMOTE_ID_SHIFT | (uint64_t)(wake) << REMOTE_WAKE_SHIFT)

/* Encode and decode are inverse odd numbers, encode one of LINK_KEY_BITS. Set once, before the first block; the region's heap would carry its own. */
struct link_key {
    uint64_t encode, decode;
};
static struct link_key process_key;
static void link_key_init(struct link_key *key, uint64_t random);

/* Pops a block; NULL if the list is empty. Owner. The block's first word is cleared, so that a block which is freed
   unwritten is no double-free candidate. */
INLINE void *slab_pop(struct slice *slab)
{
    uint64_t head = load_relaxed(slab->head), place = LINK_PLACE(head);
    if (unlikely(place == 0))
        return NULL;
    block_word *block = (block_word *)(slab->origin + place);
    uint64_t next = *block * process_key.decode;
    if (unlikely(next <= head))
        diag_fatal("corrupted free list", block);
    store_relaxed(slab->head, next);
    __atomic_store_n(block, 0, __ATOMIC_RELEASE); /* as in slab_push: who is forked half-way has left the list */
    return block;
}

/* Is the first word of the block a link? */
INLINE bool link_is_at(const void *block, const struct link_key *key)
{
    return unlikely(((const unsigned char *)block)[7] == 0xff) && *(const block_word *)block * key->decode > LINK_LOWEST;
}

/* True if the first word of the block being freed says that it may be free already. */
INLINE bool slab_double_free_candidate(const void *block) { return link_is_at(block, &process_key); }

INLINE const struct size_class *slab_class(const struct slice *slab) { return &size_classes[slab->size_class]; }

/* True if `offset` is that of a formed block, and no page of the slab is purged. */
INLINE bool slab_is_block(const struct slice *slab, uintptr_t offset)
{
    return (uint32_t)offset * slab->reciprocal < load_folded_half(slab->limit);
}

/* True if `offset` is that of a formed block, purged pages or not. It is not in a guard. */
INLINE bool slab_is_formed_block(const struct slice *slab, uintptr_t offset)
{
    return (uint32_t)offset * slab->reciprocal < slab_class(slab)->limit &&
           !(load_relaxed(slab->unformed) >> (offset >> os_page_shift) & 1);
}

/* The head of a list on which the block at `offset` has been pushed. (Its place is filled with ones, not zeros, because
   GCC knows that zeros and an offset can be or-ed, and then adds the rest in an instruction more.) */
INLINE uint64_t link_pushed(uint64_t head, uintptr_t offset)
{
    return (head | (LINK_ONE - 1)) + LINK_PLACE_OF(offset) - (2 * LINK_ONE - 1);
}

/* Pushes the block at `offset`. Owner. True if the slab wants attention: see slab->wake. */
INLINE bool slab_push(struct slice *slab, void *block, uintptr_t offset)
{
    uint64_t head = load_relaxed(slab->head);
    *(block_word *)block = head * process_key.encode;
    head = link_pushed(head, offset);
    /* Release: a snapshot of this memory (fork) that has the head has the link, too. Free on x86. */
    store_release(slab->head, head);
    return head <= slab->wake;
}

INLINE uintptr_t slab_start(const struct slice *slab) { return slab->origin + BLOCK_ALIGNMENT; }
INLINE struct slice *slab_head(struct slice *slice) { return (struct slice *)((char *)slice - slice->back); }
/* The head of the run that `p` is in; the region contains it. */
INLINE struct slice *slab_at(const struct region *region, const void *p)
{
    return slab_head(&region->map[((uintptr_t)p - region->base) >> SLICE_SHIFT]);
}
INLINE uint64_t slab_free_count(const struct slice *slab) { return LINK_COUNT(load_relaxed(slab->head)); }

/* Makes the detached run of `head` a slab of `class`, owned by `owner`, nothing formed. A slice more than the class
   needs becomes a guard. `stride`: pages that are to be formed at once, at least. */
static void slab_create(struct slice *head, unsigned class, size_t stride, struct arena *owner, uint32_t owner_id,
                        bool zero);
/* Ends a slab of which no block is live, and releases its run. Owner. */
static void slab_destroy(struct slice *slab);
/* Forms the blocks of some more pages and puts them on the free list, in address order, or in none (HARDENED_RANDOM).
   Owner; the list is empty. False if all are formed. `*clean`: the first of them is zero beyond its first word. */
static bool slab_form(struct slice *slab, bool *clean);
/* If the free list is empty, takes the remote list for it, whole. Owner. True if there was one. */
static bool slab_take_remote(struct slice *slab);
/* Another thread's free: puts the block at `offset` on the list of `remote`, the word just read, whose owner is somebody
   else. False if the word has changed (it is read anew into `*remote`). `*notify`: the caller now holds PENDING. */
INLINE bool slab_push_remote(struct slice *slab, uint64_t *remote, void *block, uintptr_t offset, bool *notify);
/* Sets at how many remote frees the owner is told; clears PENDING if `drained`. Owner. False if `remote` changed. */
static bool slab_set_remote_wake(struct slice *slab, uint64_t remote, uint64_t wake, bool drained);
/* Puts the remote list's blocks on the free list one by one, for when that is not empty. Owner. */
static void slab_merge_remote(struct slice *slab);
/* nobody -> owner, who is told at `wake` remote frees. False if somebody else was faster. */
static bool slab_claim(struct slice *slab, struct arena *owner, uint32_t owner_id, uint64_t wake);
/* After a slab came from a thread that a fork left behind: makes `formed` fit what that thread had announced. Blocks that
   it was forming or purging are lost, and keep the slab from ever being all free. */
static void slab_settle(struct slice *slab);
/* mine -> nobody. False if remote frees are there or on their way; the slab is still the caller's then. */
static bool slab_disown(struct slice *slab, struct arena *owner);
/* Is the block on one of the slab's lists? Any thread; the lists may move meanwhile. */
static bool slab_lists_contain(struct slice *slab, const void *block);
/* Is the block free? Any thread. */
static bool slab_block_is_free(struct slice *slab, const void *block);
/* Gives back the whole pages in which all blocks are free and formed: they become unformed. Owner. Bytes. */
static size_t slab_purge(struct slice *slab);
VALIDITY bool slab_valid(struct slice *slab);

#endif
