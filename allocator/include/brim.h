/* brim.h: what brim offers beyond malloc. */
#ifndef BRIM_H
#define BRIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whose is it? Returns 1 if `p` lies in memory that brim handed out or manages (its break region, its fallback
   regions, or the pages of one of its mappings), else 0; NULL gives 0. It never dereferences `p`, sets no errno,
   and may be called from any thread; not from a signal handler. The answer for memory that is being freed at the
   same time is either. */
int brim_owns(const void *p);

#ifdef __cplusplus
}
#endif
#endif
