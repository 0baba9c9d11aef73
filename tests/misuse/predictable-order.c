/* predictable-order.c SIZE: no mistake, but what exploits build upon: 1 if most new blocks follow the one before. */
#include <stddef.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1), following = 0;
    unsigned char *before = allocate(size);
    for (size_t i = 0; i < 1000; i++) {
        unsigned char *p = allocate(size);
        following += p > before && p - before < (ptrdiff_t)(2 * size);
        before = p;
    }
    return following > 500;
}
