/* interpose.h: what the files of interposed functions share. */
#ifndef TRACE_INTERPOSE_H
#define TRACE_INTERPOSE_H

#include <dlfcn.h>

#define EXPORT __attribute__((visibility("default")))

/* The function of this name that would have been called without the recorder; NULL if there is none. */
static inline void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#endif
