/* hardened.h: the paths of the hardened mode, which every allocation and release takes when a protection is on.

   The fast paths know nothing of it: as with M_PERTURB, each thread's are sent to an arena that has nothing
   (thread_slow), so that the mode costs nothing where it is off. What each protection does:

              block of a slab                            medium block                     mapping
   zero       cleared when freed, all of it looked at    cleared when freed               given back
              when it is handed out again
   random     a page's blocks in random order            -                                the kernel's choice
   quarantine a place among 4 to 128 others; of two      -                                no access to its addresses
              frees at the same time one is found                                         for a while
   canary     the block's last word                      behind the request, if there     the same
                                                         is room
   guard      a slice behind the slab                    a slice behind the run           a page on both sides

   Blocks of a time with other features (before the environment was read) are good, and never used again once they are
   free: there are few of them. */
#ifndef BRIM_HARDENED_H
#define BRIM_HARDENED_H

#include "mapping.h"
#include "thread.h"

/* Was the mode ever on? Then there may be blocks with features. */
static _Atomic bool hardened_ever = OPTION_DEFAULT(hardened);

/* Sets the features, once, by the library's constructor. */
RARE void hardened_start(uint8_t features);
/* A block of the slab, ready for the program and zero; NULL if it has none, or not the usual protections. */
INLINE void *hardened_pop(struct slice *slab);
/* Readies a block of a slab, wherever it came from, for the program. True if it is zero. */
static bool hardened_hand_out(struct slice *slab, void *block);
/* Ends a block of the thread's own slab that has the usual protections; false if `p` is no such block. */
INLINE bool hardened_release_quick(void *p);
/* Ends a block of a slab, and fills it with `fill` if that is not 0 and nothing else does. `p` is any pointer; false if
   it is not one to a block that may be live. */
static bool hardened_release(void *p, unsigned char fill);
/* Does the block's first word say that it waits? */
RARE bool hardened_block_is_free(const struct slice *slab, const void *block);

/* Medium blocks: how many slices to ask for; the run is there and its features are set, or it is about to be released
   (false: it must not be); both only of runs that have features. */
static size_t hardened_slices(size_t size);
static void hardened_medium_begin(struct slice *head, size_t size);
static bool hardened_medium_end(struct slice *head);
/* Makes a run that has features hold `size` bytes, in place; false if it cannot. Looks at the canary. */
static bool hardened_medium_resize(struct slice *head, size_t size);

/* Bytes that may be used of a block of the slab. */
INLINE size_t hardened_room(const struct slice *slab)
{
    return slab_class(slab)->block_size - (slab->features & HARDENED_CANARY ? CANARY_SIZE : 0);
}

#endif
