/* mapping.h: large blocks, each a private anonymous mapping of its own, and the threshold from which a request becomes
   one.

   Metadata are out of line: an open-addressed hash from the user's pointer to the mapping's base and length, so
   that a wild pointer is recognised without being dereferenced and a fresh mapping stays untouched. An entry is
   erased before its pages are unmapped, or another thread's new mapping could come to the same address while the
   old entry is there.

   Hardened, a mapping has an inaccessible page before it and behind it, and a canary behind the request where its last
   page has room for one (where it has none, the guard is what follows). Its addresses stay taken for a while after it
   was freed.

        base          pointer                       request, rounded up                     base + length
         | guard       | the block . . .             | canary | rest of the page | guard     |

   The table is changed under a lock by single stores that leave it readable at every moment (key last when an entry
   is made, a tombstone in place of the key when it ends, a new table published by one store): a forked child needs
   no repair but a recount. */
#ifndef BRIM_MAPPING_H
#define BRIM_MAPPING_H

#include "region.h"

/* What decides whether a request is mapped; glibc's parameters of the same names. */
struct mapping_policy {
    _Atomic size_t threshold; /* padded requests from here on are mapped; moves when `dynamic`. Stale is harmless */
    _Atomic size_t threshold_max; /* where it no longer moves */
    _Atomic bool dynamic;     /* until a program sets one of the four parameters that freeze it */
    _Atomic size_t count_max; /* live mappings; 0: never map */
};
static struct mapping_policy mapping_policy;

/* glibc's padded size of a request: header, 16-byte rounding, minimum. The threshold is compared with it. */
INLINE size_t padded_size(size_t size)
{
    return max_size(32, (size + 23) & ~(size_t)15);
}

/* A new mapping for `size` bytes at a multiple of `alignment` (a power of two). NULL if there is no memory, too many
   mappings, or no room to note it. All of it is zero. */
static void *mapping_allocate(size_t alignment, size_t size);
/* Ends the mapping of `p` and lets the threshold learn its size. False if `p` is no mapping's. The new trim
   threshold, if freeing moved it, is put in `*trim_threshold` (else 0). */
static bool mapping_release(void *p, size_t *trim_threshold);
/* Makes the mapping of `p` hold `size` bytes, moving it if need be; contents to the smaller of both sizes stay.
   NULL if it cannot be: it is then as it was. `p` is a mapping's. */
static void *mapping_resize(void *p, size_t size);
/* Bytes that may be used from `p` on; 0 if `p` is no mapping's. */
static size_t mapping_usable_size(const void *p);
/* Was `p` a mapping's, freed a short while ago? Known of hardened ones only. */
static bool mapping_is_retired(const void *p);
/* Does `p` point into a mapping? Looks at all of them. */
static bool mapping_contains(const void *p);

struct mapping_totals {
    size_t count, bytes, count_peak, bytes_peak;
    size_t table_bytes; /* of the table itself */
};
static struct mapping_totals mapping_totals(void);
static void mapping_after_fork(void);
VALIDITY bool mapping_valid(void);

#endif
