/* foreign.c: see foreign.h. */
#include "foreign.h"

#include <gnu/lib-names.h>

/* ---- libc's functions ---- */

/* Not by our own search order (RTLD_NEXT), where other preloaded libraries follow: the blocks are libc's. Found anew
   by whoever comes at the same time, with the same result. */
static _Atomic(library_function) libc_free, libc_usable_size;

static bool libc_find(void)
{
    if (!load_relaxed(libc_usable_size)) {
        store_relaxed(libc_free, library_find(LIBC_SO, "free"));
        store_release(libc_usable_size, library_find(LIBC_SO, "malloc_usable_size"));
    }
    return load_acquire(libc_usable_size) && load_relaxed(libc_free);
}

RARE void foreign_release(void *p) { ((void (*)(void *))load_relaxed(libc_free))(p); }

RARE size_t foreign_usable_size(const void *p)
{
    return ((size_t(*)(void *))load_relaxed(libc_usable_size))((void *)(uintptr_t)p);
}

/* ---- what a block of libc's main arena looks like ---- */

/* A chunk of glibc's, of `size` bytes, a multiple of 16:

      p - 16       p - 8            p                    p - 16 + size   p - 8 + size
       | not ours   | size + flags   | the block . . .     . . .          | size + flags of the next chunk

   That word of the next chunk, which may be the top or a fence post, says that ours is in use. All else in it other
   threads may be changing while we look. */
enum { CHUNK_HEADER = 16, CHUNK_LEAST = 32, CHUNK_LOW_BITS = 15, CHUNK_PREVIOUS_IN_USE = 1 };

static size_t word_below(uintptr_t address)
{
    return load_relaxed(*(const _Atomic size_t *)(address - sizeof(size_t)));
}

static bool chunk_is_there(uintptr_t p)
{
    if (!region_is_foreign(p - CHUNK_HEADER, CHUNK_HEADER))
        return false;
    size_t word = word_below(p), size = align_down(word, CHUNK_HEADER);
    /* Other flags: a mapping's, another arena's. */
    if ((word & CHUNK_LOW_BITS & ~(size_t)CHUNK_PREVIOUS_IN_USE) != 0 || size < CHUNK_LEAST ||
        !region_is_foreign(p - CHUNK_HEADER, size) || !region_is_foreign(p - CHUNK_HEADER + size, CHUNK_HEADER))
        return false;
    size_t next = word_below(p + size);
    return (next & CHUNK_LOW_BITS) == CHUNK_PREVIOUS_IN_USE && next > CHUNK_HEADER;
}

RARE bool foreign_is_block(const void *p)
{
    uintptr_t address = (uintptr_t)p;
    return address % BLOCK_ALIGNMENT == 0 && libc_find() && (load_relaxed(foreign_all) || chunk_is_there(address));
}
