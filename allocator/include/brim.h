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

/* ---- heaps over a mapping of the caller's choice ----

   Each heap is the same slabs and runs over one mapping:

     private    MAP_PRIVATE | MAP_ANONYMOUS  a lifetime of its own: brim_heap_destroy ends all its blocks at once
     family     MAP_SHARED | MAP_ANONYMOUS   parent and children made by fork allocate and free each other's blocks
     file       MAP_SHARED of a file         unrelated processes attach by path; the contents outlive them all
     snapshot   MAP_PRIVATE of a file heap   opens at once, its writes stay its own, the file never changes
     locked     anonymous, locked in memory  for secrets: not swapped, not in core dumps, not in forked children,
                                             zeroed when freed

   Sizes are bytes. Blocks are aligned to 16. A heap is mapped at another address in each process: what blocks say of
   each other must be offsets (brim_ref below), and what is to be found again must be reachable from the root.

   Errors. Functions that return a pointer return NULL, those that return int return -1, with errno set and, for a
   reason that errno has no number for, brim_heap_error(). Success changes neither. Free functions keep errno.

   Threads. Every function may be called by any number of threads at once, brim_heap_close and brim_heap_destroy
   excepted: nobody may be in a function of that heap, or come into one later. None may be called from a signal
   handler. What one thread or process allocates, any other that has the heap may free.

   Fork. A child has all its parent's heaps. A family or file heap is the same heap for both; a private heap or a
   snapshot is a copy, as all private memory is; a locked heap is empty: allocation fails with BRIM_HEAP_WIPED. The
   child of a signal handler that interrupted a heap's function must leave that heap alone. (vfork: no heap.)

   Kills. A process that is killed at any instruction leaves a family or file heap right: each operation was done or
   not, but for a block that was being handed out, which stays allocated (brim_heap_walk finds it). What it owned is
   taken over, and what it was doing under the heap's lock is finished or undone, by the next process that opens the
   heap, waits for the lock, or has to grow the heap. Processes that share a heap must see each other's process ids (one
   pid namespace); a file heap that is open in another namespace is BRIM_HEAP_BUSY here. Only brim_heap_sync makes
   contents safe from a failure of the machine: what was written later may be there or not, page by page, which is
   why a file heap that was open when the machine stopped is checked as a whole when it is next opened.

   Misuse. Freeing what is no live block of the heap, or twice, aborts with a line on stderr, as free does. A heap whose
   contents make no sense (a damaged file) aborts nothing: the operation fails with BRIM_HEAP_DAMAGED, and a block
   that is freed is lost. Data in blocks are the caller's to check, links and the root of a file from strangers, too:
   they can lead anywhere in the heap, its descriptors included.

   malloc's names: free, realloc, malloc_usable_size and brim_owns accept blocks of every heap of the process; realloc
   leaves the block in its heap. malloc(3) and its kin allocate from a heap while brim_heap_use says so. */

struct brim_heap;

enum brim_heap_kind {
    BRIM_HEAP_PRIVATE = 1,
    BRIM_HEAP_FAMILY = 2,
    BRIM_HEAP_FILE = 3,
    BRIM_HEAP_SNAPSHOT = 4,
    BRIM_HEAP_LOCKED = 5
};

enum brim_heap_error {
    BRIM_HEAP_OK = 0,
    BRIM_HEAP_INVALID = 1,      /* EINVAL: an argument */
    BRIM_HEAP_NO_MEMORY = 2,    /* ENOMEM: no memory, or no address space */
    BRIM_HEAP_LIMIT = 3,        /* ENOMEM: the heap is as large as its limit allows */
    BRIM_HEAP_NO_SPACE = 4,     /* ENOSPC: the disk, or the quota on it, is full */
    BRIM_HEAP_SYSTEM = 5,       /* errno says what the file system answered: ENOENT, EACCES, EISDIR ... */
    BRIM_HEAP_EXISTS = 6,       /* EEXIST: the file holds a heap already */
    BRIM_HEAP_EMPTY = 7,        /* ENODATA: the file is empty, or was left by a creation that was killed */
    BRIM_HEAP_FOREIGN = 8,      /* EBADMSG: the file is something else than a heap */
    BRIM_HEAP_VERSION = 9,      /* ENOTSUP: the heap is of another version or build of brim */
    BRIM_HEAP_BYTE_ORDER = 10,  /* ENOTSUP: of a machine with the other byte order */
    BRIM_HEAP_PAGE_SIZE = 11,   /* ENOTSUP: of a system with another page size */
    BRIM_HEAP_TRUNCATED = 12,   /* EBADMSG: the file is shorter than its heap */
    BRIM_HEAP_DAMAGED = 13,     /* EUCLEAN: what the heap says of itself contradicts itself */
    BRIM_HEAP_BUSY = 14,        /* EBUSY: somebody has it open in a way that excludes this */
    BRIM_HEAP_TOO_MANY = 15,    /* EUSERS: too many processes or threads have it open */
    BRIM_HEAP_LOCK_LIMIT = 16,  /* ENOMEM or EPERM: RLIMIT_MEMLOCK does not let so much be locked */
    BRIM_HEAP_WIPED = 17        /* EPERM: a locked heap, in a forked child */
};

