/* options.c: what each form of the environment gives, which one wins, and what is refused with which line. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/diag.c"
#include "allocator/print.c"

#include "allocator/options.c"

#define READ(...) options_init((char *[]){__VA_ARGS__, NULL})

static bool given(enum option option, size_t expected)
{
    size_t value;
    return option_given(option, &value) && value == expected;
}

static bool nothing_given(void)
{
    size_t value;
    for (enum option i = 0; i < OPTION_COUNT; i++)
        if (option_given(i, &value))
            return false;
    return true;
}

/* Reading these strings writes exactly this, and leaves nothing set. */
#define expect_refused(line, ...)                                                                            \
    do {                                                                                                     \
        struct child child_ = child_begin();                                                                 \
        if (child_.process == 0) {                                                                           \
            READ(__VA_ARGS__);                                                                               \
            _exit(nothing_given() ? 0 : 1);                                                                  \
        }                                                                                                    \
        child_expect(&child_, 0, line, __FILE__, __LINE__);                                                  \
    } while (0)

Test(options, nothing_is_given_by_default)
{
    check(nothing_given());
    options_init(NULL);
    READ("HOME=/root", "MALLOC", "GLIBC_TUNABLES", "BRIM_", "BRIM", "MALLOC_=1", "BRIM_=1",
         "MALLOC_TOP_PAD=1", "XBRIM_TOP_PAD=1", "BRIM_TOP_PAD_=1", "BRIM_TOP=1",
         "GLIBC_TUNABLES=", "GLIBC_TUNABLES=::", "=5");
    check(nothing_given());
}

Test(options, glibc_variables)
{
    READ("MALLOC_TOP_PAD_=4096", "MALLOC_TRIM_THRESHOLD_=0x10000", "MALLOC_MMAP_THRESHOLD_=0400000",
         "MALLOC_MMAP_MAX_=7", "MALLOC_PERTURB_=90", "MALLOC_ARENA_MAX=2", "MALLOC_ARENA_TEST=3",
         "MALLOC_CHECK_=3");
    check(given(OPTION_top_pad, 4096) && given(OPTION_trim_threshold, 65536) &&
          given(OPTION_mmap_threshold, 131072));
    check(given(OPTION_mmap_max, 7) && given(OPTION_perturb, 90) && given(OPTION_arena_max, 2));
    check(given(OPTION_arena_test, 3) && given(OPTION_check, 3));
}

Test(options, tunables)
{
    READ("GLIBC_TUNABLES=glibc.malloc.top_pad=1:glibc.rtld.nns=5:junk:glibc.malloc.mmap_max=0x2:glibc.malloc."
         "perturb=03:"
         "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=-1:glibc.malloc.top_padx=9:glibc.malloc."
         "hugetlb=2");
    check(given(OPTION_top_pad, 1) && given(OPTION_mmap_max, 2) && given(OPTION_perturb, 3));
    check(given(OPTION_tcache_count, 0) && given(OPTION_trim_threshold, SIZE_MAX) &&
          given(OPTION_hugetlb, 2));
}

/* Options that glibc does not have cannot be set by an empty name. */
Test(options, tunable_without_a_name)
{
    READ("GLIBC_TUNABLES=glibc.malloc.=1:glibc.malloc.mmap_threshold_max=5:glibc.malloc.many_pad=5");
    check(nothing_given());
}

Test(options, own_variables)
{
    READ("BRIM_TOP_PAD=1", "BRIM_mmap_threshold_max=2", "BRIM_Many_Pad=3", "BRIM_MMAP_THRESHOLD_DYNAMIC=0",
         "BRIM_STATS=json", "BRIM_ARENA_MAX=5", "BRIM_PERTURB=255");
    check(given(OPTION_top_pad, 1) && given(OPTION_mmap_threshold_max, 2) && given(OPTION_many_pad, 3));
    check(given(OPTION_mmap_threshold_dynamic, 0) && given(OPTION_stats, 2) && given(OPTION_perturb, 255));
    size_t value;
    check(!option_given(OPTION_arena_max, &value)); /* without effect: glibc's own name is the only one */
}

/* Whatever the order: tunables win over glibc's variables, brim's over both; of two alike the later, but
   for glibc's variables. */
Test(options, who_wins)
{
    static char *const said[] = {"MALLOC_TOP_PAD_=1", "GLIBC_TUNABLES=glibc.malloc.top_pad=2",
                                 "BRIM_TOP_PAD=3"};
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int order = 0; order < 6; order++) {
        size_t most = 0;
        memset(option_settings, 0, sizeof option_settings);
        for (int i = 0; i < 3; i++) {
            READ(said[orders[order][i]]);
            most = max_size(most, (size_t)orders[order][i] + 1);
            check(given(OPTION_top_pad, most));
        }
    }
    memset(option_settings, 0, sizeof option_settings);
    READ("GLIBC_TUNABLES=glibc.malloc.top_pad=5:glibc.malloc.top_pad=6");
    check(given(OPTION_top_pad, 6));
    READ("MALLOC_PERTURB_=256", "MALLOC_PERTURB_=5", "MALLOC_PERTURB_=6"); /* as glibc: the first that counts */
    check(given(OPTION_perturb, 5));
}

