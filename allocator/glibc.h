/* glibc.h: the settings and the statistics of glibc's allocator, on ours. */
#ifndef BRIM_GLIBC_H
#define BRIM_GLIBC_H

#include "options.h"
#include "stats.h"

/* Carries what the environment says to the rooms that live by it. Called once, by the library's constructor. */
COLD void settings_init(char *const environment[]);

#endif
