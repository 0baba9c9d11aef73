/* allocator.h: which allocator a stress program tortures.

   As a rule the one behind the standard names: brim when preloaded, glibc's for reference. Built with
   BRIM_PREFIXED and linked with the prefixed brim, the same sources torture that one, while the process's own
   malloc is left to the sanitizer. Include it after the system's headers, whose declarations the macros would
   rename. */
#ifndef STRESS_ALLOCATOR_H
#define STRESS_ALLOCATOR_H

#include <malloc.h>
#include <stdlib.h>

#ifdef BRIM_PREFIXED
void *brim_malloc(size_t size);
void brim_free(void *p);
void *brim_calloc(size_t count, size_t size);
void *brim_realloc(void *p, size_t size);
void *brim_reallocarray(void *p, size_t count, size_t size);
void *brim_aligned_alloc(size_t alignment, size_t size);
int brim_posix_memalign(void **p, size_t alignment, size_t size);
void *brim_memalign(size_t alignment, size_t size);
void *brim_valloc(size_t size);
void *brim_pvalloc(size_t size);
size_t brim_malloc_usable_size(void *p);
int brim_malloc_trim(size_t pad);
int brim_mallopt(int parameter, int value);
#define malloc brim_malloc
#define free brim_free
#define calloc brim_calloc
#define realloc brim_realloc
#define reallocarray brim_reallocarray
#define aligned_alloc brim_aligned_alloc
#define posix_memalign brim_posix_memalign
#define memalign brim_memalign
#define valloc brim_valloc
#define pvalloc brim_pvalloc
#define malloc_usable_size brim_malloc_usable_size
#define malloc_trim brim_malloc_trim
#define mallopt brim_mallopt
#endif

/* After the macros, so that it asks about blocks of the same allocator. */
#include "../support.h"

#endif
