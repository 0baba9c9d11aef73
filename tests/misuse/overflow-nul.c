/* overflow-nul.c SIZE: the terminating zero of a string is written one byte behind the block: the classical mistake. It
   does no harm if nothing else was there; 1 if something was. */
#include <malloc.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1);
    unsigned char *blocks[200];
    for (size_t i = 0; i < 200; i++)
        memset(blocks[i] = announce(allocate(size)), 'x', size);
    for (size_t i = 0; i < 200; i++)
        ((unsigned char *)opaque(blocks[i]))[malloc_usable_size(blocks[i])] = '\0';
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < size; j++)
            if (((unsigned char *)opaque(blocks[i]))[j] != 'x')
                return 1;
    for (size_t i = 0; i < 200; i++)
        free(blocks[i]);
    return 0;
}
