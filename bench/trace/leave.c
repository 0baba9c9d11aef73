/* leave.c: the calls that end a process, or its program, without running destructors: the recorder's buffers
   are written out first. */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "interpose.h"
#include "recorder.h"

typedef int exec_function(const char *, char *const *, char *const *);

/* A child of vfork does this with its parent's buffers, which it shares; that is harmless. */
EXPORT _Noreturn void _exit(int status)
{
    void (*real)(int) = (void (*)(int))next("_exit");
    recorder_flush();
    real(status);
    __builtin_unreachable();
}

EXPORT _Noreturn void _Exit(int status)
{
    _exit(status);
}

EXPORT _Noreturn void abort(void)
{
    void (*real)(void) = (void (*)(void))next("abort");
    recorder_flush();
    real();
    __builtin_unreachable();
}

EXPORT int execve(const char *path, char *const *arguments, char *const *environment)
{
    exec_function *real = (exec_function *)next("execve");
    recorder_flush();
    return real(path, arguments, environment);
}

EXPORT int fexecve(int fd, char *const *arguments, char *const *environment)
{
    int (*real)(int, char *const *, char *const *);
    *(void **)&real = next("fexecve");
    recorder_flush();
    return real(fd, arguments, environment);
}

EXPORT int execv(const char *path, char *const *arguments)
{
    return execve(path, arguments, environ);
}

EXPORT int execvpe(const char *file, char *const *arguments, char *const *environment)
{
    exec_function *real = (exec_function *)next("execvpe");
    recorder_flush();
    return real(file, arguments, environment);
}

EXPORT int execvp(const char *file, char *const *arguments)
{
    return execvpe(file, arguments, environ);
}

/* The arguments up to NULL, on the caller's stack: nothing may be allocated after fork. */
#define COLLECT(first, list)                           \
    va_list list, again;                               \
    va_start(list, first);                             \
    va_copy(again, list);                              \
    size_t count = 1;                                  \
    while (va_arg(again, char *))                      \
        count++;                                       \
    va_end(again);                                     \
    char *arguments[count + 1];                        \
    arguments[0] = (char *)(uintptr_t)(first);         \
    for (size_t i = 1; i <= count; i++)                \
        arguments[i] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
    COLLECT(first, list);
    va_end(list);
    return execve(path, arguments, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    COLLECT(first, list);
    va_end(list);
    return execvpe(file, arguments, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    COLLECT(first, list);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, environment);
}
