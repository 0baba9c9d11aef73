/* heap_open.h: how a heap comes into a process and leaves it: mapping, file, handle.

   Nothing of a file is changed before its header has been judged. The entry lock of the file puts creation, opening and
   emptying in a row. Then a lock says what the file is open for, until the last process that has inherited it lets
   go: to be shared (WRITERS), or for a snapshot, under which it must not change (SNAPSHOTS).

   Is a process of another boot or pid namespace alive? Its id tells nothing. If nobody holds the writers' lock it is
   dead, and if the realm differs while somebody does, the heap is busy.

   A creation that was killed leaves a file of zeros, or one whose header is marked as unfinished: the next one begins
   again. */
#ifndef BRIM_HEAP_OPEN_H
#define BRIM_HEAP_OPEN_H

#include "heap_check.h"
#include "thread.h"

#define HEAP_LIMIT_DEFAULT ((size_t)64 << 30)
#define HEAP_LIMIT_LEAST MIB

/* All handles; those in use are heaps. Handles are only ever added. */
static _Atomic(struct brim_heap *) heap_handles;

/* The heap whose range has `p`, or NULL. Any thread, no lock. */
static struct brim_heap *heap_of(const void *p);
static struct brim_heap *heap_create(const struct brim_heap_options *options);
static struct brim_heap *heap_open(const char *path, enum brim_heap_kind mode);
static void heap_close(struct brim_heap *heap);
static bool heap_destroy(struct brim_heap *heap);

#endif
