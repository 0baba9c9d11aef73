/* unit.h: what the tests of the rooms share: checks, random numbers that can be repeated, and children
   that are expected to end in a certain way. Include it before the rooms.

   Criterion runs each test in a process of its own, so that each starts with the rooms as they are at
   program start. A check that fails says where, names the seed and aborts: unlike Criterion's own
   assertions, that works in any thread and in a forked child, and costs nothing when it holds. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#ifdef NDEBUG
#error "the rooms' own assertions are part of these tests"
#endif

#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define check(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

static inline _Noreturn void check_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: not true: %s\n", file, line, condition);
    abort();
}

/* ---- random numbers ---- */

struct random {
    uint64_t state;
};

static uint64_t unit_seed;

/* However the test dies (a check, an assertion of a room, a fault), its seed is told. */
static void seed_tell(int signal_number)
{
    static const char digits[] = "0123456789abcdef";
    char line[] = "repeat with BRIM_TEST_SEED=0x................\n";
    for (size_t i = 0; i < 16; i++)
        line[sizeof line - 3 - i] = digits[unit_seed >> 4 * i & 15];
    ssize_t written = write(STDERR_FILENO, line, sizeof line - 1);
    (void)written;
    raise(signal_number); /* SA_RESETHAND: this time it kills */
}

/* The random numbers of this test: others each time, unless BRIM_TEST_SEED says which. */
static inline struct random random_begin(void)
{
    const char *seed = getenv("BRIM_TEST_SEED");
    if (seed)
        unit_seed = strtoull(seed, NULL, 0);
    else if (getrandom(&unit_seed, sizeof unit_seed, 0) != sizeof unit_seed)
        check_failed(__FILE__, __LINE__, "getrandom");
    struct sigaction tell = {.sa_handler = seed_tell, .sa_flags = SA_RESETHAND};
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGALRM};
    for (size_t i = 0; i < COUNT_OF(deadly); i++)
        sigaction(deadly[i], &tell, NULL);
    return (struct random){unit_seed};
}

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static inline uint64_t random_next(struct random *random)
{
    uint64_t n = random->state += 0x9e3779b97f4a7c15;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
    n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
    return n ^ (n >> 31);
}

static inline size_t random_below(struct random *random, size_t limit)
{
    return (size_t)(((__uint128_t)random_next(random) * limit) >> 64);
}

static inline size_t random_between(struct random *random, size_t least, size_t most)
{
    return least + random_below(random, most - least + 1);
}

static inline bool random_one_in(struct random *random, size_t chances)
{
    return random_below(random, chances) == 0;
}

/* ---- threads ---- */

/* What the rooms are told instead of libc's word. Criterion has threads of its own, which leave the break alone; among
   threads, the rooms would leave it to the malloc of this program. */
static char unit_single_threaded __attribute__((unused)) = true;
#define __libc_single_threaded unit_single_threaded

/* ---- children ---- */

struct child {
    pid_t process;
    int output; /* what it writes to stderr */
};

/* Forks. In the child, process is 0, stderr goes to the parent, and a signal that kills just kills. */
static inline struct child child_begin(void)
{
    int ends[2];
    check(pipe(ends) == 0);
    struct child child = {.process = fork(), .output = ends[0]};
    check(child.process >= 0);
    if (child.process == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        for (int number = 1; number < NSIG; number++)
            signal(number, SIG_DFL);
        alarm(60);
    }
    close(ends[1]);
    return child;
}

/* Waits for the child; its exit status, or minus the number of the signal that killed it. */
static inline int child_end(const struct child *child, char *output, size_t size)
{
    size_t length = 0;
    ssize_t part;
    while (length < size - 1 && (part = read(child->output, output + length, size - 1 - length)) > 0)
        length += (size_t)part;
    output[length] = '\0';
    close(child->output);
    int status;
    check(waitpid(child->process, &status, 0) == child->process);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline void child_expect(const struct child *child, int expected_end, const char *expected_output,
                                const char *file, int line)
{
    char output[1024];
    int end = child_end(child, output, sizeof output);
    if (end == expected_end && strcmp(output, expected_output) == 0)
        return;
    dprintf(STDERR_FILENO, "%s:%d: a child ended with %d instead of %d and wrote\n%sinstead of\n%s", file,
            line, end, expected_end, output, expected_output);
    abort();
}

/* The statements end the process by abort after writing exactly `line` (and a newline). */
#define expect_fatal(line, ...)                                                                              \
    do {                                                                                                     \
        char expected_[400];                                                                                 \
        snprintf(expected_, sizeof expected_, "%s\n", line);                                                 \
        struct child child_ = child_begin();                                                                 \
        if (child_.process == 0) {                                                                           \
            __VA_ARGS__;                                                                                     \
            _exit(0);                                                                                        \
        }                                                                                                    \
        child_expect(&child_, -SIGABRT, expected_, __FILE__, __LINE__);                                      \
    } while (0)

/* The statements come through in a forked child. */
#define expect_in_child(...)                                                                                 \
    do {                                                                                                     \
        struct child child_ = child_begin();                                                                 \
        if (child_.process == 0) {                                                                           \
            __VA_ARGS__;                                                                                     \
            _exit(0);                                                                                        \
        }                                                                                                    \
        child_expect(&child_, 0, "", __FILE__, __LINE__);                                                    \
    } while (0)

#endif
