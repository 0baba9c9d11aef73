/* stress.h: what the stress programs share: how they fail, their random numbers, and blocks whose every byte
   is known.

   A program's numbers are counts, so that its work does not depend on the machine's speed; each can be raised
   on the command line for a long run. STRESS_SEED in the environment repeats or varies the random choices.
   The exit status tells: 0 passed, 1 failed with a line that says what, 77 not possible here. */
#ifndef STRESS_H
#define STRESS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "allocator.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* The child of a fork in a program with threads starts none under ThreadSanitizer, which would end it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_STARTS_THREADS false
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CHILD_STARTS_THREADS false
#elif !defined(CHILD_STARTS_THREADS)
#define CHILD_STARTS_THREADS true
#endif

/* ---- failing ---- */

/* Leaves by _exit: the exit handlers of a program whose heap may be broken, or of a forked child, are not
   ours. */
static inline _Noreturn void stop(int status, const char *format, va_list arguments)
{
    char line[400];
    int used = snprintf(line, sizeof line, "%s: ", program_invocation_short_name);
    used += vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    if (used > (int)sizeof line - 2)
        used = sizeof line - 2;
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, (size_t)used);
    (void)written;
    _exit(status);
}

__attribute__((format(printf, 1, 2))) static inline _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    stop(1, format, arguments);
}

__attribute__((format(printf, 1, 2))) static inline _Noreturn void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    stop(77, format, arguments);
}

#define require(condition)                                                                                   \
    ((condition) ? (void)0 : fail("line %d: not so: %s (errno %d)", __LINE__, #condition, errno))

/* ---- arguments and random numbers ---- */

/* The number given as argument `index`, or the one that the test suite runs with. */
static inline size_t argument(int count, char **arguments, int index, size_t otherwise)
{
    if (index >= count)
        return otherwise;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(arguments[index], &end, 0);
    if (errno != 0 || end == arguments[index] || *end != '\0')
        fail("argument %d is not a number: %s", index, arguments[index]);
    return (size_t)value;
}

struct random {
    uint64_t state;
};

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static inline uint64_t mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
    n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
    return n ^ (n >> 31);
}

static inline uint64_t random_next(struct random *random) { return mix(random->state += 0x9e3779b97f4a7c15); }

/* One stream of numbers per thread or phase of a program. */
static inline struct random random_stream(uint64_t stream)
{
    const char *seed = getenv("STRESS_SEED");
    return (struct random){mix((seed ? strtoull(seed, NULL, 0) : 1) ^ mix(stream + 0x1234567))};
}

static inline size_t random_below(struct random *random, size_t limit)
{
    return (size_t)(((__uint128_t)random_next(random) * limit) >> 64);
}

static inline size_t random_between(struct random *random, size_t least, size_t most)
{
    return least + random_below(random, most - least + 1);
}

/* Every doubling of the size is as likely as any other; 0 is a size, too. `most` is a power of two. */
static inline size_t random_size(struct random *random, size_t most)
{
    unsigned doublings = (unsigned)__builtin_ctzll(most);
    size_t top = (size_t)1 << random_below(random, doublings + 1);
    return random_below(random, top + 1);
}

/* What programs do most: mostly small blocks, now and then anything up to `most`. */
static inline size_t random_usual_size(struct random *random, size_t most)
{
    return random_size(random, random_below(random, 8) != 0 && most > 4 * KIB ? 4 * KIB : most);
}

/* ---- blocks whose every byte is known ---- */

struct block {
    unsigned char *start;
    size_t size;
    uint64_t key; /* of the pattern: differs between two uses of the same address */
};

static inline uint64_t pattern_word(uint64_t key, size_t index) { return key + index * 0x9e3779b97f4a7c15; }

static inline void block_fill(struct block *block, uint64_t seed)
{
    block->key = mix(seed ^ (uintptr_t)block->start);
    size_t words = block->size / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = pattern_word(block->key, i);
        memcpy(block->start + 8 * i, &word, 8);
    }
    uint64_t last = pattern_word(block->key, words);
    memcpy(block->start + 8 * words, &last, block->size % 8);
}

