/* stats.h: what the allocator holds, counted when somebody asks. There are no counters on the fast paths: the heap map
   is walked under the locks of its region, and the free lists of other threads' slabs are read as they are. What
   moves meanwhile is counted or not; sums are still sums, since each is made from one reading. */
#ifndef BRIM_STATS_H
#define BRIM_STATS_H

#include "alloc.h"

#include "brim.h"

struct class_count {
    size_t slabs, formed, free; /* blocks; live = formed - free */
};

/* Free runs of similar length: 2^i to 2^(i+1) - 1 slices in group i. */
enum { RUN_GROUPS = 40 };
struct run_count {
    size_t count, bytes, shortest, longest; /* bytes */
};

struct region_statistics {
    size_t system, system_peak; /* bytes taken from the kernel */
    size_t top;                 /* bytes at the end without a live block */
    size_t margin;              /* of them beyond the last whole slice: in no free run */
    size_t foreign;             /* bytes of its range that are somebody else's */
    size_t medium, medium_bytes;
    size_t unformed_slabs; /* slabs with room for blocks that are not formed */
    size_t unformed_bytes; /* of such blocks, and what lies behind the last block of a slab with nothing live */
    size_t small_free, small_free_bytes;   /* blocks on free lists */
    size_t dirty_bytes;                    /* in free runs */
    size_t returned;
    struct class_count classes[CLASS_COUNT];
    struct run_count free_runs[RUN_GROUPS];
};

RARE void region_statistics(struct region *region, struct region_statistics *out);
/* Bytes in free runs, and how many pieces of free memory there are beside the blocks on free lists. */
RARE size_t statistics_run_bytes(const struct region_statistics *statistics);
RARE size_t statistics_pieces(const struct region_statistics *statistics);
/* Free bytes of all kinds. */
RARE size_t statistics_free(const struct region_statistics *statistics);

/* BRIM_STATS: 0, BRIM_STATS_TEXT or BRIM_STATS_JSON when the program ends. */
RARE void stats_report_at_exit(int format);
static int stats_report_format(void);

#endif
