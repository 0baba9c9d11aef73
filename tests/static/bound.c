/* bound.c: see bound.h. The library that whose.c loads: a linker settles what an executable misses, and
   leaves what a library misses to the dynamic linker. */
#include "bound.h"

#include <stddef.h>

/* By label, so that each row is a declaration whatever the function's type. */
#define ENTRY(name) extern void bound_##name(void) __asm__(#name);
#include "entry_points.def"
#undef ENTRY

const struct bound_entry bound_entries[] = {
#define ENTRY(name) {#name, bound_##name},
#include "entry_points.def"
#undef ENTRY
    {NULL, NULL},
};
