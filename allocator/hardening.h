/* hardening.h: which protections of the hardened mode are on, and what they are made of: a canary, a test for zero,
   random numbers. Where each applies is told in hardened.h.

   A block is protected as its slab, run or mapping was when that was made: each notes the features of that moment. So
   blocks that were handed out before the environment was read stay valid. */
#ifndef BRIM_HARDENING_H
#define BRIM_HARDENING_H

#include "diag.h"
#include "options.h"
#include "os.h"

enum {
    HARDENED_ZERO = 1,       /* freed memory is cleared, and must still be clear when it is handed out */
    HARDENED_RANDOM = 2,     /* a page's blocks are handed out in random order */
    HARDENED_QUARANTINE = 4, /* freed blocks wait before they can be handed out again */
    HARDENED_CANARY = 8,     /* a secret word behind each block */
    HARDENED_GUARD = 16,     /* inaccessible memory behind slabs and runs, and around mappings */
    HARDENED_ALL = 31
};

/* Set from the environment once; a build can begin with all. */
static _Atomic uint8_t hardened_features = OPTION_DEFAULT(hardened) ? HARDENED_ALL : 0;
/* All protections but the one that is not the blocks' own: what the quick ways are made for. */
enum { HARDENED_USUAL = HARDENED_ALL & ~HARDENED_GUARD };
INLINE bool features_are_usual(uint8_t features) { return (features | HARDENED_GUARD) == HARDENED_ALL; }
INLINE bool hardened_has(uint8_t feature) { return load_relaxed(hardened_features) & feature; }

/* The keys of canaries and random numbers. Before the first block with features. */
static void hardening_init(void);
/* In a forked child: other random numbers than its parent's. The keys stay, as the blocks do. */
static void hardening_after_fork(void);

/* ---- canaries ---- */

#define CANARY_SIZE ((size_t)8)
static struct {
    uint64_t secret, factor;
} canary_key;

/* What stands behind the block, other for each. Its first byte is zero: a string that runs out of its block ends
   there, and does not show the rest. */
INLINE uint64_t canary_of(const void *block)
{
    return ((uintptr_t)block ^ canary_key.secret) * canary_key.factor & ~(uint64_t)0xff;
}

INLINE void canary_set(void *block, size_t usable) { *(block_word *)((char *)block + usable) = canary_of(block); }

INLINE void canary_check(const void *block, size_t usable)
{
    if (unlikely(*(const block_word *)((const char *)block + usable) != canary_of(block)))
        diag_fatal("write beyond the end of a block", block);
}

/* What a protected request needs. The caller knows that this cannot wrap. */
INLINE size_t canary_room(void) { return hardened_has(HARDENED_CANARY) ? CANARY_SIZE : 0; }

/* Where the canary of a large block is: right behind the request, rounded up. */
INLINE size_t canary_place(size_t request) { return align_up(request, CANARY_SIZE); }

/* ---- zero ---- */

typedef uint64_t zero_word __attribute__((vector_size(16), may_alias));
INLINE bool zero_word_is_zero(zero_word word) { return (word[0] | word[1]) == 0; }

/* Are all these bytes zero? Both are multiples of 16. */
INLINE bool memory_is_zero(const void *p, size_t bytes)
{
    const zero_word *at = p, *end = (const zero_word *)((const char *)p + bytes);
    zero_word any = {0, 0};
    for (; end - at >= 4; at += 4)
        any |= at[0] | at[1] | at[2] | at[3];
    for (; at < end; at++)
        any |= *at;
    return zero_word_is_zero(any);
}

/* ---- random numbers: not for keys ---- */

static _Thread_local uint64_t chance_state; /* 0: not seeded */

/* Below `limit`, which is at most 2^32: by the highest bits, as those are the best ones. Seeded. */
INLINE size_t chance_below(size_t limit)
{
    chance_state = chance_state * 0xd1342543de82ef95 + canary_key.factor; /* which is odd: the period is 2^64 */
    return (chance_state >> 32) * limit >> 32;
}

static inline void chance_seed_once(void)
{
    if (unlikely(chance_state == 0))
        chance_state = os_random() | 1;
}

#endif
