/* diag.c: the exact lines, and that nothing else comes out. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/diag.c"

#include <fcntl.h>

Test(diag, fatal_names_the_bug_and_the_pointer)
{
    expect_fatal("brim: double free: 0x7f0123456789", diag_fatal("double free", (void *)0x7f0123456789));
    expect_fatal("brim: invalid free: 0x0", diag_fatal("invalid free", NULL));
    expect_fatal("brim: invalid free: 0x10", diag_fatal("invalid free", (void *)0x10));
    expect_fatal("brim: invalid free: 0xffffffffffffffff", diag_fatal("invalid free", (void *)UINTPTR_MAX));
    expect_fatal("brim: invalid free: 0x8000000000000000",
                 diag_fatal("invalid free", (void *)(UINTPTR_MAX / 2 + 1)));
}

/* The digits are those of printf, whatever the pointer. */
Test(diag, pointers_as_printf_has_them)
{
    struct random random = random_begin();
    for (int i = 0; i < 10000; i++) {
        void *p = (void *)(random_next(&random) >> random_below(&random, 64));
        struct diag_line line = {.length = 0};
        line_append_pointer(&line, p);
        line.text[line.length] = '\0';
        char expected[40];
        snprintf(expected, sizeof expected, "%#llx", (unsigned long long)(uintptr_t)p);
        check(strcmp(line.text, p ? expected : "0x0") == 0);
    }
}

Test(diag, long_text_is_cut_and_keeps_its_newline)
{
    char text[1000], expected[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    int length = snprintf(expected, sizeof expected, "brim: %.200s: 0x123", text);
    check(length > 0 && length < (int)sizeof expected);
    expect_fatal(expected, diag_fatal(text, (void *)0x123));

    struct child child = child_begin();
    if (child.process == 0) {
        diag_warn(text, text);
        _exit(0);
    }
    char output[1000];
    check(child_end(&child, output, sizeof output) == 0);
    size_t written = strlen(output);
    check(written > 300 && written <= sizeof(struct diag_line) && output[written - 1] == '\n');
    check(strncmp(output, "brim: xxx", 9) == 0);
}

Test(diag, warn_goes_on_and_keeps_errno)
{
    struct child child = child_begin();
    if (child.process == 0) {
        errno = E2BIG;
        diag_warn("unknown option", "colour=red");
        diag_warn("nothing to add", NULL);
        _exit(errno == E2BIG ? 0 : 1);
    }
    child_expect(&child, 0, "brim: unknown option: colour=red\nbrim: nothing to add\n", __FILE__, __LINE__);
}

/* errno survives when the line cannot be written, too; a program without stderr still dies of its bug. */
Test(diag, without_stderr)
{
    expect_in_child({
        close(STDERR_FILENO);
        errno = ERANGE;
        diag_warn("nobody", "hears");
        if (errno != ERANGE)
            _exit(1);
    });
    struct child child = child_begin();
    if (child.process == 0) {
        close(STDERR_FILENO);
        diag_fatal("nobody hears", NULL);
    }
    child_expect(&child, -SIGABRT, "", __FILE__, __LINE__);
}

/* Lines of several processes do not mix: each leaves in one write. */
Test(diag, one_write_a_line)
{
    enum { WRITERS = 4, LINES = 200 };
    int ends[2];
    check(pipe(ends) == 0);
    pid_t writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        if ((writers[i] = fork()) == 0) {
            char what[101];
            memset(what, 'a' + i, 100);
            what[100] = '\0';
            dup2(ends[1], STDERR_FILENO);
            for (int line = 0; line < LINES; line++)
                diag_warn(what, what);
            _exit(0);
        }
        check(writers[i] > 0);
    }
    close(ends[1]);
    FILE *lines = fdopen(ends[0], "r");
    char line[400];
    int count = 0;
    for (; fgets(line, sizeof line, lines); count++) {
        check(strlen(line) == 6 + 100 + 2 + 100 + 1);
        char letter = line[6];
        for (int i = 0; i < 100; i++)
            check(line[6 + i] == letter && line[108 + i] == letter);
    }
    check(count == WRITERS * LINES);
    for (int i = 0; i < WRITERS; i++)
        check(waitpid(writers[i], NULL, 0) == writers[i]);
}
