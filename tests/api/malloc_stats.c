/* malloc_stats: on stderr, in the lines that people and scripts know from glibc. */
#include "blocks.h"
#include "fresh.h"

#include <pthread.h>
#include <regex.h>
#include <stdbool.h>

CONTRACT_OF(malloc_stats);

FRESH(report)
{
    for (size_t i = 0; i < 100; i++)
        check(malloc(5000));
    check(malloc(3 * MIB));
    void *freed = malloc(2 * MIB);
    free(freed);
    struct mallinfo2 info = mallinfo2();
    dprintf(STDOUT_FILENO, "%zu %zu %zu\n", info.arena, info.uordblks, info.hblkhd);
    malloc_stats();
}

/* Matches `pattern` at the start of *text, moves *text past it, and returns the number it captured, if
   any. */
static unsigned long long take(const char **text, const char *pattern)
{
    regex_t compiled;
    regmatch_t matches[2];
    cr_assert_eq(regcomp(&compiled, pattern, REG_EXTENDED), 0);
    int found = regexec(&compiled, *text, 2, matches, 0) == 0;
    regfree(&compiled);
    cr_assert(found, "no match for %s in:\n%s", pattern, *text);
    unsigned long long number = matches[1].rm_so >= 0 ? strtoull(*text + matches[1].rm_so, NULL, 10) : 0;
    *text += matches[0].rm_eo;
    return number;
}

Test(malloc_stats, has_the_known_lines_and_numbers)
{
    expect_fresh(report);
    const char *text = fresh_output;
    unsigned long long arena = take(&text, "^([0-9]+)"), in_use = take(&text, "^ ([0-9]+)");
    unsigned long long mapped = take(&text, "^ ([0-9]+)\n");

    unsigned arenas = 0;
    unsigned long long sum_system = 0, sum_in_use = 0;
    while (strncmp(text, "Arena", 5) == 0) {
        cr_assert_eq(take(&text, "^Arena ([0-9]+):\n"), arenas);
        sum_system += take(&text, "^system bytes     = ( {0,9}[0-9]+)\n");
        sum_in_use += take(&text, "^in use bytes     = ( {0,9}[0-9]+)\n");
        arenas++;
    }
    cr_assert_geq(arenas, 1);
    take(&text, "^Total \\(incl. mmap\\):\n");
    cr_assert_eq(take(&text, "^system bytes     = ( {0,9}[0-9]+)\n"), sum_system + mapped);
    cr_assert_eq(take(&text, "^in use bytes     = ( {0,9}[0-9]+)\n"), sum_in_use + mapped);
    cr_assert_eq(take(&text, "^max mmap regions = ( {0,9}[0-9]+)\n"), 2);
    unsigned long long largest = take(&text, "^max mmap bytes   = ( {0,9}[0-9]+)\n");
    cr_assert_geq(largest, 5 * MIB);
    cr_assert_leq(largest, 5 * MIB + 2 * page_size());
    cr_assert_str_empty(text);

    cr_assert_geq(mapped, 3 * MIB);
    cr_assert_eq(sum_system, arena);
    cr_assert_eq(sum_in_use, in_use);
    cr_assert_geq(sum_in_use, 500000);
}

FRESH(quiet)
{
    errno = 4321;
    for (int i = 0; i < 10; i++)
        malloc_stats();
    struct mallinfo2 before = mallinfo2();
    malloc_stats();
    check(mallinfo2().uordblks == before.uordblks);
}

Test(malloc_stats, allocates_nothing)
{
    expect_fresh(quiet);
}

static void *report_while_cancelled(void *returned)
{
    pthread_cancel(pthread_self());
    malloc_stats();
    *(bool *)returned = true;
    pthread_testcancel();
    return NULL;
}

FRESH(cancelled)
{
    pthread_t thread;
    bool returned = false;
    void *result;
    check(pthread_create(&thread, NULL, report_while_cancelled, &returned) == 0);
    check(pthread_join(thread, &result) == 0);
    check(returned);
    check(result == PTHREAD_CANCELED); /* the request is still pending after the report */
}

static const char whole_report[] =
    "^(Arena [0-9]+:\nsystem bytes     = +[0-9]+\nin use bytes     = +[0-9]+\n)+"
    "Total \\(incl. mmap\\):\nsystem bytes     = +[0-9]+\nin use bytes     = +[0-9]+\n"
    "max mmap regions = +[0-9]+\nmax mmap bytes   = +[0-9]+\n";

Test(malloc_stats, is_no_cancellation_point)
{
    expect_fresh(cancelled);
    const char *text = fresh_output;
    take(&text, whole_report);
    cr_assert_str_empty(text);
}

enum { REPORTERS = 3, REPORTS = 30 };

static void *report_again_and_again(void *start)
{
    pthread_barrier_wait(start);
    for (int i = 0; i < REPORTS; i++)
        malloc_stats();
    return NULL;
}

FRESH(together)
{
    pthread_t threads[REPORTERS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, REPORTERS);
    for (size_t i = 0; i < REPORTERS; i++)
        check(pthread_create(&threads[i], NULL, report_again_and_again, &start) == 0);
    for (size_t i = 0; i < REPORTERS; i++)
        check(pthread_join(threads[i], NULL) == 0);
}

/* Brim's promise alone: glibc's may mix. */
Test(malloc_stats, reports_of_several_threads_do_not_mix)
{
    if (!brim_owns)
        cr_skip_test("glibc does not promise it");
    expect_fresh(together);
    const char *text = fresh_output;
    for (size_t i = 0; i < (size_t)REPORTERS * REPORTS; i++)
        take(&text, whole_report);
    cr_assert_str_empty(text);
}
