/* check_heap: says how many blocks a heap in a file holds, and whether all that it says of itself is right.

     check_heap FILE */
#include "say.h"

int main(int count, char **arguments)
{
    if (count != 2)
        fail("usage: check_heap FILE");
    struct brim_heap *heap = brim_heap_open(arguments[1], BRIM_HEAP_FILE);
    if (!heap)
        fail_heap(arguments[1]);
    char fault[200];
    if (brim_heap_check(heap, fault, sizeof fault) != 0)
        fail("%s: %s", arguments[1], fault);
    struct brim_heap_stats stats;
    if (brim_heap_stats(heap, &stats, sizeof stats) != 0)
        fail_heap(arguments[1]);
    printf("%zu blocks of %zu bytes in %zu; recovered %zu times\n", stats.blocks, stats.live, stats.heap,
           stats.recovered);
    brim_heap_close(heap);
    return 0;
}
