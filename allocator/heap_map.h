/* heap_map.h: what a heap is on its mapping, and the slices of it.

   The mapping is one array of slices, and holds no address: what refers to something says in which slice, or how many
   bytes from the beginning. Slice 0 is the header and the first descriptors; further descriptors are in tables, each
   for as many slices as all before it:

     slice 0                    1                          table 1 (when slice 128 is first needed)
      | header | table 0      | slab | medium . . | free | descriptors of 128 to 255 | slab (2) . | ...
                 of 0 to 127

   A run is tiled by its head: the `run` word of the head slice says kind and length, as in a region. A free slice is
   a run of its own, so nothing is ever merged. That word is the truth; the bitmap of used slices behind each table, the
   lists of orphans and first_free are caches of it, changed under the heap's lock.

   The intent record. Whoever takes or frees a run first makes its head DETACHED, with its length: as long as that
   stands, the words of the slices behind it do not count. A process that finds the lock held by a dead one
   (heap_recover) frees the detached run and makes the caches anew. Growth is published by one store to `count`, behind
   which nothing counts.

   Every field is checked where it is used: a file can say anything. What a check has passed is copied to the process's
   own memory (struct brim_heap) or belongs to the checker from then on: that a slab does is told by a random token.

   Who is there. A process that has the heap open has a slot in `processes`; it is named in the lock's word and in the
   upper bits of the owner of a slab. */
#ifndef BRIM_HEAP_MAP_H
#define BRIM_HEAP_MAP_H

#include "classes.h"
#include "brim.h"
#include "os_heap.h"
#include "slab.h"

enum heap_run_kind {
    HEAP_FREE, /* zero: what was never written is free */
    HEAP_DETACHED,
    HEAP_SLAB,
    HEAP_MEDIUM,
    HEAP_INSIDE, /* not a head */
    HEAP_TABLE   /* header or descriptors */
};

/* Where an owned slab is kept: see heap_shard.h. */
enum heap_slab_state { HEAP_SLAB_NOBODY, HEAP_SLAB_OPEN, HEAP_SLAB_PARTIAL, HEAP_SLAB_WAITING };

/* As struct slice: the first line is what the owner's fast paths touch, the second what senders of remote frees write
   and slow paths need. Fields without a word on it are the owner's, and of nobody's slab the lock's. */
struct heap_slice {
    alignas(CACHE_LINE) _Atomic uint64_t head; /* free list: the link of slab.h, coded with the heap's key */
    uint64_t wake;                             /* a push that makes head <= wake leaves the fast path */
    _Atomic uint64_t owner;                    /* who may pop and push: a shard's token, which no file can know, when
                                                  `remote` names that shard; 0: nobody */
    uint32_t reciprocal, limit;                /* of the block size: see size_class */
    uint8_t back;                              /* slices back to the head of the slab */
    uint8_t size_class;
    uint8_t state;                             /* enum heap_slab_state */
    uint8_t listed;                            /* among the orphans. Lock */
    _Atomic uint16_t formed;                   /* blocks formed: free, remote or live */
    uint16_t dirty;                            /* the slice was in use: not known to be zero. Lock */
    _Atomic uint64_t run;                      /* enum heap_run_kind, length in slices << 8. Lock to change */

    alignas(CACHE_LINE) _Atomic uint64_t remote; /* owner << 32 | list of blocks that others freed: the truth of both */
    _Atomic uint64_t unformed;                   /* bit per 4 KiB: no block that starts there is formed */
    uint64_t forming;                            /* intent: bits that are being taken from `unformed`; 0: none */
    uint64_t taken;                              /* intent: the remote list that is becoming `head`; 0: none */
    uint32_t next, previous;                     /* in one of the owner's lists; 0: none */
    uint32_t orphan_next, orphan_previous;       /* Lock */
};
static_assert(sizeof(struct heap_slice) == 2 * CACHE_LINE, "two lines a slice");

/* Table number n begins with slice 2^n, but for the first, which begins with slice 0. */
#define HEAP_TABLE_FIRST 6
#define HEAP_TABLES 24
#define HEAP_SLICES_MAX ((size_t)1 << HEAP_TABLES)
#define HEAP_TABLE_AT (32 * KIB) /* of the first table in slice 0 */
#define HEAP_PROCESSES 512
#define HEAP_VERSION 2
#define HEAP_MAGIC "brimheap"
#define HEAP_MAGIC_UNFINISHED "brimmake"

