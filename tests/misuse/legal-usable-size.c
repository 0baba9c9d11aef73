/* legal-usable-size.c: no mistake. All that malloc_usable_size promises may be written, in blocks of every
   size, and no neighbour notices; the block can be freed, resized or freed by another thread afterwards. */
#include <malloc.h>

#include "misuse.h"

int main(void)
{
    require_expected_allocator_for(24);
    unsigned char *blocks[64];
    for (size_t size = 0; size < 3 << 20; size += size < 2048 ? 1 : size / 7) {
        size_t batch = size < 65536 ? 64 : 4;
        for (size_t i = 0; i < batch; i++) {
            blocks[i] = allocate(size);
            if (malloc_usable_size(blocks[i]) < size)
                return 1;
            memset(blocks[i], (int)i + 1, malloc_usable_size(blocks[i]));
        }
        for (size_t i = 0; i < batch; i++) {
            size_t usable = malloc_usable_size(blocks[i]);
            for (size_t j = 0; j < usable; j++)
                if (blocks[i][j] != i + 1)
                    return 1;
            if (i == 0 && size % 64 == 0)
                free_elsewhere(blocks[i]);
            else if (i == 1)
                free(realloc(blocks[i], usable));
            else if (i == 2)
                free(realloc(blocks[i], usable + 1));
            else
                free(blocks[i]);
        }
    }
    return 0;
}
