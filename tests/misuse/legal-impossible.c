/* legal-impossible.c: sizes and alignments that cannot be are refused, with the errno of the manual, and nothing else
   happens. */
#include <errno.h>
#include <malloc.h>

#include "misuse.h"

#define REFUSED(call, error)                                                                                           \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if (opaque(call) != NULL || errno != (error))                                                                  \
            return 1;                                                                                                  \
    } while (0)

/* Volatile: to the compiler, a block that went to realloc is gone. */
static unsigned char *volatile kept;

int main(void)
{
    require_expected_allocator_for(24);
    kept = memset(allocate(100), 'x', 100);
    size_t sizes[] = {SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX / 2 + 1, SIZE_MAX / 2 - 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = opaque_size(sizes[i]);
        REFUSED(malloc(size), ENOMEM);
        REFUSED(calloc(1, size), ENOMEM);
        REFUSED(calloc(size, size), ENOMEM);
        REFUSED(realloc(kept, size), ENOMEM);
        REFUSED(reallocarray(kept, size, 16), ENOMEM);
        REFUSED(memalign(4096, size), ENOMEM);
        REFUSED(aligned_alloc(64, size), ENOMEM);
        REFUSED(valloc(size), ENOMEM);
        REFUSED(pvalloc(size), ENOMEM);
        void *out = kept;
        if (posix_memalign(&out, 64, size) != ENOMEM || out != kept)
            return 1;
    }
    REFUSED(aligned_alloc(opaque_size(3), 100), EINVAL);
    REFUSED(aligned_alloc(opaque_size(0), 100), EINVAL);
    REFUSED(memalign(opaque_size(SIZE_MAX), 100), EINVAL);
    REFUSED(memalign(opaque_size(SIZE_MAX / 2 + 1), 100), ENOMEM);
    void *out = kept;
    if (posix_memalign(&out, opaque_size(3), 100) != EINVAL || posix_memalign(&out, opaque_size(4), 100) != EINVAL ||
        out != kept)
        return 1;
    for (size_t i = 0; i < 100; i++)
        if (kept[i] != 'x')
            return 1;
    free(kept);
    return 0;
}
