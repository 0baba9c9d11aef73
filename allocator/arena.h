/* arena.h: the slabs that one thread allocates from, by size class: refill, remote frees, adoption.

   An arena belongs to one thread at a time; nothing in it but `pending` and `state` is touched by others. Every slab
   that it owns is in exactly one place:

     open[class]      the one that malloc pops from                          never wakes
     partial[class]   has free blocks, next to be opened                      wakes when all its blocks are free
     waiting[class]   was full, fewer than a few have come back               wakes when enough have

   Full slabs belong to nobody, and so do the orphans that an ended thread left (listed by class, so that others can
   adopt them). Whoever frees a block of nobody's slab claims it. A slab that comes back to the thread that had let it go
   stays with that thread from then on, waiting, when it is full: until another thread is the first to free a block of it,
   which lets it go the next time. Transitions:

     new       -> open       refill                    open    -> nobody, waiting  refill finds it full
     nobody    -> waiting    first free                waiting -> partial    enough free
     partial   -> open       refill                    partial, waiting -> destroyed: all free
     nobody (orphan) -> open adoption by refill        any     -> nobody (orphan)  thread exit

   In the hardened mode a few of the destroyed ones are not, but spares (spare.h), which refill asks for first.

   Borrowing. A small program uses most classes for a few blocks each. So a class starts on the open slab of its lender
   (the next power of two): open[class] points to that slab, too, which costs the fast path nothing.

   Purging. A partial slab wakes at each further quarter of free blocks, too, and what has become free is noted as
   idle. When all arenas' and orphans' idle bytes exceed a budget, the thread that noticed looks through its own partial
   slabs, or the orphans, and gives back the whole pages in which no block is live (slab_purge); what is left is not
   noted again.

   The wake counts of the local and the remote list are each set to half of what is missing, so that one of the two
   must be reached before the sum is, and the sum is looked at O(log) times.

   Arenas are never unmapped: an id is good for ever. An ended thread's arena is idle until the next thread takes
   it. In a forked child, the arenas of threads that do not exist there are dead: their slabs are claimed by their
   first freer, and their lists are never walked. */
#ifndef BRIM_ARENA_H
#define BRIM_ARENA_H

#include "medium.h"
#include "spare.h"

enum arena_state { ARENA_IDLE, ARENA_ACTIVE, ARENA_DEAD };

struct quarantine;

struct arena {
    struct slice *open_by_step[STEPS_MAX / 16 + 1]; /* open[] again, by size in 16-byte steps. First: no offset to add */
    struct slice *open[CLASS_COUNT];                /* slab_none if none. Changed by arena_set_open */
    struct slice *partial[CLASS_COUNT];
    struct slice *waiting[CLASS_COUNT];
    uint16_t slabs[CLASS_COUNT];  /* made for the class, less those that were destroyed: roughly what it has */
    uint8_t borrows[CLASS_COUNT]; /* times a class was refilled from its lender's slab */
    struct regret regret;         /* in bytes: by how much purging its slabs was too eager */
    size_t idle;                  /* bytes freed in its partial slabs since those were last looked at */
    size_t idle_told;             /* of it, what the sum of all arenas has */
    size_t idle_spared;           /* of it, what the last look left alone */
    struct slice *purge_slab;     /* partial slab that is looked at next; NULL: the first of the class purge_next */
    unsigned purge_next;          /* CLASS_COUNT: there is none */
    struct medium_cache medium;   /* runs of medium blocks that its thread has freed */
    uint32_t orders_seen;         /* see thread_orders */
    uint32_t id;                  /* 1 or more; constant */
    struct arena *idle_next;      /* arenas' lock */
    bool idle_listed;             /* arenas' lock */
    _Atomic(struct quarantine *) quarantine; /* see quarantine.h. Written once, by its thread */
    alignas(CACHE_LINE) _Atomic(struct slice *) pending; /* slabs whose remote list reached its wake count; senders push
                                                            with release, the owner takes all with acquire */
    _Atomic uint32_t state;       /* enum arena_state */
};

/* What a thread has before its first block: malloc finds every open slab empty, free owns nothing. Never written. */
static const struct slice slab_none;
static const struct arena arena_none;
#define SLAB_NONE ((struct slice *)&slab_none)

/* An arena for the calling thread: an idle one or a new one. NULL if there is no memory. It is in the thread's hand then,
   until the thread says otherwise. */
static struct arena *arena_obtain(void);
/* Not this thread's home yet, or only borrowed; its own all the same. */
static _Thread_local struct arena *arena_in_hand;
/* The calling thread is done with its arena: all that can be disowned becomes nobody's, the rest waits in it. */
static void arena_retire(struct arena *arena);
/* A block of `class`, when its open slab has none. NULL if there is no memory. `*clean`: zero beyond its first word. */
static void *arena_refill(struct arena *arena, unsigned class, bool *clean);
/* The part of it that most calls need: what the open slab still has, else one that is partial is opened. NULL if there is
   neither. May be called for arena_none. */
static void *arena_reopen(struct arena *arena, unsigned class, bool *clean);
/* The same out of memory, when arena_refill had none: a block of a larger class, from the slabs that there are. */
RARE void *arena_scrape(struct arena *arena, unsigned class, size_t alignment, bool *clean);
/* A push has reached slab->wake. */
static void arena_wake(struct arena *arena, struct slice *slab);
/* Frees the block at `offset` of a slab, whoever owns that. Keeps errno. */
INLINE void arena_release(struct arena *arena, struct slice *slab, void *block, uintptr_t offset);
/* The arena keeps nothing any more that no block is in, for when memory runs out: neither runs, nor open slabs, nor
   spares. Its thread only. */
static void arena_yield(struct arena *arena);
/* Gives back what the arena's slabs hold of free whole pages. Its thread only. True if anything went back. */
static bool arena_trim(struct arena *arena);
/* The same for at most so many of the slabs that ended threads left. For `arena`'s thread. Bytes. */
static size_t arena_purge_orphans(struct arena *arena, size_t most);
/* From now on the slabs that the arena has are nobody's, and stay in no list: neither they nor their free blocks are
   used again. Its thread only. */
RARE void arena_abandon(struct arena *arena);
/* region_take for the arena's thread (NULL: it has none): medium runs that it keeps go back before the heap grows. */
static struct slice *arena_take_run(struct arena *arena, const struct run_request *request, bool *zero);
/* Medium runs that arenas keep go back: all arenas', else those of threads that a forked child does not have. */
RARE void arenas_flush_medium(bool all);
static struct arena *arena_by_id(uint32_t id);
/* Memory for good, zero; NULL if there is none. */
COLD void *arena_metadata(size_t bytes);
static uint32_t arena_count(void); /* ids 1 to this exist */
static void arena_after_fork(struct arena *mine);
VALIDITY bool arena_valid(struct arena *arena);

#endif