static inline _Noreturn void block_changed(const struct block *block, size_t offset)
{
    fail("block %p of %zu bytes changed in the 8 bytes from %zu: %02x %02x %02x %02x ...",
         (void *)block->start, block->size, offset, block->start[offset], block->start[offset + 1],
         block->start[offset + 2], block->start[offset + 3]);
}

static inline void block_verify_prefix(const struct block *block, size_t length)
{
    size_t words = length / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t found;
        memcpy(&found, block->start + 8 * i, 8);
        if (found != pattern_word(block->key, i))
            block_changed(block, 8 * i);
    }
    uint64_t last = pattern_word(block->key, words);
    if (memcmp(block->start + 8 * words, &last, length % 8) != 0)
        block_changed(block, 8 * words);
}

static inline void block_verify(const struct block *block) { block_verify_prefix(block, block->size); }

static inline void require_zero(const unsigned char *start, size_t size)
{
    static const unsigned char zero[4096];
    for (size_t done = 0; done < size; done += sizeof zero) {
        size_t part = size - done < sizeof zero ? size - done : sizeof zero;
        if (memcmp(start + done, zero, part) != 0)
            fail("calloc: block %p of %zu bytes is not zero after %zu", (const void *)start, size, done);
    }
}

static inline void require_aligned(const void *p, size_t alignment)
{
    if ((uintptr_t)p % alignment != 0)
        fail("block %p is not aligned to %zu", p, alignment);
}

/* A block by whichever entry point chance has it, filled and checked for what that entry point promises.
   False, with errno checked and `*block` all zero, when there is no memory: for the caller to judge. */
static inline bool block_try_allocate(struct block *block, size_t size, struct random *random)
{
    size_t alignment = 16;
    void *p = NULL;
    errno = 0;
    switch (random_below(random, 16)) {
    case 0:
    case 1:
    case 2:
        p = calloc(1, size);
        if (p)
            require_zero(p, size);
        break;
    case 3:
        p = realloc(NULL, size);
        break;
    case 4:
        alignment = (size_t)8 << random_below(random, 14);
        errno = posix_memalign(&p, alignment, size);
        if (errno != 0)
            p = NULL;
        break;
    case 5:
        alignment = (size_t)1 << random_below(random, 16);
        p = aligned_alloc(alignment, size);
        break;
    case 6:
        alignment = (size_t)1 << random_below(random, 20);
        p = memalign(alignment, size);
        break;
    default:
        p = malloc(size);
    }
    if (!p) {
        if (errno != ENOMEM)
            fail("%zu bytes refused with errno %d, not ENOMEM", size, errno);
        *block = (struct block){NULL, 0, 0};
        return false;
    }
    require_aligned(p, 16);
    require_aligned(p, alignment);
    if (malloc_usable_size(p) < size)
        fail("block %p of %zu bytes has a usable size of %zu", p, size, malloc_usable_size(p));
    *block = (struct block){p, size, 0};
    block_fill(block, random_next(random));
    return true;
}

static inline void block_allocate(struct block *block, size_t size, struct random *random)
{
    if (!block_try_allocate(block, size, random))
        fail("no memory for %zu bytes", size);
}

/* As above by plain malloc, for the loops that want many blocks quickly. */
static inline bool block_try_malloc(struct block *block, size_t size, uint64_t seed)
{
    errno = 0;
    *block = (struct block){malloc(size), size, 0};
    if (!block->start) {
        if (errno != ENOMEM)
            fail("%zu bytes refused with errno %d, not ENOMEM", size, errno);
        block->size = 0;
        return false;
    }
    block_fill(block, seed);
    return true;
}

static inline void block_malloc(struct block *block, size_t size, uint64_t seed)
{
    if (!block_try_malloc(block, size, seed))
        fail("no memory for %zu bytes", size);
}

