/* double-free-written.c SIZE: a block is freed, written to, so that it does not look free, and freed again; then it
   comes into use. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1);
    unsigned char *blocks[64];
    for (size_t i = 0; i < 64; i++)
        blocks[i] = announce(allocate(size));
    free(blocks[20]);
    memset(opaque(blocks[20]), 'x', 8);
    free(opaque(blocks[20]));
    for (size_t i = 0; i < 64; i++)
        if (i != 20)
            free(blocks[i]);
    for (size_t i = 0; i < 20000; i++) {
        unsigned char *p = allocate(size);
        if (i % 2 == 0)
            free(p);
    }
    return 1;
}
