/* workload.h: what the workloads share. Fixed amounts of work (so that memory, page faults and system calls
   of two allocators compare), random numbers that cost little next to an allocation, blocks that carry a
   stamp (so that an allocator that hands out the same memory twice is caught), and the reporting of
   curves. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gbench.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

/* `count` iterations times the --scale of the command line; at least `least`. */
int64_t scaled(int64_t count, int64_t least);

/* The thread counts worth a row on this machine: 1, the number of its cores, and twice that. Returns how
   many. */
size_t thread_counts(int counts[static 3]);
int core_count(void);

/* A row for each thread count; each is timed by the wall clock. */
void register_threaded(gbench *benchmark);

/* A curve of one run, for the runner: written to the file named by --report. */
typedef struct {
    double x, y;
} point;
void report_curve(const char *name, const char *x_unit, const char *y_unit, const point *points,
                  size_t count);

/* Resident memory of this process, in bytes. Allocates nothing. */
size_t resident_bytes(void);

static inline uint64_t now_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64 (Steele, Lea and Flood 2014): one multiply-shift chain, any seed is good. */
typedef struct {
    uint64_t state;
} random_source;

static inline uint64_t random_next(random_source *source)
{
    uint64_t z = source->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, bound). */
static inline uint32_t random_below(random_source *source, uint32_t bound)
{
    return (uint32_t)(((random_next(source) & 0xffffffffu) * bound) >> 32);
}

/* Uniform in (0, 1]. */
static inline double random_unit(random_source *source)
{
    return (double)((random_next(source) >> 11) + 1) * 0x1p-53;
}

/* Keeps the compiler from removing an allocation that it can see is unused. */
static inline void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

_Noreturn void workload_fail(const char *message);

static inline void *must(void *p)
{
    if (__builtin_expect(!p, 0))
        workload_fail("out of memory");
    return opaque(p);
}

/* A block of at least one word starts with its own address, mixed with a constant, until it is freed: unstamp
   finds out when another block was laid over it, or the same memory was handed out twice. */
static inline void stamp(void *block, size_t size)
{
    if (size >= sizeof(uintptr_t))
        *(uintptr_t *)block = (uintptr_t)block ^ 0x5bd1e995u;
    else
        *(volatile char *)block = 1;
}

static inline void unstamp(void *block, size_t size)
{
    if (size < sizeof(uintptr_t))
        return;
    if (__builtin_expect(*(uintptr_t *)block != ((uintptr_t)block ^ 0x5bd1e995u), 0))
        workload_fail("a block was overwritten by another");
    *(volatile uintptr_t *)block = 0;
}

static inline void *stamped_malloc(size_t size)
{
    void *block = must(malloc(size));
    stamp(block, size);
    return block;
}

static inline void stamped_free(void *block, size_t size)
{
    unstamp(block, size);
    free(block);
}

/* Writes a byte into every page, as the program that asked for so much would do. */
static inline void touch_pages(void *block, size_t size)
{
    for (size_t offset = 0; offset < size; offset += 4096)
        ((volatile char *)block)[offset] = 1;
}

/* The random permutation of 0 ... count-1 (Fisher and Yates). */
void shuffle(uint32_t *items, size_t count, random_source *source);

/* Memory that is not the allocator's under test: for tables whose size would hide the workload's own. */
void *private_pages(size_t size);
void release_private_pages(void *pages, size_t size);

/* pthread_create and pthread_join, or the end of the program. */
pthread_t start_thread(void *(*run)(void *), void *argument);
void join_thread(pthread_t thread);

#endif
