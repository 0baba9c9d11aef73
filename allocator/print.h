/* print.h: formatted text of any length to a file descriptor, through a buffer of the caller's: for reports, which
   must neither allocate nor take the lock of a FILE. Formatting is vsnprintf's, which does neither. */
#ifndef BRIM_PRINT_H
#define BRIM_PRINT_H

#include "base.h"

struct print {
    int fd;
    size_t length;
    char text[2048];
};

/* Appends; writes what is there when the buffer is full. One call's text is at most the buffer. Keeps errno. */
__attribute__((format(printf, 2, 3))) COLD void print(struct print *out, const char *format, ...);
/* Writes the rest. A descriptor that takes no more loses it: nobody is left to tell. Keeps errno. */
RARE void print_flush(struct print *out);

#endif
