/* fresh.h: parts of a contract test that need a process of their own: one that has allocated next to nothing,
   whose threshold nobody has raised, and which sees the environment that the test chose.

   A program defines such parts with FRESH(name) { ... check(condition); ... } and a test calls them with
   expect_fresh(name, "VARIABLE=value", ...). The test program then runs itself anew; the part is run by a
   constructor, before Criterion's main. Inside a part Criterion's assertions do not exist: check() does their
   work. */
#ifndef TESTS_API_FRESH_H
#define TESTS_API_FRESH_H

#include <criterion/criterion.h>

#include <spawn.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support.h"

#define FRESH_VARIABLE "BRIM_TEST_FRESH"

#define check(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

static inline void check_failed(const char *condition, const char *file, int line)
{
    dprintf(STDERR_FILENO, "%s:%d: not true: %s\n", file, line, condition);
    _exit(1);
}

/* _exit, not exit: destructors of Criterion's libraries are none of the part's business. */
static inline void fresh_run_if_named(const char *name, void (*part)(void))
{
    const char *wanted = getenv(FRESH_VARIABLE);
    if (!wanted || strcmp(wanted, name) != 0)
        return;
    require_expected_allocator_for(24);
    part();
    fflush(NULL);
    _exit(0);
}

#define FRESH(name)                                                                                          \
    static void fresh_##name(void);                                                                          \
    __attribute__((constructor)) static void fresh_constructor_##name(void)                                  \
    {                                                                                                        \
        fresh_run_if_named(#name, fresh_##name);                                                             \
    }                                                                                                        \
    static void fresh_##name(void)

/* What a part wrote to stdout and stderr: enough for all of them, and valid until the next one. */
static char fresh_output[64 << 10];

static inline void expect_fresh_with(const char *name, const char *const assignments[])
{
    extern char **environ;
    char *environment[512], part_variable[128];
    size_t count = 0;
    for (char **entry = environ; *entry; entry++) {
        size_t name_length = strcspn(*entry, "=") + 1;
        /* Not Criterion's own: it would take the new process for one of its workers. */
        int keep = strncmp(*entry, "BXFI_", 5) != 0;
        for (size_t i = 0; assignments[i]; i++)
            keep = keep && strncmp(*entry, assignments[i], name_length) != 0;
        if (keep && count < 400)
            environment[count++] = *entry;
    }
    for (size_t i = 0; assignments[i]; i++)
        environment[count++] = (char *)(uintptr_t)assignments[i];
    snprintf(part_variable, sizeof part_variable, FRESH_VARIABLE "=%s", name);
    environment[count++] = part_variable;
    environment[count] = NULL;

    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    char *arguments[] = {part_variable, NULL};
    pid_t process;
    int error = posix_spawn(&process, "/proc/self/exe", &actions, NULL, arguments, environment);
    cr_assert_eq(error, 0, "cannot run this program anew: %s", strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);

    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], fresh_output + length, sizeof fresh_output - 1 - length)) > 0)
        length += (size_t)got;
    fresh_output[length] = 0;
    close(ends[0]);
    int status;
    cr_assert_eq(waitpid(process, &status, 0), process);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s %s... ended with status 0x%x and said:\n%s",
              name, assignments[0] ? assignments[0] : "", (unsigned)status, fresh_output);
}

/* Runs the part and fails the test if it fails. The assignments are added to this process's environment. */
#define expect_fresh(name, ...)                                                                              \
    expect_fresh_with(#name, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* 1: from now on nothing can be mapped, and the break cannot grow. RLIM_INFINITY: they can again. */
static inline void limit_address_space(rlim_t bytes)
{
    check(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, RLIM_INFINITY}) == 0);
}

#endif
