/* foreign.h: pointers that no allocator handed out. */
#ifndef MISUSE_FOREIGN_H
#define MISUSE_FOREIGN_H

#include <sys/mman.h>

#include "misuse.h"

static char foreign_data[64] = "data";

/* A pointer of the kind that `name` names; freed ones were blocks once. */
static inline void *foreign_pointer(const char *name)
{
    static _Thread_local char in_thread[64];
    char *on_stack = __builtin_frame_address(0);
    if (strcmp(name, "stack") == 0)
        return on_stack;
    if (strcmp(name, "text") == 0)
        return (void *)(uintptr_t)foreign_pointer;
    if (strcmp(name, "data") == 0)
        return foreign_data;
    if (strcmp(name, "literal") == 0)
        return (void *)(uintptr_t) "literal";
    if (strcmp(name, "thread") == 0)
        return in_thread;
    if (strcmp(name, "libc") == 0)
        return stdout;
    if (strcmp(name, "mapping") == 0)
        return mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(name, "protected") == 0)
        return mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(name, "break") == 0)
        return (char *)sbrk(4096) + 64;
    if (strcmp(name, "above-break") == 0)
        return (char *)sbrk(0) + 65536;
    if (strcmp(name, "far") == 0)
        return (void *)(uintptr_t)0x123456789000;
    if (strcmp(name, "kernel") == 0)
        return (void *)(uintptr_t)0xffff888000000000;
    if (strcmp(name, "not-canonical") == 0)
        return (void *)(uintptr_t)0x4141414141414140;
    if (strcmp(name, "null+8") == 0)
        return (void *)(uintptr_t)8;
    if (strcmp(name, "null+4096") == 0)
        return (void *)(uintptr_t)4096;
    if (strcmp(name, "all-ones") == 0)
        return (void *)UINTPTR_MAX;
    unsigned char *p;
    if (strcmp(name, "freed-small") == 0)
        p = allocate(64);
    else if (strcmp(name, "freed-medium") == 0)
        p = allocate(100 << 10);
    else if (strcmp(name, "freed-mapping") == 0)
        p = allocate(1 << 20);
    else if (strcmp(name, "interior") == 0)
        return allocate(64) + 16;
    else if (strcmp(name, "interior-medium") == 0)
        return allocate(100 << 10) + 65536;
    else if (strcmp(name, "interior-mapping") == 0)
        return allocate(1 << 20) + 65536;
    else
        _exit(2);
    free(p);
    return opaque(p);
}

#endif
