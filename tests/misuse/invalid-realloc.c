/* invalid-realloc.c KIND SIZE: realloc to SIZE of a pointer that is no block; see foreign.h for the kinds. */
#include "foreign.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    void *moved = realloc(announce(foreign_pointer(arguments[1])), size_argument(arguments, 2));
    return opaque(moved) ? 1 : 3;
}
