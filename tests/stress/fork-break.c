/* fork-break.c: fork while another thread moves the break up and down. The child may be caught between the
   kernel's moving it and libc's noting where it is; nobody will tell it later. What it takes for heap must be
   there all the same.

   fork-break [FORKS] */
#include "stress.h"

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
    pthread_t thread;
    thread_start(&thread, move_break, NULL);
    for (size_t i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork: errno %d", errno);
        if (child == 0)
            child_main();
        require_child_success(child);
    }
    stopping = true;
    thread_join(thread);
    printf("the break moved %zu times\n", 2 * moves);
    return 0;
}
