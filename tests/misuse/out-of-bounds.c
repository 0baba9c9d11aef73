/* out-of-bounds.c SIZE BEYOND [free]: changes the byte so far beyond the end of a block (negative: before its start), of
   one block after the other, until one lies where that is noticed at once. With "free" only of those that lie where
   it is not, on the page of the byte; these are freed. */
#include <stdbool.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count < 3)
        return 2;
    size_t size = size_argument(arguments, 1);
    long beyond = strtol(arguments[2], NULL, 0);
    for (int i = 0; i < 200; i++) {
        volatile unsigned char *p = announce(allocate(size));
        memset((void *)(uintptr_t)p, 'x', size);
        volatile unsigned char *at = beyond < 0 ? p + beyond : p + size + beyond;
        bool same_page = (uintptr_t)at / 4096 == (uintptr_t)p / 4096;
        if (count > 3 && !same_page)
            continue;
        *at ^= 0x20;
        if (count > 3)
            free(opaque((void *)(uintptr_t)p));
    }
    return 1;
}
