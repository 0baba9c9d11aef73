/* invalid-usable-size.c KIND: malloc_usable_size of a pointer that is no block; kinds: see foreign.h. */
#include <malloc.h>

#include "foreign.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    size_t size = malloc_usable_size(announce(foreign_pointer(arguments[1])));
    return opaque_size(size) ? 1 : 3;
}
