/* os.h: the only caller of sbrk, mmap, munmap, mremap, mprotect, madvise and getrandom. Every function keeps
   errno; failure is a return value. Sizes and addresses are multiples of the page size unless said otherwise. */
#ifndef BRIM_OS_H
#define BRIM_OS_H

#include "base.h"

/* The page size from AT_PAGESZ, set by os_init. */
static size_t os_page_size;
static unsigned os_page_shift; /* its logarithm */

/* Learns the page size; returns 64 random bits for the link keys (from AT_RANDOM: no system call). */
static uint64_t os_init(void);

/* Moves the break by `bytes` (either sign, any value) through libc's sbrk, which caches the break: a raw system call
   would make somebody else's next sbrk cut our heap off. The old break, or 0 if it did not move. */
static uintptr_t os_break_move(intptr_t bytes);
/* The break; 0 if libc cannot tell. */
static uintptr_t os_break(void);
/* Is this thread the only one? False also where libc cannot tell. */
static bool os_single_threaded(void);
/* In a forked child: may the break be believed? `moving`: another thread was moving it. The kernel copies where the
   break is before it waits for the lock under which it copies the mappings, so that what it holds for the break can be
   older than the memory, and moving it then takes memory away or reports some that is not there; and libc may not
   have noted yet what the kernel had done, which is mended here. */
static bool os_break_after_fork(bool moving);

/* Address space without access: counts for RLIMIT_AS, costs neither memory nor commit. 0 on failure. */
static uintptr_t os_reserve(size_t size);
/* Opens part of a reservation for reading and writing. */
static bool os_commit(uintptr_t address, size_t size);
/* A fresh private anonymous mapping, zero and not resident. 0 on failure. */
static uintptr_t os_map(size_t size);
static bool os_unmap(uintptr_t address, size_t size);
/* mremap with MREMAP_MAYMOVE; 0 on failure, the old mapping then being as it was. */
static uintptr_t os_remap(uintptr_t address, size_t old_size, size_t new_size);
/* Brings in pages that are about to be written to, in one call instead of a fault for each (MADV_POPULATE_WRITE, Linux
   5.14). Does nothing where the kernel, or a filter of its calls, refuses. */
static void os_populate(uintptr_t address, size_t size);
/* Gives the pages back at once (MADV_DONTNEED, not MADV_FREE, which keeps counting as resident). True if they are
   zero now; false (locked memory) if they must be taken to be as they were. */
static bool os_discard(uintptr_t address, size_t size);
/* Closes pages of a private mapping that may be written to, so that an access faults, and discards what was in them; the
   kernel keeps no mapping of its own for them (MADV_GUARD_INSTALL, Linux 6.13). False if it cannot. */
static bool os_guard_install(uintptr_t address, size_t size);
/* Opens them again; they are zero. */
static bool os_guard_remove(uintptr_t address, size_t size);
/* Takes all access away; os_commit gives it back. The contents stay. */
static bool os_seal(uintptr_t address, size_t size);
/* The kernel's number of the calling thread. */
static int32_t os_thread(void);
/* Makes these pages inaccessible, and accessible again; what they hold is lost. Where the kernel has guard regions
   (Linux 6.13), they cost no mapping of their own; else so many are made by mprotect as leave the process its
   mappings. False: the pages are as they were. */
static bool os_guard(uintptr_t address, size_t size);
static bool os_unguard(uintptr_t address, size_t size);
/* 64 random bits, from the kernel. */
static uint64_t os_random(void);
/* Lets other threads go on. */
static void os_yield(void);
/* A monotonic clock in milliseconds, read without a system call; it steps by some milliseconds. */
static uint64_t os_now_ms(void);
/* The same clock in nanoseconds, exactly. */
static uint64_t os_now_ns(void);
/* The soft RLIMIT_AS, SIZE_MAX if there is none. */
static size_t os_address_space_limit(void);

#endif
