/* double-free-interleaved.c SIZE: a block is freed again after its neighbour, so that it is no longer the
   last one freed. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    unsigned char *p = allocate(size_argument(arguments, 1)), *other = allocate(size_argument(arguments, 1));
    announce(p);
    free(p);
    free(other);
    free(opaque(p));
    return 1;
}
