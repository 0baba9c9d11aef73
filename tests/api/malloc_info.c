/* malloc_info: XML that a schema accepts (malloc_info.rng, by xmllint) and whose sums are true. */
#include "blocks.h"
#include "fresh.h"

#include <pthread.h>

CONTRACT_OF(malloc_info);

static void *allocate_some(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        check(malloc(100 * (size_t)i));
    free(malloc(3000));
    return NULL;
}

/* Writes the report into the file that the test chose, with the numbers it should agree with on stdout. */
FRESH(report)
{
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, allocate_some, NULL) == 0);
        pthread_join(thread, NULL);
    }
    void *blocks[300];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = malloc(1 + i * 300);
    for (size_t i = 0; i < COUNT_OF(blocks); i += 2)
        free(blocks[i]);
    check(malloc(MIB) && malloc(3 * MIB));
    FILE *file = fopen(getenv("REPORT"), "w");
    check(file);
    setvbuf(file, NULL, _IONBF, 0);
    struct mallinfo2 info = mallinfo2();
    check(malloc_info(0, file) == 0);
    fclose(file);
    printf("%zu %zu %zu %zu\n", info.hblks, info.hblkhd, info.arena, info.fordblks);
}

static char report_name[] = "/tmp/brim-malloc-info-XXXXXX";

static void make_report(void)
{
    char assignment[sizeof report_name + 16];
    int file = mkstemp(report_name);
    cr_assert_geq(file, 0);
    close(file);
    snprintf(assignment, sizeof assignment, "REPORT=%s", report_name);
    expect_fresh(report, assignment);
}

/* What the command says on stdout and stderr, and its exit status. */
static int output_of(const char *command, char *output, size_t size)
{
    char line[1024];
    snprintf(line, sizeof line, "%s 2>&1", command);
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t length = fread(output, 1, size - 1, pipe);
    output[length] = 0;
    return pclose(pipe);
}

/* The expression is compared inside XPath: xmllint rounds the numbers that it prints. */
__attribute__((format(printf, 1, 2))) static void expect_true(const char *format, ...)
{
    char expression[512], command[1024], output[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expression, sizeof expression, format, arguments);
    va_end(arguments);
    snprintf(command, sizeof command, "xmllint --xpath 'boolean(%s)' %s", expression, report_name);
    cr_assert_eq(output_of(command, output, sizeof output), 0, "%s: %s", command, output);
    cr_assert_eq(strncmp(output, "true", 4), 0, "%s: %s", expression, output);
}

Test(malloc_info, is_valid_and_true)
{
    char command[512], output[4096];
    size_t mappings, mapped, arena, unused;
    make_report();
    cr_assert_eq(sscanf(fresh_output, "%zu %zu %zu %zu", &mappings, &mapped, &arena, &unused), 4);
    snprintf(command, sizeof command, "xmllint --noout --relaxng %s %s", MALLOC_INFO_SCHEMA, report_name);
    cr_assert_eq(output_of(command, output, sizeof output), 0, "%s", output);

    expect_true("/malloc/total[@type=\"mmap\"]/@count = %zu", mappings);
    expect_true("/malloc/total[@type=\"mmap\"]/@size = %zu", mapped);
    expect_true("/malloc/system[@type=\"current\"]/@size = %zu", arena);
    expect_true("/malloc/system[@type=\"max\"]/@size >= %zu", arena);
    expect_true("sum(/malloc/heap/system[@type=\"current\"]/@size) = %zu", arena);
    static const char *const kinds[] = {"fast", "rest"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        expect_true("sum(/malloc/heap/total[@type=\"%s\"]/@size) = /malloc/total[@type=\"%s\"]/@size",
                    kinds[i], kinds[i]);
        expect_true("sum(/malloc/heap/total[@type=\"%s\"]/@count) = /malloc/total[@type=\"%s\"]/@count",
                    kinds[i], kinds[i]);
    }
    /* Half of the blocks above were freed: some free memory must show, and no row of sizes is upside down. */
    expect_true("sum(/malloc/total[@type=\"fast\" or @type=\"rest\"]/@size) > 100000");
    expect_true("sum(/malloc/total[@type=\"fast\" or @type=\"rest\"]/@size) <= %zu", arena);
    expect_true("count(//size[@from > @to]) = 0");
    unlink(report_name);
}

Test(malloc_info, other_options_are_invalid)
{
    static const int options[] = {1, -1, 2, 256, INT32_MAX, INT32_MIN};
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    for (size_t i = 0; i < COUNT_OF(options); i++)
        cr_assert_eq(malloc_info(options[i], stream), EINVAL);
    fclose(stream);
    cr_assert_eq(length, 0);
    free(text);
}

/* The stream allocates while it is written to: nothing may be locked meanwhile that its allocation needs. */
Test(malloc_info, can_write_into_memory_of_the_same_allocator)
{
    for (int i = 0; i < 50; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream = open_memstream(&text, &length);
        cr_assert_eq(malloc_info(0, stream), 0);
        fclose(stream);
        cr_assert_gt(length, 100);
        cr_assert_eq(strncmp(text, "<malloc version=\"1\">", 20), 0);
        free(text);
    }
}
