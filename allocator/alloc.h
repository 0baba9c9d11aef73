/* alloc.h: allocate, release, resize, align, usable size: the dispatch over slabs, runs and mappings.

   The life of a block. malloc takes the size class of the request from a table, the open slab of that class from the
   thread's arena, and pops. A request above CLASS_MAX is a run of slices, above the threshold a mapping. free finds
   the slice in the heap map by one subtraction and one shift, sees that the slab is its own thread's, and pushes; all
   else leaves by one cold exit: NULL, mappings, runs, other threads' blocks, slabs that want attention, blocks of
   libc's own malloc, guarded blocks, and bugs.

   All functions: thread safe, not async-signal safe, safe after fork in the child of a program with threads. */
#ifndef BRIM_ALLOC_H
#define BRIM_ALLOC_H

#include "foreign.h"
#include "guard.h"
#include "hardened.h"
#include "heap.h"
#include "mapping.h"
#include "thread.h"

/* `size` bytes aligned to BLOCK_ALIGNMENT, never NULL for size 0; NULL with errno ENOMEM if there is no memory. */
static void *alloc_allocate(size_t size);
/* The same, zeroed. */
static void *alloc_allocate_zeroed(size_t size);
/* `size` bytes at a multiple of `alignment`, a power of two; else as alloc_allocate. */
static void *alloc_aligned(size_t alignment, size_t size);
/* Ends a block. NULL does nothing; what is no live block's start is fatal. Keeps errno. */
static void alloc_release(void *p);
/* The same for a caller who knows the size it asked for (and the alignment): a size that cannot be right is fatal. */
static void alloc_release_sized(void *p, size_t size);
static void alloc_release_aligned_sized(void *p, size_t alignment, size_t size);
/* realloc for p != NULL and size != 0: NULL with errno ENOMEM leaves `p` as it was. */
static void *alloc_resize(void *p, size_t size);
/* Bytes that may be used; constant while the block lives. `p` is not NULL; a pointer to no block is fatal. */
static size_t alloc_usable_size(const void *p);
/* Is `p` in memory that we manage? */
static bool alloc_owns(const void *p);

/* M_PERTURB: 0, or the byte that freed blocks are filled with; allocated ones get its complement. Stale is harmless. */
static _Atomic unsigned char perturb_byte;
static void alloc_set_perturb(unsigned char byte);

#endif
