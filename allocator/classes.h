/* classes.h: the size-class table. One list; everything else is derived from it.

   Block sizes: every multiple of 16 to 128, then four per doubling to 32 KiB, so that rounding up wastes at most a
   fifth. A slab holds at least eight blocks. Sizes are multiples of 16, a power of two has its own class (so that
   an aligned request of up to CLASS_MAX finds a class whose blocks are all aligned), and slab sizes are at most
   256 KiB, so that a place in a slab fits LINK_PLACE_BITS and its page masks fit 64 bits. */
#ifndef BRIM_CLASSES_H
#define BRIM_CLASSES_H

#include "base.h"

/* CLASS(index, largest request of the class below, block size, slices per slab, lender) */
#define CLASS_LIST_SMALL(CLASS)                                                                                        \
    CLASS(0, -16, 16, 1, 1) CLASS(1, 16, 32, 1, 1) CLASS(2, 32, 48, 1, 3) CLASS(3, 48, 64, 1, 3)                       \
    CLASS(4, 64, 80, 1, 7) CLASS(5, 80, 96, 1, 7) CLASS(6, 96, 112, 1, 7) CLASS(7, 112, 128, 1, 7)                     \
    CLASS(8, 128, 160, 1, 11) CLASS(9, 160, 192, 1, 11) CLASS(10, 192, 224, 1, 11) CLASS(11, 224, 256, 1, 11)          \
    CLASS(12, 256, 320, 1, 15) CLASS(13, 320, 384, 1, 15) CLASS(14, 384, 448, 1, 15) CLASS(15, 448, 512, 1, 15)        \
    CLASS(16, 512, 640, 1, 19) CLASS(17, 640, 768, 1, 19) CLASS(18, 768, 896, 1, 19) CLASS(19, 896, 1024, 1, 19)       \
    CLASS(20, 1024, 1280, 1, 23) CLASS(21, 1280, 1536, 1, 23) CLASS(22, 1536, 1792, 1, 23) CLASS(23, 1792, 2048, 1, 23)
#define CLASS_LIST_LARGE(CLASS)                                                                                        \
    CLASS(24, 2048, 2560, 1, 27) CLASS(25, 2560, 3072, 1, 27) CLASS(26, 3072, 3584, 1, 27)                             \
    CLASS(27, 3584, 4096, 1, 27) CLASS(28, 4096, 5120, 1, 31) CLASS(29, 5120, 6144, 1, 31)                             \
    CLASS(30, 6144, 7168, 1, 31) CLASS(31, 7168, 8192, 1, 31) CLASS(32, 8192, 10240, 2, 35)                            \
    CLASS(33, 10240, 12288, 2, 35) CLASS(34, 12288, 14336, 2, 35) CLASS(35, 14336, 16384, 2, 35)                       \
    CLASS(36, 16384, 20480, 4, 39) CLASS(37, 20480, 24576, 4, 39) CLASS(38, 24576, 28672, 4, 39)                       \
    CLASS(39, 28672, 32768, 4, 39)
#define CLASS_LIST(CLASS) CLASS_LIST_SMALL(CLASS) CLASS_LIST_LARGE(CLASS)

/* Where the list is cut: up to here a class is found in steps of 16 bytes, above it of 512. */
#define STEPS_MAX ((size_t)2048)

#define CLASS_COUNT 40
#define CLASS_MAX ((size_t)32768)
#define SLAB_SLICES_MAX 4

struct size_class {
    /* An offset in a slab is a block's start iff offset * reciprocal (mod 2^32) < limit. The reciprocal is more than
       2^32 / block size: at the start of block n the product is n times what rounding up added (the excess), elsewhere
       it is a reciprocal or more. So a lower limit refuses the blocks from some number on: those that are not formed.
       (Of the largest class the reciprocal is exact, and the limit refuses none.) */
    uint32_t reciprocal, limit;
    uint32_t block_size;
    uint16_t capacity; /* blocks per slab */
    uint8_t slices;
    uint8_t lender; /* the class whose slab serves this one until it has earned its own; itself if none does */
};

#define CLASS_CAPACITY(size, slab_slices) ((slab_slices)*SLICE_SIZE / (size))
#define CLASS_RECIPROCAL(size) ((size) < CLASS_MAX ? (1ull << 32) / (size) + 1 : (1ull << 32) / (size))
#define CLASS_EXCESS(size) (CLASS_RECIPROCAL(size) * (size) - (1ull << 32))
#define CLASS_LIMIT(size, slab_slices) ((CLASS_CAPACITY(size, slab_slices) - 1) * CLASS_EXCESS(size) + 1)
#define CLASS_ROW(index, below, size, slab_slices, from)                                                               \
    [index] = {CLASS_RECIPROCAL(size), CLASS_LIMIT(size, slab_slices), (size), CLASS_CAPACITY(size, slab_slices),      \
               (slab_slices), (from)},
static const FIRST struct size_class size_classes[CLASS_COUNT] = {CLASS_LIST(CLASS_ROW)};
#undef CLASS_ROW

/* The class of a request by its size in steps, rounded up. */
#define CLASS_RANGE(index, below, size, slab_slices, from) [((below) + 16) / 16 ...(size) / 16] = (index),
static const FIRST uint8_t class_by_step[STEPS_MAX / 16 + 1] = {CLASS_LIST_SMALL(CLASS_RANGE)};
#undef CLASS_RANGE
#define CLASS_RANGE(index, below, size, slab_slices, from) [(below) / 512 + 1 ...(size) / 512] = (index),
static const FIRST uint8_t class_by_large_step[CLASS_MAX / 512 + 1] = {CLASS_LIST_LARGE(CLASS_RANGE)};
#undef CLASS_RANGE
#define CLASS_CHECK(index, below, size, slab_slices, from)                                                             \
    static_assert((below) >= STEPS_MAX && (below) % 512 == 0 && (size) % 512 == 0, "size class " #index);
CLASS_LIST_LARGE(CLASS_CHECK)
#undef CLASS_CHECK

#define CLASS_CHECK(index, below, size, slab_slices, from)                                                             \
    static_assert((size) % 16 == 0 && (size) > (below) && (slab_slices) <= SLAB_SLICES_MAX &&                          \
                      CLASS_CAPACITY(size, slab_slices) >= 8 && CLASS_CAPACITY(size, slab_slices) <= 4096 &&           \
                      (index) < CLASS_COUNT && (from) >= (index) &&                                                    \
                      CLASS_LIMIT(size, slab_slices) <= CLASS_RECIPROCAL(size),                                        \
                  "size class " #index);
CLASS_LIST(CLASS_CHECK)
#undef CLASS_CHECK

/* The limit for a slab of which the first `blocks` are formed, at least one. */
INLINE uint32_t class_limit(const struct size_class *row, size_t blocks)
{
    return (uint32_t)(blocks - 1) * (row->reciprocal * row->block_size) + 1; /* the excess, modulo 2^32 */
}

/* The class that serves a request of `size` <= CLASS_MAX bytes. */
INLINE unsigned class_of(size_t size)
{
    return likely(size <= STEPS_MAX) ? class_by_step[(size + 15) / 16] : class_by_large_step[(size + 511) / 512];
}

/* The smallest class that serves `size` bytes at a multiple of `alignment`, a power of two; both <= CLASS_MAX. Slabs
   start on a slice, so a class is aligned when its block size is a multiple of the alignment. */
static inline unsigned class_of_aligned(size_t alignment, size_t size)
{
    unsigned class = class_of(max_size(size, alignment));
    while (size_classes[class].block_size % alignment != 0)
        class ++;
    return class;
}

#endif
