/* write-after-free.c SIZE WHAT: the first word of freed blocks is overwritten with WHAT ("zero", "ones",
   "text", "pointer", or the number of a bit to be flipped), then blocks of their size are allocated. The
   first blocks stay as they are, so that no accidental pointer to the start of things is right. */
#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    unsigned char *blocks[64];
    for (size_t i = 0; i < 64; i++)
        blocks[i] = allocate(size_argument(arguments, 1));
    for (size_t i = 20; i < 64; i++)
        free(announce(blocks[i]));
    for (size_t i = 20; i < 64; i++) {
        uint64_t word;
        memcpy(&word, opaque(blocks[i]), sizeof word);
        if (strcmp(arguments[2], "zero") == 0)
            word = 0;
        else if (strcmp(arguments[2], "ones") == 0)
            word = UINT64_MAX;
        else if (strcmp(arguments[2], "text") == 0)
            memcpy(&word, "text....", sizeof word);
        else if (strcmp(arguments[2], "pointer") == 0)
            word = (uintptr_t)blocks[i - 1];
        else
            word ^= (uint64_t)1 << size_argument(arguments, 2);
        memcpy(opaque(blocks[i]), &word, sizeof word);
    }
    for (size_t i = 0; i < 10000; i++)
        allocate(size_argument(arguments, 1))[0] = 1;
    return 1;
}
