/* other-malloc.h: what deepbind.c and namespaces.c call in other-malloc-library.c. */
#ifndef STRESS_OTHER_MALLOC_H
#define STRESS_OTHER_MALLOC_H

#include <stddef.h>

/* The malloc that the library is bound to, which is not the program's. */
struct other_malloc {
    void *(*malloc)(size_t size);
    void *(*realloc)(void *p, size_t size);
    void (*free)(void *p);
    size_t (*malloc_usable_size)(void *p);
};

#endif
