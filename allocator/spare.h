/* spare.h: slabs of which all blocks are free, and which stay as they are: hardened.

   In that mode a new slab costs two calls of the kernel for its guard, and is cleared; one that ends is looked through.
   So the last few that became empty are kept, formed and with their free lists, each for its own class. Their blocks are
   looked at when they are handed out again, as all are. Spares are nobody's (slab_disown), and those of all threads:
   who frees what others allocate has them, and the others need them. */
#ifndef BRIM_SPARE_H
#define BRIM_SPARE_H

#include "slab.h"

/* Keeps the owner's slab, which is in no list, or destroys it or an older one. PENDING is ours, if it is set. */
RARE void spare_put(struct slice *slab, struct arena *owner, uint32_t owner_id);
/* A spare slab of the class, from now on the owner's; NULL if there is none. */
RARE struct slice *spare_take(unsigned class, struct arena *owner, uint32_t owner_id);
/* Destroys all of them. True if there were any. */
static bool spare_end_all(struct arena *owner, uint32_t owner_id);
RARE void spare_after_fork(void);
VALIDITY bool spare_valid(void);

#endif