struct heap_header {
    /* What does not change. */
    char magic[8]; /* written last */
    uint32_t version, byte_order, page_size, slice_size;
    uint64_t build; /* of what the layout depends on: heap_build */
    uint64_t key;   /* of the links */
    uint64_t limit; /* slices */
    /* What does. */
    alignas(CACHE_LINE) _Atomic uint32_t lock; /* 0, or HEAP_LOCK_NAME of the holder, with HEAP_LOCK_WAITERS */
    uint32_t first_free;                       /* no slice before it is free. Lock */
    _Atomic uint64_t count;                    /* slices that there are. Lock; release after they are usable */
    uint64_t recovered;                        /* dead processes found. Lock */
    uint32_t unrecovered;                      /* a recovery has begun, and not ended. Lock */
    uint64_t realm;                            /* in which the identities in `processes` mean something */
    _Atomic uint32_t table[HEAP_TABLES];       /* slice in which the table begins. Lock to change; before `count` */
    uint32_t orphans[CLASS_COUNT];             /* nobody's slabs with room; slice index, 0: none. Lock */
    alignas(CACHE_LINE) _Atomic uint64_t root; /* offset */
    alignas(CACHE_LINE) _Atomic uint64_t processes[HEAP_PROCESSES]; /* os_process_identity; 0: free. Taken by
                                                                       compare-and-swap, freed by who has it, when
                                                                       nothing else names it, or when dead: lock */
};
static_assert(sizeof(struct heap_header) <= HEAP_TABLE_AT, "the first table is behind the header");

#define HEAP_LOCK_WAITERS 0x80000000u
/* Slot and process: who finds a holder dead must not take the lock from the next one who has that slot. */
#define HEAP_LOCK_SLOT_BITS 10
#define HEAP_LOCK_NAME(slot, identity)                                                                                 \
    ((((uint32_t)(identity) << HEAP_LOCK_SLOT_BITS) | ((uint32_t)(slot) + 1)) & ~HEAP_LOCK_WAITERS)
#define HEAP_LOCK_SLOT(word) (((word) & ((1u << HEAP_LOCK_SLOT_BITS) - 1)) - 1)
static_assert(HEAP_PROCESSES < 1 << HEAP_LOCK_SLOT_BITS, "a slot has its place in the lock's word");
#define HEAP_IDENTITY_NOBODY UINT64_MAX /* of a process that is dead for certain */
#define HEAP_BYTE_ORDER 0x01020304u

/* The thread numbers of one process in one heap. */
enum { HEAP_THREADS = 16384 };
#define HEAP_THREAD_NONE HEAP_THREADS /* owner of what is taken to be ended, or given to nobody: no shard */
#define HEAP_OWNER(slot, thread) (((uint32_t)(slot) + 1) << 20 | (uint32_t)(thread))
#define HEAP_OWNER_SLOT(owner) (((owner) >> 20) - 1)

/* A heap in this process. Handles are never unmapped, so that any thread may walk their list at any time. */
struct brim_heap {
    _Atomic uintptr_t base;             /* slice aligned. Constant while in use, like all fields without a word on it */
    _Atomic size_t count;               /* slices that this process may touch; release after `table` */
    _Atomic uintptr_t table[HEAP_TABLES]; /* address of the first descriptor, less what those before it would take */
    _Atomic uintptr_t bits[HEAP_TABLES]; /* the same for the words of the bitmap */
    struct link_key key;
    struct heap_header *header;
    _Atomic size_t limit;               /* slices of address space; 0 before it is given back */
    size_t file_slices;                 /* snapshot: slices that are mapped from the file */
    enum brim_heap_kind kind;
    int file;                           /* -1: none */
    uint64_t device, inode;             /* of the file: programs close descriptors that they do not know */
    _Atomic bool damaged;               /* found to contradict itself: no allocation any more */
    uint32_t slot;                      /* ours in header->processes. Changed by heap_attend in a forked child */
    _Atomic uint64_t identity;          /* of the process that attached */
    uint64_t token;                     /* the last shard's. Handles' lock */
    uint64_t looked_ms;                 /* when dead processes were last looked for. Lock */
    _Atomic(struct heap_shard *) shards; /* all of this process. Handles' lock */
    uint64_t threads[HEAP_THREADS / 64]; /* thread numbers in use. Handles' lock */
    /* What outlives the use. */
    _Atomic bool in_use;                /* release when all else is there. Handles' lock */
    struct brim_heap *next;             /* in the list of all handles; constant */
};

/* What a killed process had done of two stores is told by their order: the compiler's, as the processor completes all
   that comes before the instruction at which it is stopped. */
#define heap_then() atomic_signal_fence(memory_order_seq_cst)

/* A heap of which the process has a copy, not a share: nobody else's operations are seen in it. */
INLINE bool heap_is_copy(const struct brim_heap *heap)
{
    return heap->kind == BRIM_HEAP_PRIVATE || heap->kind == BRIM_HEAP_SNAPSHOT || heap->kind == BRIM_HEAP_LOCKED;
}

/* The calling thread's last error; and it set, with errno: always false. */
static _Thread_local enum brim_heap_error heap_error_last;
RARE bool heap_fail(enum brim_heap_error error, int number);
/* The same by what a system call answered. */
RARE bool heap_fail_system(int failed);
/* Notes that the heap contradicts itself. */
RARE bool heap_fail_damaged(struct brim_heap *heap);

