/* blocks.h: how the contract tests look at blocks: edge sizes, a pattern that is filled in and verified,
   where a block lies, and what the process has resident. Nothing here allocates. */
#ifndef TESTS_API_BLOCKS_H
#define TESTS_API_BLOCKS_H

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <unistd.h>

#include "../support.h"

/* Every test program here opens with this line: it checks the allocator before each test. */
#define CONTRACT_OF(suite) TestSuite(suite, .init = require_expected_allocator, .timeout = 120)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What no machine can give: at and above the largest object that C allows, and where adding a header, an
   alignment or a page would wrap around. */
static const size_t impossible_sizes[] = {
    PTRDIFF_MAX - 4096,
    PTRDIFF_MAX - 1,
    PTRDIFF_MAX,
    (size_t)PTRDIFF_MAX + 1,
    (size_t)PTRDIFF_MAX + 4097,
    SIZE_MAX - 65536,
    SIZE_MAX - 4096,
    SIZE_MAX - 4095,
    SIZE_MAX - 64,
    SIZE_MAX - 16,
    SIZE_MAX - 15,
    SIZE_MAX - 8,
    SIZE_MAX - 1,
    SIZE_MAX,
};

/* Sizes around everything that an allocator may treat as a boundary, from tiny to mapped. */
static const size_t boundary_sizes[] = {
    1,      8,      15,     16,     17,     24,      25,      32,      33,      64,
    100,    128,    129,    255,    256,    257,     512,     1000,    1024,    1025,
    1032,   1033,   2048,   4080,   4095,   4096,    4097,    8192,    10000,   16384,
    16385,  32767,  32768,  32769,  65519,  65536,   65537,   100000,  131048,  131049,
    131072, 131073, 200000, 262144, 500000, 1048575, 1048576, 1048577, 4194304, 4194305,
};

static inline int is_aligned(const void *p, size_t alignment)
{
    return ((uintptr_t)p & (alignment - 1)) == 0;
}

static inline size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static inline size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* The byte that belongs at this offset of a block with this seed: never 0, and not the same in neighbours. */
static inline unsigned char pattern_at(unsigned seed, size_t offset)
{
    return (unsigned char)((seed * 151u + offset * 7u + (offset >> 8)) | 1u);
}

static inline void fill_pattern(void *block, size_t size, unsigned seed)
{
    unsigned char *bytes = block;
    for (size_t offset = 0; offset < size; offset++)
        bytes[offset] = pattern_at(seed, offset);
}

/* The offset of the first byte that differs, or `size`. */
static inline size_t verify_pattern(const void *block, size_t size, unsigned seed)
{
    const unsigned char *bytes = block;
    size_t offset = 0;
    while (offset < size && bytes[offset] == pattern_at(seed, offset))
        offset++;
    return offset;
}

static inline size_t first_other_than(const void *block, size_t size, unsigned char value)
{
    const unsigned char *bytes = block;
    size_t offset = 0;
    while (offset < size && bytes[offset] == value)
        offset++;
    return offset;
}

/* A block below the break and above the program's own data lies on the break; any other is mapped. */
static inline int lies_on_break(const void *p)
{
    extern char end;
    return (uintptr_t)p > (uintptr_t)&end && (uintptr_t)p < (uintptr_t)sbrk(0);
}

/* Bytes resident, read without allocating: stdio would take a buffer from the allocator under test. */
static inline size_t resident_bytes(void)
{
    char text[128];
    unsigned long total, resident;
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    if (sscanf(text, "%lu %lu", &total, &resident) != 2)
        abort();
    return resident * page_size();
}

#define EXPECT_FAILURE(expression, error)                                                                    \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        void *const result_ = opaque(expression);                                                            \
        const int error_ = errno;                                                                            \
        cr_assert_null(result_, "%s returned %p", #expression, result_);                                     \
        cr_assert_eq(error_, error, "%s: errno is %d", #expression, error_);                                 \
    } while (0)

/* A block that can be held, is aligned as asked, has room for its size, and can be written in full. */
static inline void expect_block(void *block, size_t alignment, size_t size)
{
    cr_assert_not_null(block, "no block of %zu bytes, alignment %zu", size, alignment);
    cr_assert(is_aligned(block, alignment), "%p (%zu bytes) is not aligned to %zu", block, size, alignment);
    cr_assert(is_aligned(block, 16), "%p (%zu bytes) is not aligned to 16", block, size);
    cr_assert_geq(malloc_usable_size(block), size, "%p has room for %zu of %zu bytes", block,
                  malloc_usable_size(block), size);
    memset(block, 0x5c, size);
}

#endif
