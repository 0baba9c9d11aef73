/* os_heap.h: the system calls of heaps: shared, file and locked mappings, the files below them, who is alive. With os,
   the only callers of the kernel for memory. Every function keeps errno; an int is 0 or a negative error number
   unless said otherwise. None is a cancellation point. Addresses are multiples of the page size. */
#ifndef BRIM_OS_HEAP_H
#define BRIM_OS_HEAP_H

#include "os.h"

/* ---- mappings ---- */

/* Address space without access at a multiple of `alignment`, a power of two, and a page more on either side, so that the
   kernel joins nothing of it with its neighbours. 0 on failure. */
static uintptr_t os_reserve_alone(size_t size, size_t alignment);
/* Gives it back, the two pages too. */
static void os_unreserve_alone(uintptr_t address, size_t size);
/* In a reservation: memory that forked children share; it costs commit only where that is strict. */
static int os_map_family(uintptr_t address, size_t size);
/* In a reservation: the file from its beginning, shared, or private with copy on write. */
static int os_map_file(uintptr_t address, size_t size, int file, bool shared);
/* Locks the memory, and opens it if it is reserved. */
static int os_lock_memory(uintptr_t address, size_t size);
/* Neither in core dumps nor in a forked child, where it is zero. */
static int os_keep_secret(uintptr_t address, size_t size);
/* Private anonymous memory that is zero in a forked child. */
static int os_wipe_on_fork(uintptr_t address, size_t size);
/* Gives the pages of a family mapping back; they are zero then. */
static bool os_discard_family(uintptr_t address, size_t size);
/* Tells /proc/PID/maps what it is, where the kernel can. */
static void os_name_memory(uintptr_t address, size_t size, const char *name);
static int os_sync_memory(uintptr_t address, size_t size);

/* ---- files ---- */

enum os_file_mode { OS_FILE_READ, OS_FILE_WRITE, OS_FILE_CREATE };
/* A regular file's descriptor, above those that programs know by number and closed by exec; or a negative error. */
static int os_file_open(const char *path, enum os_file_mode mode, unsigned permissions);
static void os_file_close(int file);
struct os_file_facts {
    uint64_t device, inode;
    size_t size, stored; /* stored: bytes that have their place on the disk */
};
static int os_file_facts(int file, struct os_file_facts *facts);
/* Up to `size` bytes from the offset; how many, or a negative error. */
static long os_file_read(int file, void *to, size_t size, size_t offset);
/* Makes the file at least from + size long and gives this range its place on the disk. */
static int os_file_reserve(int file, size_t from, size_t size);
static int os_file_truncate(int file, size_t size);

/* Locks of an open file, which end with it, however its processes end. Shared with forked children. */
enum os_file_lock { OS_LOCK_ENTRY, OS_LOCK_WRITERS, OS_LOCK_SNAPSHOTS };
static int os_file_lock(int file, enum os_file_lock which, bool exclusive, bool wait);
static void os_file_unlock(int file, enum os_file_lock which);
/* Does another open file hold it? */
static bool os_file_lock_is_held(int file, enum os_file_lock which);

/* ---- processes ---- */

/* Process id and start time in one word, never 0 or given to two processes between two boots. */
static uint64_t os_process_identity(void);
/* Has that process ended? Not while one of its threads may still run. */
static bool os_process_is_dead(uint64_t identity);
/* Differs between two boots, and between pid namespaces: whether identities can be compared. */
static uint64_t os_process_realm(void);

/* ---- waiting across processes ---- */

/* Sleeps while *word is `value`, a hundredth of a second at most. */
static void os_wait_shared(_Atomic uint32_t *word, uint32_t value);
static void os_wake_shared(_Atomic uint32_t *word);

/* ---- /proc/self/smaps ---- */

/* Figures of the mappings in a range, in bytes. */
struct os_memory_facts {
    size_t resident, proportional, shared, unshared, dirty, swapped, locked;
};
/* False if the kernel does not tell. */
static bool os_memory_facts(uintptr_t address, size_t size, struct os_memory_facts *facts);

#endif
