/* check.h: what the plain programs of this folder and of ../static use where Criterion cannot go: in static
   programs, and in those whose point is which libraries are in the process. For C and C++. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include "brim.h"
#include "../support.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static inline void check_failed(const char *file, int line, const char *what)
{
    char text[512];
    int length = snprintf(text, sizeof text, "%s:%d: not true: %s\n", file, line, what);
    if (write(STDERR_FILENO, text, (size_t)length) != length)
        _exit(2);
    _exit(1); /* without destructors: what failed may be what they need */
}

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

static inline int is_aligned(const void *p, size_t alignment) { return (uintptr_t)p % alignment == 0; }

/* All `size` bytes hold `byte`. */
static inline int is_filled(const void *p, size_t size, unsigned char byte)
{
    const unsigned char *bytes = (const unsigned char *)p;
    return size == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* From here on the process can map `more` bytes and no more. */
static inline void limit_address_space(size_t more)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1 && fclose(statm) == 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

#endif
