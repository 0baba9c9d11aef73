/* predictable-reuse.c SIZE: no mistake, but what exploits build upon: 1 if most freed blocks are handed out again at
   once. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1), again = 0;
    unsigned char *p = allocate(size);
    for (size_t i = 0; i < 1000; i++) {
        uintptr_t freed = (uintptr_t)p;
        free(p);
        p = allocate(size);
        again += (uintptr_t)p == freed;
    }
    return again > 500;
}
