/* slower: an allocator whose malloc takes a few instructions more than that of the library behind it, for the test
   that scripts/check-instructions notices. To be preloaded in front of it. */
#include <dlfcn.h>
#include <stddef.h>

void *malloc(size_t size)
{
    static void *(*next)(size_t size);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "malloc");
    return next(size);
}
