/* diag.h: fatal and warning lines on fd 2. No stdio, no malloc: safe wherever the allocator can be. */
#ifndef BRIM_DIAG_H
#define BRIM_DIAG_H

#include "base.h"

/* Writes "brim: BUG: POINTER" and aborts. Names the program's bug and the pointer that showed it. */
_Noreturn RARE void diag_fatal(const char *bug, const void *p);
/* Writes "brim: WHAT: DETAIL" (detail may be NULL, and is cut at 100 bytes). Keeps errno. */
RARE void diag_warn(const char *what, const char *detail);

#endif
