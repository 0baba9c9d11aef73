/* other-malloc-library.c: a library that is opened so that its malloc is libc's own, whatever was preloaded: with
   RTLD_DEEPBIND, or in a namespace of its own. */
#include "other-malloc.h"

#include <malloc.h>
#include <stdlib.h>

const struct other_malloc other_malloc = {malloc, realloc, free, malloc_usable_size};