Test(options, numbers)
{
    static const struct {
        const char *text;
        size_t value;
        bool whole;
    } rows[] = {
        {"0", 0, true},
        {"007", 7, true},
        {"0x1F", 31, true},
        {"0Xff", 255, true},
        {" \t12", 12, true},
        {"+5", 5, true},
        {"-1", SIZE_MAX, true},
        {"-0x10", -(size_t)16, true},
        {"", 0, false},
        {"x", 0, false},
        {"-", 0, false},
        {"1k", 1, false},
        {"12 ", 12, false},
        {"08", 0, false},
        {"0x", 0, false},
        {"0xg", 0, false},
        {"1e3", 1, false},
        {"99999999999999999999", SIZE_MAX, false},
        {"9223372036854775807", SIZE_MAX / 2, true},
        {"0xffffffffffffffff0", SIZE_MAX, false},
        {"- 1", 0, false},
        {"--1", 0, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool whole;
        size_t value = number_parse((struct text){rows[i].text, strlen(rows[i].text)}, &whole);
        check(value == rows[i].value && whole == rows[i].whole);
    }
}

Test(options, refusals)
{
    expect_refused("brim: not a number, ignored: BRIM_TOP_PAD=many\n", "BRIM_TOP_PAD=many");
    expect_refused("brim: not a number, ignored: BRIM_TOP_PAD=\n", "BRIM_TOP_PAD=");
    expect_refused("brim: not a number, ignored: BRIM_STATS=xml\n", "BRIM_STATS=xml");
    expect_refused("brim: out of range, ignored: BRIM_PERTURB=256\n", "BRIM_PERTURB=256");
    expect_refused("brim: out of range, ignored: MALLOC_PERTURB_=-1\n", "MALLOC_PERTURB_=-1");
    expect_refused("brim: out of range, ignored: glibc.malloc.mmap_max=-1\n",
                   "GLIBC_TUNABLES=glibc.malloc.mmap_max=-1");
    expect_refused("brim: out of range, ignored: MALLOC_ARENA_MAX=0\n", "MALLOC_ARENA_MAX=0");
}

/* glibc reads what it can of a malformed number of its own; so do we, and say so. */
Test(options, malformed_numbers_of_glibc)
{
    struct child child = child_begin();
    if (child.process == 0) {
        READ("MALLOC_TOP_PAD_=12k");
        _exit(given(OPTION_top_pad, 12) ? 0 : 1);
    }
    child_expect(&child, 0, "brim: malformed number, read as glibc reads it: MALLOC_TOP_PAD_=12k\n", __FILE__,
                 __LINE__);
}

Test(options, long_values_are_cut)
{
    char variable[600] = "BRIM_TOP_PAD=", output[1000];
    memset(variable + 13, 'z', sizeof variable - 14);
    struct child child = child_begin();
    if (child.process == 0) {
        READ(variable);
        _exit(nothing_given() ? 0 : 1);
    }
    check(child_end(&child, output, sizeof output) == 0);
    check(strncmp(output, "brim: not a number, ignored: BRIM_TOP_PAD=zzz", 45) == 0 && strlen(output) < 200);
    check(output[strlen(output) - 1] == '\n');
}

Test(options, help)
{
    char output[16384];
    struct child child = child_begin();
    if (child.process == 0) {
        READ("BRIM_HELP=1");
        _exit(0);
    }
    check(child_end(&child, output, sizeof output) == 0);
    for (enum option i = 0; i < OPTION_COUNT; i++) /* every option, with what it does */
        check(strstr(output, option_rows[i].help));
    check(strstr(output, "BRIM_TOP_PAD=131072\n") && strstr(output, "glibc.malloc.tcache_count"));
}

Test(options, look_up)
{
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        enum option found = option_find(option_rows[i].name);
        check(found == (option_rows[i].when == WITHOUT_EFFECT ? OPTION_COUNT : i));
        check(option_when(i) == option_rows[i].when);
        check(option_in_bounds(i, option_rows[i].least) && option_in_bounds(i, option_rows[i].most));
        check(option_rows[i].least == 0 || !option_in_bounds(i, option_rows[i].least - 1));
        check(option_rows[i].most == SIZE_MAX || !option_in_bounds(i, option_rows[i].most + 1));
    }
    check(option_find("Top_Pad") == OPTION_top_pad && option_find("") == OPTION_COUNT);
    check(option_find("top") == OPTION_COUNT && option_find("top_pads") == OPTION_COUNT);
    check(OPTION_DEFAULT(mmap_threshold) == 131072 && OPTION_DEFAULT(mmap_threshold_max) == 32 << 20);
}
