/* forged-chunk.c WHERE: free of what looks like a block of glibc's malloc, sizes before and behind it, on the stack, in
   data, or inside a block: the house of spirit. */
#include "misuse.h"

struct chunk {
    size_t before, size, block[4], next_before, next_size;
};

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    static _Alignas(16) struct chunk in_data;
    _Alignas(16) struct chunk on_stack;
    struct chunk *chunk = strcmp(arguments[1], "stack") == 0  ? &on_stack
                          : strcmp(arguments[1], "data") == 0 ? &in_data
                                                              : (void *)allocate(sizeof *chunk);
    *chunk = (struct chunk){.size = 0x31, .next_size = 0x31};
    free(announce(opaque(chunk->block)));
    return 1;
}
