/* operators.c: C++'s operator new and delete, by their mangled names (Itanium C++ ABI). They are interposed
   because some allocators bring their own, which would bypass malloc; here they all go through malloc and
   free, so that new and delete match. */
#include <stdlib.h>

#include "interpose.h"

/* C++: out of memory is left to the library's own operator, which calls the new-handler and throws. */
static void *operator_new(size_t size, const char *name)
{
    void *block = malloc(size);
    if (__builtin_expect(!block, 0)) {
        void *(*library)(size_t) = (void *(*)(size_t))next(name);
        block = library ? library(size) : NULL;
    }
    return block;
}

static void *operator_new_aligned(size_t size, size_t alignment, const char *name)
{
    void *block = NULL;
    if (posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) != 0) {
        void *(*library)(size_t, size_t) = (void *(*)(size_t, size_t))next(name);
        block = library ? library(size, alignment) : NULL;
    }
    return block;
}

#define OPERATOR(c_name, mangled, ...)           \
    EXPORT c_name(__VA_ARGS__) __asm__(mangled); \
    c_name(__VA_ARGS__)

OPERATOR(void *new_plain, "_Znwm", size_t size)
{
    return operator_new(size, "_Znwm");
}
OPERATOR(void *new_array, "_Znam", size_t size)
{
    return operator_new(size, "_Znam");
}
OPERATOR(void *new_nothrow, "_ZnwmRKSt9nothrow_t", size_t size, void *tag)
{
    (void)tag;
    return malloc(size);
}
OPERATOR(void *new_array_nothrow, "_ZnamRKSt9nothrow_t", size_t size, void *tag)
{
    (void)tag;
    return malloc(size);
}
OPERATOR(void *new_aligned, "_ZnwmSt11align_val_t", size_t size, size_t alignment)
{
    return operator_new_aligned(size, alignment, "_ZnwmSt11align_val_t");
}
OPERATOR(void *new_array_aligned, "_ZnamSt11align_val_t", size_t size, size_t alignment)
{
    return operator_new_aligned(size, alignment, "_ZnamSt11align_val_t");
}
OPERATOR(void *new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t", size_t size, size_t alignment,
         void *tag)
{
    void *block = NULL;
    (void)tag;
    if (posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) != 0)
        return NULL;
    return block;
}
OPERATOR(void *new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t", size_t size, size_t alignment,
         void *tag)
{
    return new_aligned_nothrow(size, alignment, tag);
}
OPERATOR(void delete_plain, "_ZdlPv", void *p)
{
    free(p);
}
OPERATOR(void delete_array, "_ZdaPv", void *p)
{
    free(p);
}
OPERATOR(void delete_sized, "_ZdlPvm", void *p, size_t s)
{
    (void)s;
    free(p);
}
OPERATOR(void delete_array_sized, "_ZdaPvm", void *p, size_t s)
{
    (void)s;
    free(p);
}
OPERATOR(void delete_nothrow, "_ZdlPvRKSt9nothrow_t", void *p, void *tag)
{
    (void)tag;
    free(p);
}
OPERATOR(void delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", void *p, void *tag)
{
    (void)tag;
    free(p);
}
OPERATOR(void delete_aligned, "_ZdlPvSt11align_val_t", void *p, size_t a)
{
    (void)a;
    free(p);
}
OPERATOR(void delete_array_aligned, "_ZdaPvSt11align_val_t", void *p, size_t a)
{
    (void)a;
    free(p);
}
OPERATOR(void delete_sized_aligned, "_ZdlPvmSt11align_val_t", void *p, size_t s, size_t a)
{
    (void)s;
    (void)a;
    free(p);
}
OPERATOR(void delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", void *p, size_t s, size_t a)
{
    (void)s;
    (void)a;
    free(p);
}
OPERATOR(void delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t", void *p, size_t a, void *tag)
{
    (void)a;
    (void)tag;
    free(p);
}
OPERATOR(void delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t", void *p, size_t a,
         void *tag)
{
    (void)a;
    (void)tag;
    free(p);
}
