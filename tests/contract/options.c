/* brim's options: by name from the program, by BRIM_<NAME> from the environment, beside glibc's names; what is said
   about values that are wrong; and the list that BRIM_HELP prints. */
#include "../api/blocks.h"
#include "../api/fresh.h"

#include <brim.h>

CONTRACT_OF(options);

static size_t option(const char *name)
{
    size_t value = 12345;
    check(brim_option_get(name, &value) == 0);
    return value;
}

static const struct {
    const char *name;
    size_t value;
} defaults[] = {
    {"mmap_threshold", 131072}, {"mmap_threshold_max", 32 * MIB}, {"mmap_threshold_dynamic", 1}, {"mmap_max", 65536},
    {"trim_threshold", 131072}, {"top_pad", 131072}, {"many_pad", MIB}, {"perturb", 0}, {"foreign_free", 0},
    {"sample_guard_slots", 1024}, {"sample_guard", 0}, {"stats", 0},
    {"help", 0},
};

FRESH(have_their_defaults)
{
    for (size_t i = 0; i < COUNT_OF(defaults); i++)
        check(option(defaults[i].name) == defaults[i].value);
    check(option("Top_Pad") == 131072 && option("TOP_PAD") == 131072);
}

FRESH(refuse)
{
    size_t value = 777;
    static const char *const unknown[] = {"",         "top",          "top_pad_",  "top_padx",
                                          "topx_pad", "BRIM_TOP_PAD", "arena_max", "tcache_count"};
    errno = 4321;
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        check(brim_option_get(unknown[i], &value) == ENOENT && value == 777);
        check(brim_option_set(unknown[i], 1) == ENOENT);
    }
    check(brim_option_set("help", 1) == EPERM);
    check(brim_option_set("perturb", 256) == EINVAL && option("perturb") == 0);
    check(brim_option_set("foreign_free", 2) == EINVAL && option("foreign_free") == 0);
    check(brim_option_set("stats", 3) == EINVAL && option("stats") == 0);
    check(brim_option_set("sample_guard", ((size_t)1 << 30) + 1) == EINVAL && option("sample_guard") == 0);
    check(brim_option_set("sample_guard_slots", 0) == EINVAL && option("sample_guard_slots") == 1024);
    check(brim_option_set("mmap_max", (size_t)INT32_MAX + 1) == EINVAL && option("mmap_max") == 65536);
    check(brim_option_set("mmap_threshold_dynamic", 2) == EINVAL && option("mmap_threshold_dynamic") == 1);
    check(errno == 4321);
}

Test(options, have_defaults_and_bounds)
{
    expect_fresh(have_their_defaults);
    expect_fresh(refuse);
}

/* What is set can be read, and acts. */
FRESH(set_by_the_program)
{
    check(brim_option_set("mmap_threshold", 4 * MIB) == 0);
    check(option("mmap_threshold") == 4 * MIB && option("mmap_threshold_dynamic") == 0);
    check(lies_on_break(malloc(2 * MIB)));
    check(brim_option_set("mmap_threshold", 65536) == 0);
    void *mapped = malloc(8 * MIB);
    check(!lies_on_break(mapped));
    free(mapped);
    check(option("mmap_threshold") == 65536);
    check(brim_option_set("mmap_threshold_dynamic", 1) == 0);
    free(malloc(8 * MIB));
    check(option("mmap_threshold") == 8 * MIB + page_size() && option("trim_threshold") == 16 * MIB + 2 * page_size());
    check(brim_option_set("mmap_max", 0) == 0 && option("mmap_max") == 0);
    check(lies_on_break(malloc(100 * MIB)));
    check(brim_option_set("perturb", 0xa5) == 0 && option("perturb") == 0xa5);
    unsigned char *block = malloc(1000);
    check(first_other_than(block, 1000, 0x5a) == 1000);
    check(brim_option_set("foreign_free", 1) == 0 && option("foreign_free") == 1);
    check(brim_option_set("trim_threshold", SIZE_MAX) == 0 && option("trim_threshold") == SIZE_MAX);
    check(mallopt(M_TRIM_THRESHOLD, 5000) == 1 && option("trim_threshold") == 5000);
    check(mallopt(M_TOP_PAD, 9000) == 1 && option("top_pad") == 9000 && option("many_pad") == 9000);
    check(mallopt(M_MMAP_MAX, -3) == 1 && option("mmap_max") == 0);
}

