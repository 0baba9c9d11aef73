/* double-free-realloc.c SIZE HOW: a block that realloc ended (HOW zero: by size 0; moved: by another block) is freed. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    size_t size = size_argument(arguments, 1);
    unsigned char *neighbour = allocate(size), *p = announce(allocate(size));
    void *moved = realloc(p, strcmp(arguments[2], "zero") == 0 ? opaque_size(0) : 20 * size + 100000);
    free(opaque(p));
    free(moved);
    free(neighbour);
    return 1;
}
