/* base.h: geometry constants, align and overflow arithmetic, branch hints. Includes nothing of ours. */
#ifndef BRIM_BASE_H
#define BRIM_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A build with every public name prefixed keeps the process's own malloc in place: what the sanitizers need. */
#ifdef BRIM_PREFIXED
#define PUBLIC(name) brim_##name
#else
#define PUBLIC(name) name
#endif
#define EXPORT __attribute__((visibility("default")))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define INLINE static inline __attribute__((always_inline))
/* Constants that every program reads (layout.ld). */
#define FIRST __attribute__((section(".rodata.first")))
/* What hardly any program reads or calls, apart from the rest. */
#define LAST_CONSTANT __attribute__((section(".rodata.last")))
#define LAST __attribute__((section(".text.last")))
#define RARE static LAST __attribute__((cold, noinline))
/* What programs call once or seldom: small rather than fast. */
#define COLD static __attribute__((cold, noinline))
#define VALIDITY static __attribute__((unused)) /* x_valid(): for the tests and for debug builds' assertions */
#define SLOW static __attribute__((noinline))
#define COLD_EXPORT EXPORT LAST __attribute__((cold)) /* entry points that are made small, not fast */

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define CACHE_LINE 64

/* Every block is aligned to this, as glibc's are on 64 bit. */
#define BLOCK_ALIGNMENT ((size_t)16)
/* C23 7.24.3 leaves objects above PTRDIFF_MAX undefined; like glibc, such a request is out of memory. */
#define REQUEST_MAX ((size_t)PTRDIFF_MAX)

/* The slice: unit of the heap map. */
#define SLICE_SHIFT 16
#define SLICE_SIZE ((size_t)1 << SLICE_SHIFT)

INLINE bool is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }
INLINE uintptr_t align_down(uintptr_t n, size_t alignment) { return n & ~(uintptr_t)(alignment - 1); }
/* The caller knows that this cannot wrap. */
INLINE uintptr_t align_up(uintptr_t n, size_t alignment) { return align_down(n + alignment - 1, alignment); }
/* Slices that hold so many bytes. The caller knows that this cannot wrap. */
INLINE size_t slices_for(size_t bytes) { return (bytes + SLICE_SIZE - 1) >> SLICE_SHIFT; }
INLINE size_t max_size(size_t a, size_t b) { return a > b ? a : b; }
INLINE size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* The first word of a block, read and written whatever type the program kept there. */
typedef uint64_t __attribute__((may_alias)) block_word;

/* Relaxed accesses of fields that one thread writes and others may read at any moment (each such field says why a
   stale value is harmless). They cost what a plain access costs. */
#define load_relaxed(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define store_relaxed(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
/* The same, which the compiler may fold into the instruction that uses the value: GCC never does that with an atomic
   one. For a word, or half of one, that is read once in an expression. */
#ifdef __SANITIZE_THREAD__
#define load_folded(field) load_relaxed(field)
#define load_folded_half(field) load_relaxed(field)
#else
typedef size_t __attribute__((may_alias)) folded_word;
typedef uint32_t __attribute__((may_alias)) folded_half;
#define load_folded(field) (*(const folded_word *)&(field))
#define load_folded_half(field) (*(const folded_half *)&(field))
#endif
#define load_acquire(field) atomic_load_explicit(&(field), memory_order_acquire)
#define store_release(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

#endif