/* Why the calling thread's last heap function that failed did; BRIM_HEAP_OK if none has. */
enum brim_heap_error brim_heap_error(void);
/* One clause in English, without a full stop; never NULL. The string is constant. Also for signal handlers. */
const char *brim_heap_strerror(enum brim_heap_error error);

/* What brim_heap_create makes. Begin with `= {.size = sizeof options, ...}`: what is left zero has the default. */
struct brim_heap_options {
    size_t size;              /* of this structure, as the caller knows it; a later version may add fields */
    enum brim_heap_kind kind; /* not BRIM_HEAP_SNAPSHOT, which brim_heap_open makes */
    size_t limit;             /* bytes that the heap can grow to, its own included: address space in each process,
                                 no memory. 0: 64 GiB, or what RLIMIT_AS and overcommit allow. At least 1 MiB, at
                                 most 1 TiB; rounded up to 64 KiB */
    const char *path;         /* file: where; NULL for the others */
    unsigned permissions;     /* file: of a file that is created, less the umask. 0: 0600 */
    unsigned flags;
};
/* file: if the file holds a heap already, open it, as brim_heap_open does. */
#define BRIM_HEAP_OR_OPEN 1u

/* Makes a heap. A file is created if there is none, and may be empty; one that was there is left as it was if this
   fails. EINVAL, ENOMEM, ENOSPC, EEXIST, EBADMSG, EBUSY, ENOTSUP, EUSERS, EUCLEAN, and what open(2) may answer. */
struct brim_heap *brim_heap_create(const struct brim_heap_options *options);

/* Opens the heap in the file: BRIM_HEAP_FILE to share it (needs permission to read and write), BRIM_HEAP_SNAPSHOT for a
   private copy of what it holds now (permission to read). Nothing but the header is read: it takes as long for a
   large heap as for a small one, unless a process was killed, or the machine, while it had the heap open. While a
   snapshot is open the file cannot be opened to be shared, nor the other way round: BRIM_HEAP_BUSY. Opened twice in
   one process, a heap has two handles and addresses, with blocks in common. A file that is refused is not changed.
   The file must be on a local file system, and must not be shortened while it is open. EINVAL, ENOMEM, ENODATA,
   EBADMSG, EBUSY, ENOTSUP, ENOSPC (a copy with holes), EUSERS, EUCLEAN, and what open(2) may answer. */
struct brim_heap *brim_heap_open(const char *path, enum brim_heap_kind mode);

/* Lets go of the heap: its range is unmapped, and its pointers end. A file heap stays in its file. A private or locked
   heap and a snapshot end; a family heap ends with the last process that has it. In a forked child this ends the
   child's view alone. A process that ends without it is taken for killed. Keeps errno. NULL does nothing. */
void brim_heap_close(struct brim_heap *heap);

/* Ends the heap with all its blocks: brim_heap_close; a file is emptied (to length 0), or -1 with EBUSY, and the
   heap as it was, if other processes or handles have it open. Other kinds return 0. */
int brim_heap_destroy(struct brim_heap *heap);

/* As malloc, calloc, realloc and aligned_alloc (C23 7.24.3), from the heap. Size 0 gives a block of its own, also from
   realloc. NULL with ENOMEM, ENOSPC (file), EUCLEAN, EPERM (locked, in a child): nothing has changed then. A
   block of a file heap has its space on the disk when it is handed out. `alignment` is a power of two up to 64 KiB,
   else EINVAL: no larger one would hold in all processes. */
void *brim_heap_malloc(struct brim_heap *heap, size_t size);
void *brim_heap_calloc(struct brim_heap *heap, size_t count, size_t size);
void *brim_heap_realloc(struct brim_heap *heap, void *block, size_t size);
void *brim_heap_aligned_alloc(struct brim_heap *heap, size_t alignment, size_t size);
/* Ends a block of this heap; NULL does nothing. Keeps errno. */
void brim_heap_free(struct brim_heap *heap, void *block);
/* Bytes that may be used of the block; 0 for NULL. */
size_t brim_heap_usable_size(struct brim_heap *heap, const void *block);

/* File: returns when all that was written before is on the disk (msync with MS_SYNC); -1 with EIO and its kin from the
   disk. Other processes go on meanwhile. Other kinds: EINVAL. */
int brim_heap_sync(struct brim_heap *heap);

/* ---- finding one's data again ---- */

