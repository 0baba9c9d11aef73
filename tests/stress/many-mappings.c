/* many-mappings.c: more mappings than the kernel allows a process (vm.max_map_count). At the limit, mmap
   fails, and so does munmap of a piece out of the middle of a larger mapping; blocks must then still come
   from somewhere, and free must still succeed.

   many-mappings [COUNT]  by default somewhat more than twice the limit */
#include <sys/mman.h>

#include "stress.h"

static size_t system_limit(void)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    size_t limit = 0;
    require(file && fscanf(file, "%zu", &limit) == 1);
    fclose(file);
    return limit;
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    size_t limit = system_limit();
    if (limit > 200000)
        skip("vm.max_map_count is %zu here: too many to get there", limit);
    size_t wanted = argument(count, arguments, 1, 2 * limit + 10000);
    const size_t size = 132 * KIB;
    require(mallopt(M_MMAP_MAX, 1 << 30) == 1 && mallopt(M_MMAP_THRESHOLD, 128 * 1024) == 1);

    /* Neighbours are one mapping to the kernel: only frees between them make many. A block's first page alone
       is touched, in every 64th, to see that they stay what they are. */
    unsigned char **blocks =
        mmap(NULL, wanted * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(blocks != MAP_FAILED);
    for (size_t i = 0; i < wanted; i++) {
        blocks[i] = malloc(size);
        if (!blocks[i])
            fail("no memory for block %zu of %zu", i, wanted);
        if (i % 64 == 0)
            memset(blocks[i], (int)(i / 64), 4096);
    }
    for (size_t i = 1; i < wanted; i += 2) {
        errno = 12345;
        free(blocks[i]);
        require(errno == 12345);
        /* Where free could not unmap, its memory may be lost, but nothing else. */
        blocks[i] = NULL;
    }
    struct random random = random_stream(0);
    static struct block slots[1000];
    for (size_t i = 0; i < 20000; i++)
        block_step(slots, 1000, MIB, &random);
    for (size_t i = 0; i < wanted; i += 64)
        for (size_t j = 0; j < 4096; j++)
            require(blocks[i][j] == (unsigned char)(i / 64));
    for (size_t i = 0; i < wanted; i += 2)
        free(blocks[i]);
    for (size_t i = 0; i < 20000; i++)
        block_step(slots, 1000, MIB, &random);
    blocks_free(slots, 1000);
    munmap(blocks, wanted * sizeof *blocks);
    return 0;
}
