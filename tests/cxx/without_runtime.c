/* without_runtime.c: operator new in a process with no C++ runtime at all, where nobody can throw. It works
   while there is memory; out of memory a nothrow form returns NULL, and a throwing one ends the program with
   one line. */
#include "check.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>

static const size_t impossible = (size_t)1 << 62;

static void *find(const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    CHECK(function);
    return function;
}

typedef void *(*new_function)(size_t size);
typedef void *(*new_nothrow_function)(size_t size, const void *nothrow);
typedef void *(*aligned_new_function)(size_t size, size_t alignment);
typedef void *(*aligned_new_nothrow_function)(size_t size, size_t alignment, const void *nothrow);
typedef void (*sized_delete_function)(void *p, size_t size);
typedef void (*aligned_delete_function)(void *p, size_t alignment);

static void check_throwing(const char *name, int aligned)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0 && dup2(ends[1], STDERR_FILENO) >= 0);
        opaque(aligned ? ((aligned_new_function)find(name))(impossible, 64)
                       : ((new_function)find(name))(impossible));
        _exit(0);
    }
    close(ends[1]);
    char line[500] = "";
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], line + length, sizeof line - 1 - length)) > 0;)
        length += (size_t)got;
    close(ends[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strncmp(line, "brim: ", 6) == 0 && strstr(line, "std::bad_alloc"));
    CHECK(strchr(line, '\n') == line + length - 1);
}

int main(void)
{
    require_expected_allocator();
    CHECK(!dlopen("libstdc++.so.6", RTLD_NOLOAD | RTLD_LAZY));

    void *p = ((new_function)find("_Znwm"))(100);
    CHECK(p && brim_owns(p));
    ((sized_delete_function)find("_ZdlPvm"))(p, 100);
    p = ((aligned_new_function)find("_ZnamSt11align_val_t"))(100, 256);
    CHECK(p && brim_owns(p) && is_aligned(p, 256));
    ((aligned_delete_function)find("_ZdaPvSt11align_val_t"))(p, 256);

    new_nothrow_function nothrow = (new_nothrow_function)find("_ZnwmRKSt9nothrow_t");
    CHECK(!nothrow(impossible, NULL));
    nothrow = (new_nothrow_function)find("_ZnamRKSt9nothrow_t");
    CHECK(!nothrow(impossible, NULL));
    aligned_new_nothrow_function aligned_nothrow =
        (aligned_new_nothrow_function)find("_ZnwmSt11align_val_tRKSt9nothrow_t");
    CHECK(!aligned_nothrow(impossible, 64, NULL));
    aligned_nothrow = (aligned_new_nothrow_function)find("_ZnamSt11align_val_tRKSt9nothrow_t");
    CHECK(!aligned_nothrow(impossible, 64, NULL));

    check_throwing("_Znwm", 0);
    check_throwing("_Znam", 0);
    check_throwing("_ZnwmSt11align_val_t", 1);
    check_throwing("_ZnamSt11align_val_t", 1);
    return 0;
}
