/* never-allocated.c SIZE: free of where a block of SIZE could be, but none has been handed out yet. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1);
    size_t blocks = 65536 / size;
    uintptr_t last = 0, never;
    do {
        for (size_t i = 0; i < 3; i++)
            last = (uintptr_t)allocate(size) > last ? (uintptr_t)opaque(allocate(size)) : last;
        uintptr_t slab = last & ~(uintptr_t)65535;
        never = slab + (blocks - 1) * size;
    } while (never == last);
    free(announce((void *)never));
    return 1;
}