FRESH(sample_by_the_program)
{
    check(brim_option_set("sample_guard_slots", 5) == 0 && option("sample_guard_slots") == 5);
    check(brim_option_set("sample_guard", 1) == 0 && option("sample_guard") == 1);
    void *guarded[5];
    for (int i = 0; i < 5; i++) {
        guarded[i] = malloc(100);
        check(brim_owns(guarded[i]) && !lies_on_break(guarded[i]) && malloc_usable_size(guarded[i]) == 100);
    }
    check(lies_on_break(malloc(100))); /* all slots are in use */
    free(guarded[0]);
    guarded[0] = calloc(10, 10);
    check(!lies_on_break(guarded[0]) && first_other_than(guarded[0], 100, 0) == 100);
    check(brim_option_set("sample_guard", 0) == 0 && option("sample_guard") == 0);
    for (int i = 0; i < 5; i++)
        free(guarded[i]);
    check(lies_on_break(malloc(100)));
    check(brim_option_set("sample_guard", 1) == 0 && !lies_on_break(malloc(100)));
}

/* A lower bound on what raises the threshold: freeing larger mappings leaves it alone. */
FRESH(threshold_max)
{
    check(brim_option_set("mmap_threshold_max", MIB) == 0);
    free(malloc(2 * MIB));
    check(option("mmap_threshold") == 131072);
    free(malloc(MIB / 2));
    check(option("mmap_threshold") == MIB / 2 + page_size());
}

Test(options, can_be_set_by_the_program)
{
    expect_fresh(set_by_the_program);
    expect_fresh(threshold_max);
    expect_fresh(sample_by_the_program);
}

/* EXPECTED is "name=value name=value ...". */
FRESH(have)
{
    char name[64];
    size_t value;
    int length;
    for (const char *at = getenv("EXPECTED"); sscanf(at, " %63[a-z_]=%zi%n", name, (ssize_t *)&value, &length) == 2;
         at += length)
        check(option(name) == value);
}

static void expect_said(const char *line)
{
    cr_assert_str_eq(fresh_output, line);
}

Test(options, are_read_from_the_environment)
{
    expect_fresh(have, "BRIM_TOP_PAD=65536", "EXPECTED=top_pad=65536 many_pad=65536 mmap_threshold_dynamic=0");
    expect_fresh(have, "BRIM_MMAP_THRESHOLD=0x100000", "EXPECTED=mmap_threshold=1048576");
    expect_fresh(have, "BRIM_TRIM_THRESHOLD=-1", "EXPECTED=trim_threshold=-1");
    expect_fresh(have, "BRIM_MANY_PAD=0", "EXPECTED=many_pad=0 top_pad=131072 mmap_threshold_dynamic=1");
    expect_fresh(have, "BRIM_MMAP_THRESHOLD_DYNAMIC=0", "EXPECTED=mmap_threshold_dynamic=0");
    expect_fresh(have, "BRIM_SAMPLE_GUARD=1000", "BRIM_SAMPLE_GUARD_SLOTS=77",
                 "EXPECTED=sample_guard=1000 sample_guard_slots=77");
    expect_said("");
}

Test(options, of_the_environment_have_an_order)
{
    expect_fresh(have, "BRIM_MMAP_MAX=3", "MALLOC_MMAP_MAX_=1", "GLIBC_TUNABLES=glibc.malloc.mmap_max=2",
                 "EXPECTED=mmap_max=3");
    expect_fresh(have, "MALLOC_MMAP_MAX_=1", "GLIBC_TUNABLES=glibc.malloc.mmap_max=2", "EXPECTED=mmap_max=2");
    expect_fresh(have, "MALLOC_MMAP_MAX_=1", "EXPECTED=mmap_max=1");
    expect_said("");
}

