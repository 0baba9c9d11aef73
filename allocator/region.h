/* region.h: address ranges with a heap map, and the runs of slices in them.

   regions[0] is the break region: its memory comes from sbrk, its map is reserved beside. The others are reserved by
   mmap when the break is blocked or the break region's map is full. In each, map[i] describes slice i:

     base              base + 64 KiB                                  base + count * 64 KiB
      | foreign | slab | slab | medium . . . | free . . | slab (2) .  | free (top) . . . |
     map[0]     map[1] ...

   A run is tiled by its head: the `run` word of the head slice says kind and length; walking from map[0] by lengths
   visits every head. That word is the truth; bins, purge queue and counters are caches of it, protected by the
   region's lock, and a forked child rebuilds them from it (region_rebuild). Every change of the tiling is ordered
   so that each single store leaves a tiling that can be walked.

   Invariants (region_valid):
   - heads tile [0, count); no two free runs are neighbours;
   - a slice that is not the head of a slab has owner NULL; one that is not a further slice of a slab has back 0;
     one that is not a head is RUN_INSIDE: so a wild pointer is recognised by one load;
   - every free run is in the bin of its length, and in the purge queue iff it has dirty slices;
   - a slice of a free run whose dirty bit is clear is zero. */
#ifndef BRIM_REGION_H
#define BRIM_REGION_H

#include "base.h"
#include "hardening.h"
#include "options.h"
#include "os.h"
#include "regret.h"
#include "sync.h"

struct arena;

enum run_kind {
    RUN_INSIDE,  /* not a head */
    RUN_FOREIGN, /* somebody else's part of the break; always one slice long */
    RUN_FREE,
    RUN_DETACHED, /* being handed out or taken back: in nobody's list */
    RUN_PURGING,  /* free, but in nobody's list: its pages are being given back */
    RUN_SLAB,
    RUN_MEDIUM,
    RUN_CACHED /* of a freed medium block that a thread keeps: see medium.h */
};

/* Where an owned slab is kept; see slab.h for the transitions. */
enum slab_state { SLAB_NOBODY, SLAB_OPEN, SLAB_PARTIAL, SLAB_WAITING };

/* One slice of the heap map. The first line is what the owner's fast paths touch (of the head slice; `back` of any);
   the second is what senders of remote frees write, and what the slow paths need. */
struct slice {
    /* The arena that may pop and push without atomics; NULL: nobody. Written by that arena's thread only. Others
       only compare it with themselves, so any value that they see is a right "not me". */
    alignas(CACHE_LINE) _Atomic(struct arena *) owner;
    uintptr_t origin;      /* from where links count places: see slab.h. Set before the slab hands out a block */
    _Atomic uint64_t head; /* free list: see link in slab.h. Owner; statistics read it, stale is harmless */
    uint64_t wake;         /* a push that makes head <= wake (a list so long) leaves the fast path. Owner */
    uint32_t reciprocal;   /* of the block size: see size_class. Set with origin */
    _Atomic uint32_t limit; /* of offset * reciprocal, of formed blocks; 0 while purged: frees are slow then. Owner;
                               others see a live block within it or 0 */
    size_t back;           /* bytes back to the head slice's descriptor. Set with origin */
    _Atomic uint16_t formed; /* blocks formed: free, remote or live. Owner; statistics read it, stale is harmless */
    uint8_t size_class;    /* set with origin */
    uint8_t state;         /* enum slab_state. Owner */
    uint8_t features;      /* of its blocks: see hardening.h. A guarded run's last slice is the guard. Set with start */
    _Atomic uint64_t run;  /* enum run_kind, length in slices << 8: the truth. Region lock to change, but for RUN_MEDIUM
                              and RUN_CACHED of one length, which change into each other */

