/* interior-free.c SIZE OFFSET: free of a pointer into a block of SIZE bytes, OFFSET bytes after its start. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    unsigned char *p = allocate(size_argument(arguments, 1));
    memset(p, 'x', size_argument(arguments, 1));
    free(announce(p + size_argument(arguments, 2)));
    return 1;
}
