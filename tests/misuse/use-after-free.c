/* use-after-free.c SIZE ACCESS [INDEX]: a block is read (1 if what it held is still there) or written at its middle
   after it was freed; then others of its size are freed and allocated, so that it comes into use again. INDEX of them
   are older than it (a quarter of all if that is not said). */
#include "misuse.h"

#define OTHERS 3000

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count < 3)
        return 2;
    size_t size = size_argument(arguments, 1);
    static unsigned char *others[OTHERS];
    int every = strcmp(arguments[2], "write-middle-of-slab") == 0; /* so that all of its slab is free */
    size_t wanted = size < 4096 ? OTHERS : 100;
    /* Once so many are in use, their class has slabs of its own, whose blocks come into use again for no other. */
    for (size_t i = 0; i < wanted && wanted == OTHERS; i++)
        others[i] = allocate(size);
    for (size_t i = 0; i < wanted && wanted == OTHERS; i++)
        free(others[i]);
    for (size_t i = 0; i < wanted; i++)
        others[i] = allocate(size);
    size_t index = count > 3 ? size_argument(arguments, 3) : wanted / 4;
    unsigned char *p = announce(memset(others[index], 'x', size));
    free(p);
    unsigned char *freed = opaque(p);
    if (strcmp(arguments[2], "read") == 0)
        return freed[size / 2] == 'x';
    freed[strcmp(arguments[2], "write-first") == 0 ? 0 : size / 2] = 'y';
    for (size_t i = 0; i < wanted; i++)
        if (others[i] != p && (every || i % 2 == 0))
            free(others[i]);
    for (size_t i = 0; i < wanted; i++)
        others[i] = allocate(size);
    return 1;
}