static inline void block_free(struct block *block)
{
    if (!block->start)
        return;
    block_verify(block);
    errno = 12345;
    free(block->start);
    if (errno != 12345)
        fail("free changed errno to %d", errno);
    *block = (struct block){NULL, 0, 0};
}

/* realloc: on failure the block must be as it was; on success the common prefix. Then it is filled anew. */
static inline bool block_try_resize(struct block *block, size_t size, uint64_t seed)
{
    if (size == 0)
        size = 1; /* realloc(p, 0) frees */
    errno = 0;
    unsigned char *moved = realloc(block->start, size);
    if (!moved) {
        if (errno != ENOMEM)
            fail("realloc to %zu bytes refused with errno %d, not ENOMEM", size, errno);
        block_verify(block);
        return false;
    }
    require_aligned(moved, 16);
    size_t common = block->size < size ? block->size : size;
    block->start = moved;
    block_verify_prefix(block, common);
    block->size = size;
    block_fill(block, seed);
    return true;
}

static inline void block_resize(struct block *block, size_t size, uint64_t seed)
{
    if (!block_try_resize(block, size, seed))
        fail("no memory to resize to %zu bytes", size);
}

/* One random step on one of `count` slots: what most threads of most programs here do all day. */
static inline void block_step(struct block *slots, size_t count, size_t largest, struct random *random)
{
    struct block *slot = &slots[random_below(random, count)];
    if (!slot->start)
        block_allocate(slot, random_usual_size(random, largest), random);
    else if (random_below(random, 4) == 0)
        block_resize(slot, random_usual_size(random, largest), random_next(random));
    else
        block_free(slot);
}

static inline void blocks_free(struct block *slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        block_free(&slots[i]);
}

/* ---- the process ---- */

/* A figure of /proc/self/status (proc(5)), such as "VmRSS:" or "VmData:", in bytes. Read without stdio, which
   would allocate. */
static inline size_t process_bytes(const char *name)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0)
        fail("/proc/self/status: errno %d", errno);
    close(fd);
    text[length] = '\0';
    const char *line = strstr(text, name);
    if (!line)
        fail("/proc/self/status has no %s", name);
    return strtoul(line + strlen(name), NULL, 10) * KIB;
}

/* What is resident is the allocator's doing, unless a sanitizer keeps shadows of all memory. */
#ifdef BRIM_PREFIXED
#define RESIDENT_IS_OURS false
#else
#define RESIDENT_IS_OURS true
#endif

static inline void thread_start(pthread_t *thread, void *(*work)(void *), void *what)
{
    int error = pthread_create(thread, NULL, work, what);
    if (error != 0)
        fail("pthread_create: error %d", error);
}

static inline void thread_join(pthread_t thread)
{
    int error = pthread_join(thread, NULL);
    if (error != 0)
        fail("pthread_join: error %d", error);
}

/* A timer whose signals interrupt the calling thread and no other. Forked children do not inherit it. */
static inline timer_t interrupt_this_thread(int signal_number, long every_nanoseconds)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal_number};
    event._sigev_un._tid = gettid();
    struct itimerspec often = {{0, every_nanoseconds}, {0, every_nanoseconds}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &often, NULL) != 0)
        fail("timer: errno %d", errno);
    return timer;
}

/* Waits for a child, which must exit with status 0. Every child sets an alarm for itself: a hang is a
   failure. */
static inline void require_child_success(pid_t child)
{
    int status;
    pid_t waited;
    while ((waited = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    if (waited != child)
        fail("waitpid: errno %d", errno);
    if (WIFSIGNALED(status))
        fail("child died by signal %d%s", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    if (WEXITSTATUS(status) != 0)
        fail("child left with status %d", WEXITSTATUS(status));
}

/* The program starts itself again, for what has to be in force from the very first allocation. */
static inline _Noreturn void execute_again(char **arguments)
{
    execv("/proc/self/exe", arguments);
    fail("exec: errno %d", errno);
}

#endif
