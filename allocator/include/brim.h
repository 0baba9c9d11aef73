/* brim.h: what brim offers beyond malloc. */
#ifndef BRIM_H
#define BRIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whose is it? Returns 1 if `p` lies in memory that brim handed out or manages (its break region, its fallback
   regions, the pages of one of its mappings, or those of sampled blocks), else 0; NULL gives 0. It never dereferences `p`, sets no errno,
   and may be called from any thread; not from a signal handler. The answer for memory that is being freed at the
   same time is either. */
int brim_owns(const void *p);

/* ---- options ----

   The options are those that BRIM_HELP=1 in the environment of any program lists, with their defaults. The
   environment sets them when the program starts, as BRIM_<NAME>; glibc's variables (MALLOC_TOP_PAD_ ...), its
   GLIBC_TUNABLES=glibc.malloc... and mallopt(3) set those of them that glibc has. Programs that run with rights which
   their user lacks (set-user-ID) read none of it. Names are in letters of either case: "mmap_threshold". A forked
   child keeps what its parent had. */

/* Puts the present value of the option into `*value`: bytes where the option is a size, SIZE_MAX for -1. It can
   differ from what was set: freeing a mapping raises mmap_threshold and trim_threshold. Returns 0, or ENOENT if there
   is no option of that name (`*value` is then untouched). Sets no errno. Any thread; not from a signal handler. */
int brim_option_get(const char *name, size_t *value);

/* Changes the option for what is allocated and freed from now on. Returns 0; ENOENT if there is no option of that
   name, EPERM if only the environment can set it, EINVAL if the value is out of its range: nothing has changed then.
   Setting mmap_threshold, mmap_max, top_pad or trim_threshold keeps mmap_threshold from moving by itself, as
   mallopt(3) does; setting mmap_threshold_dynamic to 1 lets it move again. Other threads may work by the old value
   a little longer. Sets no errno. Any thread; not from a signal handler. */
int brim_option_set(const char *name, size_t value);

/* ---- statistics ----

   They cost nothing until they are asked for: then the heap map is walked, under the heap's locks. What other threads
   do at the same time is counted or not. Sizes are bytes. mallinfo2(3), malloc_info(3) and malloc_stats(3) tell the
   same with glibc's words; there, an arena is a region of the heap, the first of them the break. A forked child may
   ask, too, also where its parent had threads. */

enum { BRIM_STATS_TEXT = 1, BRIM_STATS_JSON = 2 };
enum { BRIM_STATS_CLASSES = 64 }; /* room for so many size classes */

/* Blocks of one size class, up to 32 KiB. A slab holds blocks of one class; its pages are formed into blocks when
   they are first needed. */
struct brim_class_stats {
    size_t block_size, slab_size;
    size_t slabs;
    size_t live;     /* blocks that the program holds */
    size_t free;     /* blocks that are ready to be handed out, or that another thread has freed */
    size_t unformed; /* blocks for which there is room in the slabs' pages that are not formed */
    size_t waste;    /* bytes of the slabs that no live block covers */
};

struct brim_stats {
    /* The heap: the break and, where that was blocked, other regions. */
    size_t heap;             /* taken from the kernel for it: live + free */
    size_t heap_peak;
    size_t live;             /* in blocks that the program holds, and not usable */
    size_t free;
    size_t free_dirty;       /* of it, in runs of pages that may be resident */
    size_t runs, runs_live;  /* blocks above 32 KiB on the heap: how many, and their bytes */
    size_t regions;
    size_t foreign;          /* of its range, what is somebody else's: before our first byte, and in between */
    size_t break_base, break_end; /* addresses: where the heap on the break begins, where we left the break */
    size_t break_top;        /* free at the top: what a trim returns */
    int break_blocked;       /* somebody lowered the break below our blocks: it is never moved again */
    /* Giving memory back. */
    size_t returned;         /* since the start, by trimming the top and by giving free runs' pages back */
    size_t purge_budget;     /* free bytes that may be kept; SIZE_MAX: all of them */
    /* Mappings: blocks of their own. */
    size_t mappings, mapped, mappings_peak, mapped_peak;
    /* Beside the blocks. */
    size_t metadata;         /* the heap map as far as it is open, the table of mappings, arenas */
    size_t arenas;           /* as many as threads have allocated at a time */
    size_t classes;          /* of these rows there are: */
    struct brim_class_stats by_class[BRIM_STATS_CLASSES];
    /* Sampled blocks (BRIM_SAMPLE_GUARD), each on a page of its own. */
    size_t guard_slots;      /* room for so many; 0: never asked for */
    size_t guard_live;       /* that the program holds */
    size_t guard_taken;      /* since the start */
};

/* What one thread allocates from. */
struct brim_arena_stats {
    size_t id;          /* 1 or more; 0: slabs that nobody owns, as they are full or their thread has ended */
    int in_use;         /* a thread has it */
    size_t slabs;
    size_t live, free;  /* bytes of its slabs */
    size_t remote_free; /* of the free bytes, those that other threads freed and the owner has not taken back yet */
};

/* Fills the first `size` bytes of a struct brim_stats; pass sizeof *stats (a later version may add fields at the
   end). Returns 0, or EINVAL if `stats` is NULL. Any thread; not from a signal handler. */
int brim_stats_get(struct brim_stats *stats, size_t size);

/* Fills up to `count` rows with the arenas from the `first` on, in the order of their ids, 0 included. Returns how many
   there are in all. Any thread; not from a signal handler. */
size_t brim_stats_arenas(struct brim_arena_stats *rows, size_t first, size_t count);

/* Writes all of it to the file descriptor, as text for people (BRIM_STATS_TEXT) or as one JSON object on one line
   (BRIM_STATS_JSON), by write(2) alone. Allocates nothing. Returns 0, or EINVAL if there is no such format. Any
   thread; not from a signal handler. BRIM_STATS=1 (or json) in the environment does the same on stderr when the
   program ends by exit or by returning from main. */
int brim_stats_print(int fd, int format);

#ifdef __cplusplus
}
#endif
#endif
