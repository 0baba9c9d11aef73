/* underflow.c SIZE: bytes before blocks are written, as many as a length field has; then all blocks are freed. */
#include "misuse.h"

static int by_address(const void *a, const void *b)
{
    const unsigned char *one = *(unsigned char *const *)a, *other = *(unsigned char *const *)b;
    return one < other ? -1 : one > other;
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    unsigned char *blocks[100], *p = NULL;
    for (size_t i = 0; i < 100; i++)
        blocks[i] = announce(allocate(size_argument(arguments, 1)));
    qsort(blocks, 100, sizeof *blocks, by_address);
    for (size_t i = 1, gap = SIZE_MAX; i < 100; i++)
        if ((size_t)(blocks[i] - blocks[i - 1]) < gap) { /* the nearest: nothing is between the two */
            gap = (size_t)(blocks[i] - blocks[i - 1]);
            p = blocks[i];
        }
    memset(opaque(p) - 8, 'x', 8);
    for (size_t i = 0; i < 100; i++)
        free(blocks[i]);
    return 1;
}
