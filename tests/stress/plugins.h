/* plugins.h: what plugins.c calls in plugin-library.c. */
#ifndef STRESS_PLUGINS_H
#define STRESS_PLUGINS_H

#include "stress.h"

/* A block that outlives the library: the caller frees it. */
struct block plugin_leave_block(uint64_t seed);
/* Allocates and frees through the library's thread-local storage. */
void plugin_work_in_thread(uint64_t seed);

#endif
