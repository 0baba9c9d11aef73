/* foreign-libc.c KIND USE: a block of libc's malloc that brim must not take for one, since nothing says what it is: its
   library (see tests/stress/other-malloc-library.c) left it to the program.

   KIND arena      of another thread's arena
        mapping    a mapping of libc's
        namespace  of the libc of another namespace
        inside     a pointer into a block of the main arena
        unaligned  the same, and aligned as no block is
   USE  free, realloc or usable-size */
#include <dlfcn.h>
#include <malloc.h>

#include "../stress/other-malloc.h"
#include "misuse.h"

static const struct other_malloc *open_other(int namespace)
{
    void *handle = namespace ? dlmopen(LM_ID_NEWLM, "stress-other-malloc.so", RTLD_NOW)
                             : dlopen("stress-other-malloc.so", RTLD_NOW | RTLD_DEEPBIND);
    if (!handle)
        _exit(2);
    return dlsym(handle, "other_malloc");
}

static const struct other_malloc *other;

static void *allocate_in_thread(void *size) { return other->malloc((size_t)size); }

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    const char *kind = arguments[1], *use = arguments[2];
    other = open_other(strcmp(kind, "namespace") == 0);
    if (!other || other->malloc == malloc)
        return 3;
    unsigned char *p = NULL;
    void *of_thread;
    pthread_t thread;
    if (strcmp(kind, "arena") == 0) {
        other->free(other->malloc(1)); /* the first thread to allocate has the main arena */
        if (pthread_create(&thread, NULL, allocate_in_thread, (void *)100) != 0 ||
            pthread_join(thread, &of_thread) != 0)
            return 2;
        p = of_thread;
    } else if (strcmp(kind, "mapping") == 0) {
        p = other->malloc(1 << 20);
    } else {
        p = memset(other->malloc(1000), 'x', 1000);
    }
    p += strcmp(kind, "inside") == 0 ? 64 : strcmp(kind, "unaligned") == 0 ? 8 : 0;
    announce(p);
    if (strcmp(use, "free") == 0)
        free(p);
    else if (strcmp(use, "realloc") == 0)
        return opaque(realloc(p, 300)) ? 1 : 3;
    else
        return malloc_usable_size(p) != 0 ? 1 : 3;
    return 1;
}
