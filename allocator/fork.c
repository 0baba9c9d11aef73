/* fork.c: see fork.h. */
#include "fork.h"

#include <pthread.h>

static void fork_child(void)
{
    region_after_fork();
    mapping_after_fork();
    guard_after_fork();
    arena_after_fork(thread_home);
    spare_after_fork();
    hardening_after_fork();
    heap_after_fork();
}

static void fork_init(void) { pthread_atfork(NULL, NULL, fork_child); }
