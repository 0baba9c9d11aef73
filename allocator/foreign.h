/* foreign.h: blocks of libc's own malloc that reach us.

   A module that a program opens with RTLD_DEEPBIND is bound to libc's malloc whatever was preloaded, and may leave its
   blocks to the program, whose free is ours. Such a block is in one of two places:

   - in libc's main arena, which is on the break as we are: in a stretch of it that is not ours, behind a header that
     has to make sense there. That is enough to pass it on to libc.
   - in the arena of a thread or in a mapping of its own, where nothing tells it from a wild pointer. It is passed on
     only if the user says that all such pointers are libc's (the option foreign_free).

   What we pass on is libc's to check. All functions: any thread; take the break lock and the loader's, hold none. */
#ifndef BRIM_FOREIGN_H
#define BRIM_FOREIGN_H

#include "library.h"
#include "region.h"

/* The option foreign_free. A stale value is harmless. */
static _Atomic bool foreign_all;

/* Is `p`, which is in none of our runs and mappings, to be taken for a block of libc's? It is dereferenced on the break
   only. False where there is no other malloc. */
RARE bool foreign_is_block(const void *p);
/* libc's free and malloc_usable_size. foreign_is_block has said yes. */
RARE void foreign_release(void *p);
RARE size_t foreign_usable_size(const void *p);

#endif