    alignas(CACHE_LINE) _Atomic uint64_t remote; /* owner's id, blocks that others freed: see slab.h */
    struct slice *pending_next;                  /* in the owner's pending stack. Who holds REMOTE_PENDING */
    union {
        struct { /* slab: in one of the owner's lists, or among the orphans */
            struct slice *next, *previous;
            uint64_t clean; /* bit per page: unformed, and known to be zero. Owner */
        };
        struct { /* head of a free run. Region lock */
            uint32_t bin_next, bin_previous; /* slice indices */
            uint32_t age_next, age_previous;
            uint32_t dirty; /* slices that are dirty */
        };
        struct { /* medium block with features */
            size_t usable; /* bytes that may be used. Set with features; its holder, when resizing */
        };
    };
    _Atomic uint64_t unformed; /* bit per page: no block that starts in it is formed. Owner; others read the bit of a
                                  live block, which does not change */
    uint32_t tail;          /* in the last slice of a free run: its length. Region lock */
    uint16_t noted_free;    /* slab: free blocks that are noted as idle. Owner, or orphan lock */
    uint16_t looked_free;   /* slab: free blocks that the last look for idle pages left. Owner */
    uint8_t stride;         /* slab: pages that are formed at once, at least. Owner */
    bool purged;            /* slab: has unformed pages that were formed once. Owner */
    bool sparse;            /* slab: partial, and less than half of it live. Owner, or orphan lock */
    uint8_t region;         /* index of its region. Set when the slice is opened */
    _Atomic uint8_t orphan; /* in the list of orphans. Orphan lock to change */
    bool stays;             /* slab: its owner need not let go of it when it is full: see slab_close. Owner */
    uint16_t last_owner;    /* slab: its owner's id, or of nobody's slab the last one's; modulo 2^16. Owner */
};
static_assert(sizeof(struct slice) == 2 * CACHE_LINE, "two lines a slice");
static_assert((SLICE_SIZE / (4 * KIB)) * 4 <= 64, "page masks fit a word");

#define RUN_WORD(kind, length) ((uint64_t)(kind) | (uint64_t)(length) << 8)
INLINE enum run_kind run_kind(const struct slice *slice) { return load_acquire(slice->run) & 0xff; }
INLINE size_t run_length(const struct slice *slice) { return load_acquire(slice->run) >> 8; }

#define BIN_COUNT 128
#define NO_SLICE UINT32_MAX

struct region {
    uintptr_t base;        /* slice aligned; constant */
    _Atomic size_t count;  /* slices described and usable; release store after their descriptors are set */
    struct slice *map;     /* constant */
    uint64_t *dirty;       /* bit per slice: not known to be zero. Region lock */
    size_t capacity;       /* slices that map has room for */
    size_t map_open;       /* slices whose descriptors are opened. Break lock */
    uintptr_t end;         /* first byte that is not ours: where we left the break. Break lock */
    bool is_break;         /* regions[0] */
    uintptr_t first;       /* of the break region: where the break was when it began; below may be nothing. Constant */
    bool shared;           /* somebody else has moved the break, too. Break lock */
    bool blocked;          /* the break was moved below our memory, a fork lost it, or others might move it at the very
                              moment that we do: never moved again. Break lock */
    uint8_t index;
    struct lock lock;      /* RANK_REGION */
    struct lock growth;    /* RANK_BREAK */
    uint64_t bin_map[2];   /* bit per bin that is not empty */
    uint32_t bins[BIN_COUNT];
    uint32_t age_oldest, age_newest; /* queue of free runs with dirty slices */
    _Atomic size_t free_slices; /* in free runs. Region lock; read without it where a stale value does no harm */
    size_t dirty_slices;   /* of them dirty */
    size_t detached;       /* runs being given back right now: 0 or 1 */
    bool purging;          /* the budget was crossed, and is not yet undercut far enough */
    const void *purger;    /* lock_self of the thread that does */
    struct regret regret;  /* in slices: by how much purging and trimming was too eager */
    _Atomic size_t hollow; /* bytes of slabs' purged pages. Any thread adds and subtracts; only budgets read it */
    size_t discarded;      /* bytes given back since the region began, for statistics */
    size_t system, system_peak; /* bytes taken from the kernel, for statistics. Break lock */
};

#define REGION_MAX 64
/* Behind all other data, so that the first one's page is theirs, too. */
static __attribute__((section(".bss.regions"))) struct region regions[REGION_MAX];
static _Atomic size_t region_count; /* regions[0 .. region_count) are there; release store after they are */

