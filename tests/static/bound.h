/* bound.h: the entry points of entry_points.def, as the calls of a shared library are bound. */
#ifndef TESTS_STATIC_BOUND_H
#define TESTS_STATIC_BOUND_H

struct bound_entry {
    const char *name; /* NULL ends the table */
    void (*address)(void);
};

extern const struct bound_entry bound_entries[];

#endif
