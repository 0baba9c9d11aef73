/* environment.c: what an environment makes of the options, against a reference that says it in other words: names and
   values as glibc 2.36 takes them from its variables and from GLIBC_TUNABLES (as `ld.so --list-tunables` shows them),
   and BRIM_ ones as options.h promises.

   An input is the strings of an environment, each ended by NUL. */
#include "fuzz.h"

#include "allocator/base.h"

/* Its complaints are counted instead of written: each is one line. */
static size_t lines;
static long write_line(const char *text, size_t length)
{
    expect(length > 0 && text[length - 1] == '\n');
    lines++;
    return (long)length;
}
#include <sys/syscall.h>
#include <unistd.h>
#define syscall(number, file, text, length) ((void)(number), (void)(file), write_line(text, length))
#include "allocator/diag.c"
#undef syscall
#include "allocator/print.c"

#include "allocator/options.c"

/* ---- numbers ---- */

static int value_of(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : 99;
}

/* As the loader reads a number; `*whole`: nothing precedes or follows it but blanks and a sign before. */
static uint64_t reference_number(const char *text, bool *whole)
{
    text += strspn(text, " \t");
    bool negative = *text == '-';
    text += *text == '-' || *text == '+';
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    int base = hexadecimal ? 16 : text[0] == '0' ? 8 : 10;
    *whole = false;
    if (value_of(*text) > 9)
        return 0;
    text += hexadecimal ? 2 : 0;
    const char *first = text;
    unsigned __int128 number = 0;
    for (; value_of(*text) < base; text++) {
        /* The largest number but one that ends in this digit is refused already, and then its sign is lost. */
        if (number >= (UINT64_MAX - (uint64_t)value_of(*text)) / (uint64_t)base)
            return UINT64_MAX;
        number = number * (unsigned)base + (unsigned)value_of(*text);
    }
    *whole = *text == '\0' && text != first;
    return negative ? -(uint64_t)number : (uint64_t)number;
}

/* ---- the rules ---- */

static struct expected {
    uint64_t value;
    int rank; /* 0: not given, 1: by glibc's variable, 2: by a tunable, 3: by ours */
} expected[OPTION_COUNT];

static void reference_take(enum option option, int rank, const char *text)
{
    bool whole;
    uint64_t value = reference_number(text, &whole);
    if (option == OPTION_stats && (strcmp(text, "json") == 0 || strcmp(text, "text") == 0)) {
        value = text[0] == 'j' ? 2 : 1;
        whole = true;
    }
    struct expected *now = &expected[option];
    bool in_bounds = value >= option_rows[option].least && value <= option_rows[option].most;
    /* A variable of glibc's that is there twice: the first one counts. */
    if ((rank == 3 && !whole) || !in_bounds || rank < now->rank || (rank == 1 && now->rank == 1))
        return;
    *now = (struct expected){value, rank};
}

static void reference_tunables(char *text)
{
    for (char *rest = text, *pair; (pair = strsep(&rest, ":"));) {
        char *value = strchr(pair, '=');
        if (!value)
            continue;
        *value++ = '\0';
        for (enum option i = 0; i < OPTION_COUNT; i++) {
            char name[64];
            snprintf(name, sizeof name, "glibc.malloc.%s", option_rows[i].tunable);
            if (option_rows[i].tunable[0] != '\0' && strcmp(name, pair) == 0)
                reference_take(i, 2, value);
        }
    }
}

static void reference_variable(const char *variable)
{
    char *copy = strdup(variable), *value = strchr(copy, '=');
    if (value) {
        *value++ = '\0';
        if (strcmp(copy, "GLIBC_TUNABLES") == 0)
            reference_tunables(value);
        else
            for (enum option i = 0; i < OPTION_COUNT; i++) {
                const struct option_row *row = &option_rows[i];
                if (copy[0] != '\0' && strcmp(copy, row->variable) == 0)
                    reference_take(i, 1, value);
                else if (strncmp(copy, "BRIM_", 5) == 0 && strcasecmp(copy + 5, row->name) == 0 &&
                         row->when != WITHOUT_EFFECT)
                    reference_take(i, 3, value);
            }
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { STRINGS = 32 };
    char *copy = malloc(size + 1), *environment[STRINGS + 1] = {NULL};
    memcpy(copy, data, size);
    copy[size] = '\0';
    memset(expected, 0, sizeof expected);
    memset(option_settings, 0, sizeof option_settings);
    lines = 0;
    size_t count = 0;
    for (size_t at = 0; at < size && count < STRINGS; at += strlen(copy + at) + 1)
        environment[count++] = copy + at;
    for (size_t i = 0; i < count; i++)
        reference_variable(environment[i]);

    options_init(environment);
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        size_t value;
        bool given = option_given(i, &value);
        expect(given == (expected[i].rank != 0) && (!given || i == OPTION_help || value == expected[i].value));
    }
    free(copy);
    return 0;
}
