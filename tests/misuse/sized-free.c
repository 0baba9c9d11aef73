/* sized-free.c CALL SIZE WRONG: a block of SIZE bytes is freed as one of WRONG bytes, by free_sized,
   free_aligned_sized (alignment 64) or the C++ operator delete that takes a size. */
#include "misuse.h"

#pragma weak free_sized
#pragma weak free_aligned_sized
#pragma weak _ZdlPvm
extern void free_sized(void *p, size_t size);
extern void free_aligned_sized(void *p, size_t alignment, size_t size);
extern void _ZdlPvm(void *p, size_t size);

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 4)
        return 2;
    size_t size = size_argument(arguments, 2), wrong = size_argument(arguments, 3);
    if (strcmp(arguments[1], "free_sized") == 0)
        free_sized(announce(allocate(size)), wrong);
    else if (strcmp(arguments[1], "free_aligned_sized") == 0)
        free_aligned_sized(announce(aligned_alloc(64, size)), 64, wrong);
    else
        _ZdlPvm(announce(allocate(size)), wrong);
    return 1;
}
