/* print.c: text of any length arrives whole and in order, in few writes. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/print.c"

#include <fcntl.h>

static size_t read_all(int fd, char *text, size_t size)
{
    size_t length = 0;
    ssize_t part;
    while (length < size && (part = read(fd, text + length, size - length)) > 0)
        length += (size_t)part;
    return length;
}

Test(print, arrives_in_order)
{
    static char expected[1 << 16], found[1 << 16];
    int ends[2];
    check(pipe(ends) == 0);
    struct print out = {.fd = ends[1]};
    size_t length = 0;
    for (int i = 0; length < 50000; i++) { /* less than a pipe holds */
        int width = i * 37 % 900;
        errno = EXDEV;
        print(&out, "%d:%*s|%zu\n", i, width, "x", length);
        check(errno == EXDEV);
        length += (size_t)snprintf(expected + length, sizeof expected - length, "%d:%*s|%zu\n", i, width, "x",
                                   length);
    }
    print_flush(&out);
    print_flush(&out); /* nothing more to write */
    close(ends[1]);
    check(read_all(ends[0], found, sizeof found) == length && memcmp(found, expected, length) == 0);
}

/* Nothing is written before the buffer is full. */
Test(print, waits_for_a_full_buffer)
{
    char found[100];
    int ends[2];
    check(pipe2(ends, O_NONBLOCK) == 0);
    struct print out = {.fd = ends[1]};
    print(&out, "%s and %d", "text", 5);
    check(read(ends[0], found, sizeof found) < 0 && errno == EAGAIN);
    print_flush(&out);
    check(read(ends[0], found, sizeof found) == 10 && memcmp(found, "text and 5", 10) == 0);
}

/* The largest text of one call, at every fill of the buffer. */
Test(print, text_as_long_as_the_buffer)
{
    enum { MOST = sizeof(((struct print *)0)->text) - 1 };
    static char text[MOST + 1], found[2 * MOST + 2];
    memset(text, 'y', MOST);
    for (int before = 0; before < MOST; before += 101) {
        int ends[2];
        check(pipe(ends) == 0);
        struct print out = {.fd = ends[1]};
        print(&out, "%.*s", before, text);
        print(&out, "%s", text);
        print_flush(&out);
        close(ends[1]);
        check(read_all(ends[0], found, sizeof found) == (size_t)before + MOST);
        close(ends[0]);
    }
}

Test(print, descriptor_that_takes_nothing)
{
    struct print out = {.fd = -1};
    errno = EXDEV;
    for (int i = 0; i < 10000; i++)
        print(&out, "%d\n", i);
    print_flush(&out);
    check(errno == EXDEV && out.length == 0);
}
