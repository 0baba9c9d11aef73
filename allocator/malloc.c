/* malloc.c: the entry points of C and POSIX. Each only checks what its contract asks it to check. */
#include "alloc.h"
#include "fork.h"
#include "glibc.h"

/* The __libc_ names that a static link's libc refers to. */
#ifdef BRIM_PREFIXED
#define LIBC_ALIAS(other, name)
#else
#if __has_attribute(copy)
#define COPY_ATTRIBUTES(name) , copy(name)
#else
#define COPY_ATTRIBUTES(name)
#endif
#define LIBC_ALIAS(other, name) EXPORT extern __typeof__(name) other __attribute__((alias(#name) COPY_ATTRIBUTES(name)));
#endif

#define malloc PUBLIC(malloc)
#define free PUBLIC(free)
#define calloc PUBLIC(calloc)
#define realloc PUBLIC(realloc)
#define reallocarray PUBLIC(reallocarray)
#define aligned_alloc PUBLIC(aligned_alloc)
#define posix_memalign PUBLIC(posix_memalign)
#define memalign PUBLIC(memalign)
#define valloc PUBLIC(valloc)
#define pvalloc PUBLIC(pvalloc)
#define cfree PUBLIC(cfree)
#define malloc_usable_size PUBLIC(malloc_usable_size)
#define free_sized PUBLIC(free_sized)
#define free_aligned_sized PUBLIC(free_aligned_sized)

EXPORT void *malloc(size_t size) { return alloc_allocate(size); }

EXPORT void free(void *p) { alloc_release(p); }

EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return out_of_memory();
    return alloc_allocate_zeroed(bytes);
}

EXPORT void *realloc(void *p, size_t size)
{
    if (unlikely(!p))
        return alloc_allocate(size);
    if (unlikely(size == 0)) {
        alloc_release(p);
        return NULL;
    }
    return alloc_resize(p, size);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return out_of_memory();
    return realloc(p, bytes);
}

/* The smallest power of two >= alignment; 0 if there is none. */
static size_t alignment_round(size_t alignment)
{
    if (alignment <= 1)
        return 1;
    if (alignment > SIZE_MAX / 2 + 1)
        return 0;
    return (size_t)1 << (64 - __builtin_clzll(alignment - 1));
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    size_t rounded = alignment_round(alignment);
    if (unlikely(rounded == 0)) {
        errno = EINVAL;
        return NULL;
    }
    return alloc_aligned(rounded, size);
}

/* C17 7.22.3.1 and glibc 2.38 on: a bad alignment fails; the size need not be a multiple. */
EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (unlikely(!is_power_of_two(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    return alloc_aligned(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (unlikely(!is_power_of_two(alignment) || alignment % sizeof(void *) != 0))
        return EINVAL;
    void *p = alloc_aligned(alignment, size);
    if (unlikely(!p))
        return ENOMEM;
    *out = p;
    return 0;
}

static size_t page_size(void)
{
    process_init_once();
    return os_page_size;
}

EXPORT void *valloc(size_t size) { return alloc_aligned(page_size(), size); }

EXPORT void *pvalloc(size_t size)
{
    size_t page = page_size(), rounded;
    if (unlikely(__builtin_add_overflow(size, page - 1, &rounded)))
        return out_of_memory();
    return alloc_aligned(page, align_down(rounded, page));
}

EXPORT void cfree(void *p) { alloc_release(p); }

EXPORT size_t malloc_usable_size(void *p) { return p ? alloc_usable_size(p) : 0; }

/* C23 7.24.3.4 and 7.24.3.5. */
EXPORT void free_sized(void *p, size_t size) { alloc_release_sized(p, size); }
EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    alloc_release_aligned_sized(p, alignment, size);
}

LIBC_ALIAS(__libc_malloc, malloc)
LIBC_ALIAS(__libc_free, free)
LIBC_ALIAS(__libc_calloc, calloc)
LIBC_ALIAS(__libc_realloc, realloc)
LIBC_ALIAS(__libc_memalign, memalign)
LIBC_ALIAS(__libc_valloc, valloc)
LIBC_ALIAS(__libc_pvalloc, pvalloc)

EXPORT int brim_owns(const void *p) { return p && alloc_owns(p); }

/* As early as a constructor can be; blocks may have been handed out before. */
__attribute__((constructor(101))) static void brim_init(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv; /* libc passes all three to constructors; its environ may not be set yet */
    fork_init();
    thread_init();
    settings_init(environment);
}
