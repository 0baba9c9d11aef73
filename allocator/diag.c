/* diag.c: see diag.h. Each line is put together on the stack and leaves in one write, so that lines of several
   threads or processes do not mix. By the bare system call: libc's write is a cancellation point, and a thread that is
   to be cancelled would leave there, without a word about its bug. */
#include "diag.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct diag_line {
    char text[320];
    size_t length;
};

static void line_append(struct diag_line *line, const char *text, size_t most)
{
    for (size_t i = 0; text[i] != '\0' && i < most && line->length < sizeof line->text - 1; i++)
        line->text[line->length++] = text[i];
}

static void line_append_pointer(struct diag_line *line, const void *p)
{
    char digits[2 + 2 * sizeof p + 1] = "0x";
    size_t length = 2;
    for (int shift = 8 * (int)sizeof p - 4; shift >= 0; shift -= 4) {
        unsigned digit = ((uintptr_t)p >> shift) & 15;
        if (digit != 0 || length > 2 || shift == 0)
            digits[length++] = "0123456789abcdef"[digit];
    }
    digits[length] = '\0';
    line_append(line, digits, sizeof digits);
}

static void line_write(struct diag_line *line)
{
    line->text[line->length++] = '\n';
    long written = syscall(SYS_write, STDERR_FILENO, line->text, line->length);
    (void)written; /* nobody is left to tell */
}

_Noreturn RARE void diag_fatal(const char *bug, const void *p)
{
    struct diag_line line = {.length = 0};
    line_append(&line, "brim: ", 6);
    line_append(&line, bug, 200);
    line_append(&line, ": ", 2);
    line_append_pointer(&line, p);
    line_write(&line);
    abort();
}

RARE void diag_warn(const char *what, const char *detail)
{
    int saved_errno = errno;
    struct diag_line line = {.length = 0};
    line_append(&line, "brim: ", 6);
    line_append(&line, what, 200);
    if (detail) {
        line_append(&line, ": ", 2);
        line_append(&line, detail, 100);
    }
    line_write(&line);
    errno = saved_errno;
}