/* One line for each value that is wrong; glibc's are then read as glibc reads them, ours not at all. */
Test(options, that_are_malformed_get_a_warning)
{
    expect_fresh(have, "BRIM_TOP_PAD=64k", "EXPECTED=top_pad=131072");
    expect_said("brim: not a number, ignored: BRIM_TOP_PAD=64k\n");
    expect_fresh(have, "BRIM_PERTURB=", "EXPECTED=perturb=0");
    expect_said("brim: not a number, ignored: BRIM_PERTURB=\n");
    expect_fresh(have, "BRIM_PERTURB=300", "EXPECTED=perturb=0");
    expect_said("brim: out of range, ignored: BRIM_PERTURB=300\n");
    expect_fresh(have, "BRIM_STATS=xml", "EXPECTED=stats=0");
    expect_said("brim: not a number, ignored: BRIM_STATS=xml\n");
    expect_fresh(have, "MALLOC_TOP_PAD_=64k", "EXPECTED=top_pad=64");
    expect_said("brim: malformed number, read as glibc reads it: MALLOC_TOP_PAD_=64k\n");
    expect_fresh(have, "MALLOC_ARENA_MAX=many", "EXPECTED=top_pad=131072");
    expect_said("brim: out of range, ignored: MALLOC_ARENA_MAX=many\n");
    expect_fresh(have, "GLIBC_TUNABLES=glibc.malloc.mmap_max=:glibc.malloc.top_pad=9:glibc.malloc.perturb=0x1ff",
                 "EXPECTED=mmap_max=0 top_pad=9 perturb=0");
    expect_said("brim: malformed number, read as glibc reads it: glibc.malloc.mmap_max=\n"
                "brim: out of range, ignored: glibc.malloc.perturb=0x1ff\n");
    expect_fresh(have, "MALLOC_MMAP_THRESHOLD_=99999999999999999999999", "EXPECTED=mmap_threshold=-1");
    expect_said("brim: malformed number, read as glibc reads it: MALLOC_MMAP_THRESHOLD_=99999999999999999999999\n");
    expect_fresh(have, "MALLOC_CHECK_=7", "GLIBC_TUNABLES=glibc.malloc.tcache_count=x:glibc.cpu.hwcaps=x", "EXPECTED=");
    expect_said("brim: out of range, ignored: MALLOC_CHECK_=7\n"
                "brim: malformed number, read as glibc reads it: glibc.malloc.tcache_count=x\n");
}

FRESH(nothing)
{
}

Test(options, are_listed_with_their_defaults)
{
    expect_fresh(nothing, "BRIM_HELP=1");
    for (size_t i = 0; i < COUNT_OF(defaults); i++) {
        char line[128] = "\n  BRIM_";
        size_t length = strlen(line);
        for (const char *at = defaults[i].name; *at; at++)
            line[length++] = (char)(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
        snprintf(line + length, sizeof line - length, "=%zu", defaults[i].value);
        cr_assert_not_null(strstr(fresh_output, line), "no%s in:\n%s", line, fresh_output);
    }
    static const char *const of_glibc[] = {
        "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "MALLOC_PERTURB_",
        "MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "MALLOC_CHECK_", "glibc.malloc.mxfast", "glibc.malloc.tcache_max",
        "glibc.malloc.tcache_count", "glibc.malloc.tcache_unsorted_limit", "glibc.malloc.hugetlb",
    };
    for (size_t i = 0; i < COUNT_OF(of_glibc); i++)
        cr_assert_not_null(strstr(fresh_output, of_glibc[i]), "no %s in:\n%s", of_glibc[i], fresh_output);
    expect_fresh(nothing, "BRIM_HELP=0");
    expect_said("");
}
