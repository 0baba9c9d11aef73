/* invalid-free.c KIND: free of a pointer that no allocator handed out; see foreign.h for the kinds. */
#include "foreign.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    free(announce(foreign_pointer(arguments[1])));
    return 1;
}
