/* fork.h: fork in a program with threads. Nothing is held or done before it (libc takes its stdio lock after the
   prepare handlers: a lock of ours held there could deadlock with a thread that allocates while it holds a FILE).
   The child repairs what it needs: locks held by threads that it does not have, and the caches behind them. */
#ifndef BRIM_FORK_H
#define BRIM_FORK_H

#include "alloc.h"

static void fork_init(void);

#endif
