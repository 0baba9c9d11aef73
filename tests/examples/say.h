/* say.h: how the examples end when something cannot be done. */
#ifndef SAY_H
#define SAY_H

#include <brim.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* One line on stderr, then status 1. */
__attribute__((format(printf, 1, 2))) static inline _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* After a heap function has failed: brim_heap_error knows more than errno can say. */
static inline _Noreturn void fail_heap(const char *what)
{
    fail("%s: %s", what, brim_heap_strerror(brim_heap_error()));
}

#endif
