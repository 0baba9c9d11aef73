/* library.c: see library.h. */
#include "library.h"

static library_function library_find(const char *library, const char *name)
{
    /* Every static link would warn of a reference to dlopen. */
    __typeof__(&dlopen) open_library = dlsym ? (__typeof__(&dlopen))dlsym(RTLD_DEFAULT, "dlopen") : NULL;
    void *handle = open_library ? open_library(library, RTLD_NOLOAD | RTLD_LAZY) : NULL;
    if (!handle)
        return NULL;
    library_function found = (library_function)dlsym(handle, name);
    dlclose(handle);
    return found;
}
