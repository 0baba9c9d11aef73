/* print.c: see print.h. Written by the bare system call: libc's write is a cancellation point, and a thread that is to
   be cancelled would leave there, in the midst of a report. */
#include "print.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

RARE void print_flush(struct print *out)
{
    int saved_errno = errno;
    for (size_t at = 0; at < out->length;) {
        long written = syscall(SYS_write, out->fd, out->text + at, out->length - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        at += (size_t)written;
    }
    out->length = 0;
    errno = saved_errno;
}

RARE void print(struct print *out, const char *format, ...)
{
    int saved_errno = errno;
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t room = sizeof out->text - out->length;
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(out->text + out->length, room, format, arguments);
        va_end(arguments);
        if (length >= 0 && (size_t)length < room) {
            out->length += (size_t)length;
            break;
        }
        print_flush(out);
    }
    errno = saved_errno;
}
