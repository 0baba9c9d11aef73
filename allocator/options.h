/* options.h: what the user may set, read from the environment once.

   The table is options.def. This room knows names, bounds and defaults, and what the environment said; what a value
   means belongs to the room that lives by it (region_policy, mapping_policy ...), and the entry points of glibc.c
   carry it there. Defaults are compile-time constants, so that blocks handed out before the environment is read
   have the right policy already. */
#ifndef BRIM_OPTIONS_H
#define BRIM_OPTIONS_H

#include "base.h"

/* A build that is hardened from the first block on. */
#ifndef BRIM_HARDENED_DEFAULT
#define BRIM_HARDENED_DEFAULT 0
#endif

enum option_when { ANY_TIME, AT_START, WITHOUT_EFFECT };

enum option {
#define OPTION(name, fallback, least, most, when, variable, tunable, help) OPTION_##name,
#include "options.def"
#undef OPTION
    OPTION_COUNT
};

/* The defaults by name: OPTION_DEFAULT(top_pad). */
#define OPTION_DEFAULT(name) ((size_t)OPTION_DEFAULT_##name)
enum {
#define OPTION(name, fallback, least, most, when, variable, tunable, help) OPTION_DEFAULT_##name = (fallback),
#include "options.def"
#undef OPTION
};

/* Reads the environment (`NAME=value` strings up to NULL): glibc's variables, GLIBC_TUNABLES, which wins over them,
   and BRIM_<OPTION>, which wins over both. A program that runs with rights that its user lacks (AT_SECURE) gets none
   of it. A malformed value has one warning line; glibc's names then mean what they mean to glibc, BRIM_ ones
   nothing. Called once, by the library's constructor; calls nothing but getauxval and write. */
static void options_init(char *const environment[]);
/* Did the environment give the option a value? */
static bool option_given(enum option option, size_t *value);
/* The option of that name that has an effect, or OPTION_COUNT. Letters of either case. */
static enum option option_find(const char *name);
static bool option_in_bounds(enum option option, size_t value);
static enum option_when option_when(enum option option);

#endif
