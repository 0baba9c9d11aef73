/* interpose.c: malloc and its kin, in front of whatever allocator is below (the next one in the order of
   preloading, or libc's). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interpose.h"
#include "recorder.h"

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
} below;

/* dlsym can allocate, before there is anything to allocate from. What it got so is never given back. */
static char bootstrap[16384] __attribute__((aligned(16)));
static size_t bootstrap_used;

static void *bootstrap_allocate(size_t size)
{
    size_t start = (bootstrap_used + 15) & ~(size_t)15;
    if (size > sizeof bootstrap - start)
        return NULL;
    bootstrap_used = start + size;
    return bootstrap + start;
}

static int is_bootstrap(const void *block)
{
    return (const char *)block >= bootstrap && (const char *)block < bootstrap + sizeof bootstrap;
}

/* Resolved while the program has one thread: the dynamic linker and our constructor allocate or run before
   any other. */
static int resolving;

static __attribute__((noinline, cold)) int resolve(void)
{
    if (resolving)
        return 0;
    resolving = 1;
    *(void **)&below.calloc = next("calloc");
    *(void **)&below.realloc = next("realloc");
    *(void **)&below.free = next("free");
    *(void **)&below.posix_memalign = next("posix_memalign");
    *(void **)&below.aligned_alloc = next("aligned_alloc");
    *(void **)&below.memalign = next("memalign");
    *(void **)&below.valloc = next("valloc");
    *(void **)&below.pvalloc = next("pvalloc");
    *(void **)&below.malloc = next("malloc");
    resolving = 0;
    return below.malloc != NULL;
}

__attribute__((constructor)) static void start(void)
{
    if (!below.malloc)
        resolve();
}

static inline int ready(void)
{
    return __builtin_expect(below.malloc != NULL, 1) || resolve();
}

EXPORT void *malloc(size_t size)
{
    if (!ready())
        return bootstrap_allocate(size);
    void *block = below.malloc(size);
    if (block)
        recorder_allocated(block, size);
    return block;
}

EXPORT void *calloc(size_t count, size_t size)
{
    if (!ready()) /* the area is fresh, so it is zero */
        return size && count > sizeof bootstrap / size ? NULL : bootstrap_allocate(count * size);
    void *block = below.calloc(count, size);
    if (block)
        recorder_cleared(block, count * size);
    return block;
}

EXPORT void free(void *block)
{
    if (!block || is_bootstrap(block) || !ready())
        return;
    recorder_freeing(block);
    below.free(block);
}

EXPORT void cfree(void *block)
{
    free(block);
}

EXPORT void *realloc(void *block, size_t size)
{
    if (!block)
        return malloc(size);
    if (is_bootstrap(block)) {
        void *copy = malloc(size);
        size_t most = (size_t)(bootstrap + sizeof bootstrap - (char *)block);
        if (copy)
            memcpy(copy, block, size < most ? size : most);
        return copy;
    }
    if (size == 0) {
        /* Allocators disagree on whether this frees only; the recording follows the one below. */
        recorder_freeing(block);
        void *result = below.realloc(block, 0);
        if (result)
            recorder_allocated(result, 0);
        return result;
    }
    uint64_t began = recorder_realloc_begin();
    void *result = below.realloc(block, size);
    if (result)
        recorder_realloc_end(began, block, size, result);
    return result;
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, bytes);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    if (!ready())
        return ENOMEM;
    int error = below.posix_memalign(result, alignment, size);
    if (error == 0 && *result)
        recorder_aligned(*result, alignment, size);
    return error;
}

static void *aligned(void *block, size_t alignment, size_t size)
{
    if (block)
        recorder_aligned(block, alignment, size);
    return block;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return ready() ? aligned(below.aligned_alloc(alignment, size), alignment, size) : NULL;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return ready() ? aligned(below.memalign(alignment, size), alignment, size) : NULL;
}

EXPORT void *valloc(size_t size)
{
    return ready() ? aligned(below.valloc(size), (size_t)sysconf(_SC_PAGESIZE), size) : NULL;
}

EXPORT void *pvalloc(size_t size)
{
    return ready() ? aligned(below.pvalloc(size), (size_t)sysconf(_SC_PAGESIZE), size) : NULL;
}

/* C23; an allocator below that has them gets plain free, which they must accept. */
EXPORT void free_sized(void *block, size_t size)
{
    (void)size;
    free(block);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    free(block);
}
