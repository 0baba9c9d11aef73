/* overflow.c SIZE DISTANCE COUNT HOW: COUNT bytes are changed, DISTANCE bytes behind what may be used of a block of
   SIZE bytes, which has neighbours; then HOW the block ends: free, realloc, or exit. */
#include <malloc.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 5)
        return 2;
    size_t size = size_argument(arguments, 1);
    unsigned char *p = NULL;
    for (size_t i = 0; i < 40; i++) {
        unsigned char *next = announce(allocate(size));
        p = i == 0 || next < p ? next : p; /* the lowest: what follows is ours as long as can be */
    }
    volatile unsigned char *beyond = p + malloc_usable_size(p) + size_argument(arguments, 2);
    for (size_t i = 0; i < size_argument(arguments, 3); i++)
        beyond[i] ^= 0x20; /* other than it was, whatever that was */
    if (strcmp(arguments[4], "free") == 0)
        free(p);
    else if (strcmp(arguments[4], "realloc") == 0)
        opaque(realloc(p, 2 * size + 100));
    _exit(1);
}
