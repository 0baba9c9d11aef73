/* double-free-joined.c SIZE: three blocks beside each other; the lower two are freed, and the second of them, whose
   memory has become one with the first's, once more. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = size_argument(arguments, 1);
    unsigned char *lower = allocate(size), *p = allocate(size), *upper = allocate(size);
    free(lower);
    announce(p);
    free(p);
    free(opaque(p));
    free(upper);
    return 1;
}