/* What free memory the regions keep; set from the options. A stale value is harmless. */
struct region_policy {
    _Atomic size_t top_pad;         /* bytes asked for beyond each growth, and left by each trim */
    _Atomic size_t many_pad;        /* the same beyond growth for a slab, of which at first little is touched */
    _Atomic size_t trim_threshold; /* free bytes at the top that are trimmed; SIZE_MAX: never give back unprompted */
    _Atomic bool trim_explicit;     /* set by the program: taken to the letter, and the floor of the purge budget */
};
static struct region_policy region_policy = {.top_pad = OPTION_DEFAULT(top_pad),
                                             .many_pad = OPTION_DEFAULT(many_pad),
                                             .trim_threshold = OPTION_DEFAULT(trim_threshold)};

struct run_request {
    size_t slices;
    size_t alignment; /* in slices, a power of two */
    bool many;        /* one of many small ones: grow for some more at once */
    bool spare_top;   /* leave fresh memory at the top alone: for requests that could be mappings */
    bool grow;        /* grow a region if no free run fits */
};

/* The region that contains `p`, or NULL. */
static struct region *region_of(const void *p);
/* The same for one that most likely is in the first. */
INLINE const struct region *region_of_likely(const void *p)
{
    const struct region *first = &regions[0];
    bool there = ((uintptr_t)p - first->base) >> SLICE_SHIFT < load_acquire(first->count);
    return likely(there) ? first : region_of(p);
}
INLINE struct region *region_of_slice(const struct slice *slice) { return &regions[slice->region]; }
INLINE size_t slice_index(const struct region *region, const struct slice *slice) { return slice - region->map; }
INLINE uintptr_t slice_address(const struct region *region, const struct slice *slice)
{
    return region->base + (slice_index(region, slice) << SLICE_SHIFT);
}

/* Takes a run and makes it RUN_DETACHED; the caller fills its head and publishes a kind with run_publish. `*zero`:
   all of it is known to be zero. NULL if there is no memory. Any thread; takes the region's locks. */
static struct slice *region_take(const struct run_request *request, bool *zero);
static _Thread_local bool run_in_hand; /* this thread has a detached run: taken and not published, or to be released */
INLINE void run_publish(struct slice *head, enum run_kind kind)
{
    store_release(head->run, RUN_WORD(kind, load_relaxed(head->run) >> 8));
    atomic_signal_fence(memory_order_seq_cst);
    run_in_hand = kind == RUN_DETACHED; /* after: at no moment is our detached run nobody's */
}
/* Makes a run of this word RUN_DETACHED; false if its word is another, as another thread was faster. */
static bool run_detach(struct slice *head, uint64_t word);
/* Frees a run: RUN_DETACHED (a slab's: its owner and back fields have been reset) or RUN_MEDIUM. May trim and purge. */
static void region_release(struct slice *head);
/* The same, unless its word is no longer `word`, as another thread was faster: then false. */
static bool region_release_if(struct slice *head, uint64_t word);
/* Grows or shrinks a RUN_MEDIUM in place to `slices`; false if the neighbour is not free or too small. */
static bool region_resize(struct slice *head, size_t slices);
/* Is the slice part of a free run? Walks the region; takes its lock. For the diagnosis of a program's bug. */
RARE bool region_is_free(struct region *region, const struct slice *slice);
/* Are these bytes somebody else's part of the break, between our slices or above them? Takes the break lock. */
RARE bool region_is_foreign(uintptr_t from, size_t bytes);
/* How many bytes of free memory may stay with us in slabs before their pages are given back. SIZE_MAX: all. */
static size_t region_purge_budget(void);
#define PURGE_BUDGET_LEAST (2 * MIB) /* it is never less */
/* Bytes of mappings, which are live beside the regions. Whoever makes them says so; only budgets read it. */
static _Atomic size_t live_beside;
/* Something was mapped: what the regions keep beside it may be too much now. */
static void regions_settle(void);
/* malloc_trim: gives back every free run's pages and the top above `pad` bytes. True if anything went back. */
static bool region_trim_all(size_t pad);
/* Bytes of the heap map that are open. Break lock. */
static size_t region_metadata(const struct region *region);
/* In a forked child: makes the caches of a region right again if their lock's holder does not exist here. */
static void region_after_fork(void);
VALIDITY bool region_valid(struct region *region);

#endif
