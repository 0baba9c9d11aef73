/* read-uninitialized.c SIZE: a new block is read before it is written; 1 if it shows what a freed one held. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1);
    static unsigned char *blocks[1000];
    for (size_t i = 0; i < 1000; i++)
        memset(blocks[i] = allocate(size), 'x', size);
    for (size_t i = 0; i < 1000; i++)
        free(blocks[i]);
    for (size_t i = 0; i < 1000; i++) {
        const unsigned char *p = allocate(size);
        for (size_t j = 0; j < size; j++)
            if (p[j] == 'x')
                return 1;
    }
    return 0;
}
