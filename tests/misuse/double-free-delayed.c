/* double-free-delayed.c SIZE EVERY: a block is freed again long after, when every EVERYth of a thousand
   others went the same way and others of another size came and went. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    size_t size = size_argument(arguments, 1), every = size_argument(arguments, 2);
    static unsigned char *others[1000];
    for (size_t i = 0; i < 1000; i++)
        others[i] = allocate(size);
    unsigned char *p = announce(others[500]);
    free(p);
    for (size_t i = 0; i < 1000; i += every)
        if (others[i] != p)
            free(others[i]);
    for (size_t i = 0; i < 1000; i++)
        free(allocate(3 * size + 100));
    free(opaque(p));
    return 1;
}
