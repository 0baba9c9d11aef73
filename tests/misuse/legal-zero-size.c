/* legal-zero-size.c: no mistake. Blocks of no bytes are blocks: not NULL, each at its own address, to be
   freed, resized and asked for their size like others. */
#include <malloc.h>

#include "misuse.h"

int main(void)
{
    require_expected_allocator_for(24);
    unsigned char *blocks[1000];
    for (size_t i = 0; i < 1000; i++) {
        blocks[i] = i % 3 == 0 ? calloc(i % 2, 0) : i % 3 == 1 ? memalign(64, opaque_size(0)) : allocate(0);
        if (!blocks[i])
            return 1;
        memset(blocks[i], 'x', malloc_usable_size(blocks[i]));
        for (size_t j = 0; j < i; j++)
            if (blocks[i] == blocks[j])
                return 1;
    }
    for (size_t i = 0; i < 1000; i++) {
        if (i % 4 == 0)
            blocks[i] = realloc(blocks[i], 1 + i);
        else if (i % 4 == 1 && realloc(blocks[i], opaque_size(0)) == NULL)
            blocks[i] = NULL; /* which freed it */
        free(blocks[i]);
    }
    free(NULL);
    return 0;
}
