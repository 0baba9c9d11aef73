/* options.c: see options.h. */
#include "options.h"

#include "diag.h"
#include "print.h"

#include <sys/auxv.h>
#include <unistd.h>

/* Arrays, not pointers: a table of pointers would have to be relocated, in pages of each process's own. */
struct option_row {
    char name[24], variable[24], tunable[24], help[96];
    size_t fallback, least, most;
    enum option_when when;
};

static const LAST_CONSTANT struct option_row option_rows[OPTION_COUNT] = {
#define OPTION(name, fallback, least, most, when, variable, tunable, help)                                             \
    [OPTION_##name] = {#name, variable, tunable, help, fallback, least, most, when},
#include "options.def"
#undef OPTION
};

/* Who said it: a later one wins. */
enum option_source { NOBODY, GLIBC_VARIABLE, GLIBC_TUNABLE, BRIM_VARIABLE };

static struct option_setting {
    size_t value;
    enum option_source source;
} option_settings[OPTION_COUNT]; /* written by options_init alone */

/* ---- values ---- */

/* A string that ends at a length: a part of the environment. */
struct text {
    const char *at;
    size_t length;
};

static bool text_is(struct text text, const char *word)
{
    return strlen(word) == text.length && memcmp(text.at, word, text.length) == 0;
}

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

static bool text_is_any_case(struct text text, const char *word)
{
    size_t i = 0;
    while (i < text.length && word[i] != '\0' && upper(text.at[i]) == upper(word[i]))
        i++;
    return i == text.length && word[i] == '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = upper(c);
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* The number that glibc's loader reads (its _dl_strtoul): blanks, a sign that negates modulo 2^64, then 0x and
   hexadecimal, 0 and octal, or decimal digits, up to the first that is none; 0 if there is none, the largest number
   if they are too many. `*whole`: the text is that number and nothing else. */
static size_t number_parse(struct text text, bool *whole)
{
    const char *at = text.at, *end = text.at + text.length;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    *whole = at < end && *at >= '0' && *at <= '9';
    if (!*whole)
        return 0;
    size_t base = 10, number = 0;
    if (*at == '0' && end - at > 2 && upper(at[1]) == 'X') {
        base = 16;
        at += 2;
    } else if (*at == '0') {
        base = 8;
    }
    for (; at < end && (size_t)digit_value(*at) < base; at++) {
        size_t digit = (size_t)digit_value(*at);
        if (number >= (SIZE_MAX - digit) / base) {
            *whole = false;
            return SIZE_MAX;
        }
        number = number * base + digit;
    }
    *whole = at == end;
    return negative ? -number : number;
}

/* ---- one setting ---- */

/* `name` is as the user wrote it; `=` and the value follow. */
static void complain(const char *what, struct text name, struct text value)
{
    char detail[96];
    size_t length = min_size(name.length + 1 + value.length, sizeof detail - 1);
    memcpy(detail, name.at, length);
    detail[length] = '\0';
    diag_warn(what, detail);
}

RARE void setting_take(enum option option, enum option_source source, struct text name, struct text text)
{
    bool whole;
    size_t value = number_parse(text, &whole);
    if (option == OPTION_stats && (text_is(text, "json") || text_is(text, "text"))) {
        value = text_is(text, "json") ? 2 : 1;
        whole = true;
    }
    if (!whole && source == BRIM_VARIABLE) {
        complain("not a number, ignored", name, text);
    } else if (!option_in_bounds(option, value)) {
        complain("out of range, ignored", name, text);
    } else {
        if (!whole)
            complain("malformed number, read as glibc reads it", name, text);
        struct option_setting *setting = &option_settings[option];
        /* glibc's own variables: the first of two alike, as for getenv; the loader takes the last of two tunables. */
        if (source > setting->source || (source == setting->source && source != GLIBC_VARIABLE))
            *setting = (struct option_setting){value, source};
    }
}

/* ---- the three forms ---- */

/* What every name begins with. Arrays: every program's environment is looked through, and strings are among the
   constants that hardly any program reads (layout.ld). */
static const char own_prefix[] = "BRIM_", glibc_prefix[] = "MALLOC_", tunables_name[] = "GLIBC_TUNABLES";

static bool has_prefix(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

/* GLIBC_TUNABLES: name=value pairs, separated by colons. A part without a value is passed over. */
RARE void tunables_read(const char *tunables)
{
    static const char prefix[] = "glibc.malloc.";
    while (*tunables != '\0') {
        struct text pair = {tunables, strcspn(tunables, ":")};
        const char *sign = memchr(pair.at, '=', pair.length);
        tunables += pair.length + (pair.at[pair.length] == ':');
        if (!sign || !has_prefix(pair.at, prefix))
            continue;
        struct text name = {pair.at, (size_t)(sign - pair.at)};
        struct text last_name = {name.at + sizeof prefix - 1, name.length - (sizeof prefix - 1)};
        struct text value = {sign + 1, pair.length - name.length - 1};
        for (enum option i = 0; i < OPTION_COUNT; i++)
            if (last_name.length != 0 && text_is(last_name, option_rows[i].tunable))
                setting_take(i, GLIBC_TUNABLE, name, value);
    }
}

RARE void variable_read(const char *variable)
{
    const char *sign = strchr(variable, '=');
    if (!sign)
        return;
    struct text name = {variable, (size_t)(sign - variable)}, value = {sign + 1, strlen(sign + 1)};
    if (text_is(name, tunables_name)) {
        tunables_read(value.at);
        return;
    }
    struct text own_name = {0};
    if (has_prefix(variable, own_prefix))
        own_name = (struct text){variable + sizeof own_prefix - 1, name.length - (sizeof own_prefix - 1)};
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (text_is(name, row->variable))
            setting_take(i, GLIBC_VARIABLE, name, value);
        else if (own_name.at && row->when != WITHOUT_EFFECT && text_is_any_case(own_name, row->name))
            setting_take(i, BRIM_VARIABLE, name, value);
    }
}

RARE void help_print(void)
{
    struct print out = {.fd = STDERR_FILENO};
    print(&out, "brim: options. Each is BRIM_<NAME> in the environment; glibc's names and tunables work, too.\n");
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->when == WITHOUT_EFFECT)
            continue;
        char name[40];
        for (size_t at = 0; at == 0 || name[at - 1] != '\0'; at++)
            name[at] = upper(row->name[at]);
        print(&out, "  BRIM_%s=%zu%s\n      %s\n", name, row->fallback,
              row->when == AT_START ? " (at the start only)" : "", row->help);
        if (row->variable[0] != '\0')
            print(&out, "      glibc: %s, glibc.malloc.%s\n", row->variable, row->tunable);
    }
    print(&out, "Accepted without effect:\n");
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->when == WITHOUT_EFFECT)
            print(&out, "  %s%sglibc.malloc.%s: %s\n", row->variable, row->variable[0] != '\0' ? ", " : "",
                  row->tunable, row->help);
    }
    print_flush(&out);
}

static void options_init(char *const environment[])
{
    if (!environment || getauxval(AT_SECURE) != 0)
        return;
    for (; *environment; environment++)
        if (has_prefix(*environment, own_prefix) || has_prefix(*environment, glibc_prefix) ||
            has_prefix(*environment, tunables_name))
            variable_read(*environment);
    if (option_settings[OPTION_help].value != 0)
        help_print();
}

/* ---- looking up ---- */

static bool option_given(enum option option, size_t *value)
{
    *value = option_settings[option].value;
    return option_settings[option].source != NOBODY;
}

static enum option option_find(const char *name)
{
    struct text text = {name, strlen(name)};
    for (enum option i = 0; i < OPTION_COUNT; i++)
        if (option_rows[i].when != WITHOUT_EFFECT && text_is_any_case(text, option_rows[i].name))
            return i;
    return OPTION_COUNT;
}

static bool option_in_bounds(enum option option, size_t value)
{
    const struct option_row *row = &option_rows[option];
    return value >= row->least && value <= row->most;
}

static enum option_when option_when(enum option option) { return option_rows[option].when; }