/* One block of the caller's choice, NULL at first. Set by one atomic store: what was written before it can be seen by
   who gets it. -1 with EINVAL if `block` is not in the heap. */
void *brim_heap_root(struct brim_heap *heap);
int brim_heap_set_root(struct brim_heap *heap, void *block);

/* Offset from the beginning of the heap: the same in all processes. NULL, and what is not in the heap, gives 0; 0, and
   what is beyond the heap as it is now, gives NULL. No check that a block is there. Also for signal handlers. */
typedef unsigned long long brim_offset;
brim_offset brim_heap_offset(struct brim_heap *heap, const void *p);
void *brim_heap_pointer(struct brim_heap *heap, brim_offset offset);

/* Links with a type: 8 bytes, zero is NULL.
       struct node { brim_ref(struct node) next; int value; };
       struct node *second = brim_get(heap, first->next);
       brim_set(heap, first->next, second);                      the compiler checks that the types agree
   A plain load and a plain store: order between threads is the caller's. */
#define brim_ref(type)                                                                                                 \
    union {                                                                                                            \
        brim_offset offset;                                                                                            \
        type *only_for_its_type;                                                                                       \
    }
#define brim_get(heap, ref) ((__typeof__((ref).only_for_its_type))brim_heap_pointer((heap), (ref).offset))
#define brim_set(heap, ref, p)                                                                                         \
    ((void)sizeof((ref).only_for_its_type = (p)), (void)((ref).offset = brim_heap_offset((heap), (p))))

/* ---- malloc from a heap ---- */

/* From now on the calling thread's malloc, calloc, realloc(NULL), aligned_alloc, operator new and their kin allocate
   from `heap`; NULL: from where they did at first, which alignments above 64 KiB always do. What is freed goes back to
   where it came from, whatever is in use, and what is resized stays there. Returns what was in use before, to be put
   back. A new thread begins with none. The heap must not be closed meanwhile. Nothing is slower while no heap is in
   use. */
struct brim_heap *brim_heap_use(struct brim_heap *heap);

/* ---- looking at heaps ---- */

/* The heap of this process in whose range `p` lies, or NULL. */
struct brim_heap *brim_heap_of(const void *p);

/* Calls `visit` for each heap of this process; stops when it returns something else than 0, and returns that. `visit`
   may use heaps, but not create, open or close one. */
int brim_heap_list(int (*visit)(struct brim_heap *heap, void *argument), void *argument);

/* Calls `visit` for each live block, in the order of addresses, with the bytes that may be used of it; stops when it
   returns something else than 0, and returns that. -1 with EUCLEAN if the heap makes no sense somewhere. `visit` may
   free the block that it is called for, and allocate. Of what other threads or processes do meanwhile some is seen. */
int brim_heap_walk(struct brim_heap *heap, int (*visit)(void *block, size_t size, void *argument), void *argument);

/* Checks all that the heap says of itself: every slice, list and block. Takes time in proportion to the heap. The other
   processes and threads must leave the heap alone meanwhile (what is in motion looks like a fault). Takes over what
   killed processes left, first. Returns 0, or -1 with EUCLEAN; then, and if `message` is not NULL, the first fault in
   words is there, cut to `size` bytes with the final zero. */
int brim_heap_check(struct brim_heap *heap, char *message, size_t size);

struct brim_heap_stats {
    enum brim_heap_kind kind;
    size_t address;         /* where it begins in this process */
    size_t limit;           /* what it can grow to here: address space that it has reserved */
    size_t heap;            /* what it has grown to: live + free + metadata */
    size_t live;            /* bytes of live blocks, as brim_heap_usable_size tells */
    size_t blocks;          /* live blocks */
    size_t free;            /* in slabs and free slices */
    size_t metadata;        /* header, and descriptors of slices */
    size_t slabs, runs;     /* runs: blocks above 32 KiB */
    size_t processes;       /* that have it open */
    size_t recovered;       /* how often somebody was found to have been killed, since the heap began */
    /* As the kernel sees the range in this process (/proc/self/smaps); SIZE_MAX where it does not say. */
    size_t resident;        /* Rss */
    size_t proportional;    /* Pss: what is shared counts by its share */
    size_t shared, private_; /* of the resident bytes: mapped by other processes, too, or here alone */
    size_t dirty;           /* of the resident bytes */
    size_t swapped, locked;
};

/* Fills the first `size` bytes of a struct brim_heap_stats; pass sizeof *stats (a later version may add fields at the
   end). Counts what is live by looking at each slice and, for `resident` and what follows it, reads /proc. 0, or -1
   with EINVAL or EUCLEAN. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* a function and a structure of one name, as with stat(2) */
#endif
int brim_heap_stats(struct brim_heap *heap, struct brim_heap_stats *stats, size_t size);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif
#endif
