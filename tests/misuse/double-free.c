/* double-free.c SIZE: a block is freed twice in a row. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    unsigned char *p = allocate(size_argument(arguments, 1));
    memset(p, 'x', size_argument(arguments, 1));
    announce(p);
    free(p);
    free(opaque(p));
    return 1;
}
