/* library.h: functions of libraries that are in the process already, asked of the dynamic loader by name. Static
   programs have no loader unless they ask for one; nothing is found then. */
#ifndef BRIM_LIBRARY_H
#define BRIM_LIBRARY_H

#include "base.h"

#include <dlfcn.h>

/* Weak for those static programs. */
#pragma weak dladdr
#pragma weak dlclose
#pragma weak dlsym

typedef void (*library_function)(void);

/* In `library` (a path, or the name that it calls itself) or what it depends on; NULL if that is not in the process. It
   is let go at once: the code that brought the caller here keeps it in place. Takes the loader's lock, may allocate,
   and replaces what dlerror would say: for cold paths that hold no lock. */
static library_function library_find(const char *library, const char *name);

#endif
