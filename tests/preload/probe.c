/* probe.c: the witness that is preloaded beside libbrim into every real program under test.

   Its constructor runs before main and refuses to let the process start on another allocator: a preload that
   silently failed, or an executable that brings a malloc of its own, would otherwise pass every test. It
   leaves one line per process, the path of the executable, in the file that BRIM_PROBE_LOG names, where the test
   looks for the programs that it means. No stdio: the process is not the probe's to disturb. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brim.h"

/* Weak, so that a missing libbrim is this file's message and not the loader's. */
#pragma weak brim_owns

enum { WRONG_ALLOCATOR = 99 };

static void write_line(int fd, const char *text)
{
    char line[4096 + 1];
    size_t length = strnlen(text, sizeof line - 1);
    memcpy(line, text, length);
    line[length++] = '\n';
    /* One write, so that lines of concurrent processes do not mix; a full disk shows as a missing line. */
    if (write(fd, line, length) < 0)
        return;
}

static int blocks_are_brims(void)
{
    if (!brim_owns)
        return 0;
    /* From the probe itself, from the break and from a mapping, and from inside libc. */
    void *small = malloc(24), *large = calloc(1, 1 << 20), *aligned = NULL;
    char *from_libc = strdup("a block that libc allocates");
    int aligned_failed = posix_memalign(&aligned, 4096, 100);
    int yes = !aligned_failed && brim_owns(aligned);
    yes = yes && brim_owns(small) && brim_owns(large) && brim_owns(from_libc);
    free(small);
    free(large);
    free(aligned);
    free(from_libc);
    return yes;
}

__attribute__((constructor)) static void probe(void)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    if (!blocks_are_brims()) {
        write_line(STDERR_FILENO, "probe: the blocks of this program are not brim's:");
        write_line(STDERR_FILENO, program);
        _exit(WRONG_ALLOCATOR);
    }
    const char *log = getenv("BRIM_PROBE_LOG");
    if (!log)
        return;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    write_line(fd, program);
    close(fd);
}
