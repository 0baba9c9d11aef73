/* fork-break.c: fork while another thread moves the break up and down. The child may be caught between the
   kernel's moving it and libc's noting where it is; nobody will tell it later. The kernel, too, copies where
   the break is before it copies what is mapped, and others may move it meanwhile, the more so the longer they
   make fork wait. What the child takes for heap must be there all the same.

   fork-break [FORKS] */
#include "stress.h"

#include <sys/mman.h>

static atomic_bool stopping;
static _Atomic size_t moves;

/* Untouched, so that it does little but move the break. */
static void *move_break(void *unused)
{
    while (!stopping) {
        void *p = malloc(8 * MIB);
        require(p);
        free(p);
        moves++;
    }
    return unused;
}

/* Makes fork wait for the lock of the address space. */
static void *map_and_unmap(void *unused)
{
    while (!stopping) {
        void *p = mmap(NULL, 1 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        require(p != MAP_FAILED);
        munmap(p, 1 * MIB);
    }
    return unused;
}

static _Noreturn void child_main(void)
{
    alarm(20);
    struct block blocks[6];
    for (size_t i = 0; i < 6; i++)
        block_malloc(&blocks[i], 60 * KIB << i, i);
    blocks_free(blocks, 6);
    _exit(0);
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    size_t forks = argument(count, arguments, 1, 400);
    require(mallopt(M_ARENA_MAX, 1) == 1);
    require(mallopt(M_MMAP_THRESHOLD, 1 << 30) == 1);
    require(mallopt(M_TRIM_THRESHOLD, 128 * 1024) == 1);
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        thread_start(&threads[i], i == 0 ? move_break : map_and_unmap, NULL);
    for (size_t i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork: errno %d", errno);
        if (child == 0)
            child_main();
        require_child_success(child);
    }
    stopping = true;
    for (size_t i = 0; i < 3; i++)
        thread_join(threads[i]);
    printf("the break moved %zu times\n", 2 * moves);
    return 0;
}