/* Which table describes the slice. */
INLINE size_t heap_table_of(size_t slice)
{
    size_t number = slice | (size_t)1 << HEAP_TABLE_FIRST;
#if defined(__x86_64__)
    __asm__("bsr %0, %0" : "+r"(number) : : "cc"); /* what __builtin_clzl becomes takes two instructions more */
    return number;
#else
    return 63 - (size_t)__builtin_clzl(number);
#endif
}
/* Descriptor of a slice < count, by the addresses of the tables. */
INLINE struct heap_slice *heap_slice_in(const _Atomic uintptr_t tables[HEAP_TABLES], size_t index)
{
    return (struct heap_slice *)(index * sizeof(struct heap_slice) + load_folded(tables[heap_table_of(index)]));
}
INLINE struct heap_slice *heap_slice(const struct brim_heap *heap, size_t index)
{
    return heap_slice_in(heap->table, index);
}
INLINE uint64_t *heap_word(const struct brim_heap *heap, size_t index)
{
    return (uint64_t *)(load_relaxed(heap->bits[heap_table_of(index)]) + index / 64 * sizeof(uint64_t));
}
INLINE bool heap_slice_is_used(const struct brim_heap *heap, size_t index)
{
    return *heap_word(heap, index) >> index % 64 & 1;
}
INLINE uintptr_t heap_address(const struct brim_heap *heap, size_t index)
{
    return load_relaxed(heap->base) + (index << SLICE_SHIFT);
}
#define HEAP_RUN(kind, length) ((uint64_t)(kind) | (uint64_t)(length) << 8)
INLINE enum heap_run_kind heap_run_kind(const struct heap_slice *slice) { return load_acquire(slice->run) & 0xff; }
/* Of a head that is not free. Any number, until compared with what there is. */
INLINE size_t heap_run_length(const struct heap_slice *slice) { return load_acquire(slice->run) >> 8; }
/* How many slices the run at `index` covers; 0 if it is no head, or would pass `count`. */
static size_t heap_run_span(const struct brim_heap *heap, size_t index, size_t count);
/* The same, 0 too if what is behind the head belongs to others, or descriptors are where the header has none. */
static size_t heap_run_sound(const struct brim_heap *heap, size_t index, size_t count);

/* The slices below this are described by tables below the number. */
INLINE size_t heap_tables_reach(unsigned table) { return (size_t)1 << table; }
/* Slices that a table takes for itself, the first one excepted. */
INLINE size_t heap_table_slices(unsigned table)
{
    size_t described = (size_t)1 << table;
    return slices_for(described * sizeof(struct heap_slice) + described / 8);
}

/* Hash of all that two builds must agree about. */
static uint64_t heap_build(void);
/* Writes the header of a new heap of `limit` slices whose first slice is there, zero; magic and realm are the caller's,
   and processes. */
static void heap_format(struct heap_header *header, size_t limit, uint64_t key);
/* What is wrong with a header that was read from a file of `size` bytes; BRIM_HEAP_OK if nothing is. */
static enum brim_heap_error heap_judge(const struct heap_header *header, size_t size);
/* Takes note of slices that another process has added. False: they make no sense (errno and error set). */
static bool heap_follow(struct brim_heap *heap);
/* Is the slice usable? Follows growth. */
static bool heap_reaches(struct brim_heap *heap, size_t index);
/* Memory for the slices [from, end), which nobody has used yet. False and an error if there is none. */
static bool heap_provide(struct brim_heap *heap, size_t from, size_t end);

/* ---- the lock. Held over a growing file's system calls; robust: ---- */
enum heap_lock_state { HEAP_LOCK_TAKEN, HEAP_LOCK_INHERITED };
/* INHERITED: from a process that died with it; heap_recover must come next. */
static enum heap_lock_state heap_lock_word(struct brim_heap *heap);
static void heap_unlock(struct brim_heap *heap);
/* Has the process ended that was in a slot? 0, nobody's, is dead. */
static bool heap_identity_is_dead(const struct brim_heap *heap, uint64_t identity);
/* The process that is in this slot now? */
static bool heap_slot_is_dead(const struct brim_heap *heap, uint32_t slot);

/* ---- runs. All with the lock ---- */
/* Takes `slices` free ones at a multiple of `alignment` slices, growing the heap if need be, and makes them DETACHED;
   publish them with heap_run_publish. `*zero`: known to be. 0 and an error if there are none. */
static size_t heap_run_take(struct brim_heap *heap, size_t slices, size_t alignment, bool *zero);
INLINE void heap_run_publish(struct heap_slice *head, enum heap_run_kind kind)
{
    store_release(head->run, HEAP_RUN(kind, heap_run_length(head)));
}
/* Frees a run; its span is known to be right. */
static void heap_run_release(struct brim_heap *heap, size_t index);
/* Grows or shrinks a medium run in place; false if what follows is not free. */
static bool heap_run_resize(struct brim_heap *heap, size_t index, size_t slices);
/* Sets or clears bits of the bitmap. */
static void heap_mark(struct brim_heap *heap, size_t index, size_t slices, bool used);

#endif
