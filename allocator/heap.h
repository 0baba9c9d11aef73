/* heap.h: heaps over a mapping that the caller chose: the functions of brim.h, and malloc's way to them.

   A block is allocated from the calling thread's shard of the heap, which the thread remembers for the heap that it
   used last. free finds the descriptor of the slice by two shifts and a bit scan, as tables of descriptors double, and
   sees by a token that the slab is the shard's. All else leaves by one exit each. */
#ifndef BRIM_HEAP_H
#define BRIM_HEAP_H

#include "heap_open.h"

/* `alignment` is a power of two. NULL and an error if there is no memory; `zeroed`: all of it. */
static void *heap_allocate(struct brim_heap *heap, size_t size, size_t alignment, bool zeroed);
static void heap_release(struct brim_heap *heap, void *block);
static void *heap_resize(struct brim_heap *heap, void *block, size_t size);
static size_t heap_usable_size(struct brim_heap *heap, const void *block);

/* In a forked child. */
static void heap_after_fork(void);

#endif
