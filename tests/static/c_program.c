/* c_program.c: a C program on brim, whichever way it was linked: the entry points, what libc allocates on its
   behalf, threads and fork. Every block is brim's. */
#include "../cxx/check.h"

#include <argz.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <regex.h>
#include <search.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <wchar.h>

extern char **environ;

/* Not in this libc's headers, or not in this libc. Weak: brim has them however the program was linked. */
#pragma weak cfree
extern void cfree(void *p);
#pragma weak free_sized
extern void free_sized(void *p, size_t size);
#pragma weak free_aligned_sized
extern void free_aligned_sized(void *p, size_t alignment, size_t size);
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *p);

static void *owned(void *p)
{
    CHECK(p && brim_owns(p));
    return p;
}

static const size_t sizes[] = {0, 1, 24, 1000, 5000, 70000, 131048, 131049, 3 << 20};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static void *aligned_block(size_t alignment, size_t size)
{
    void *p = NULL;
    CHECK(posix_memalign(&p, alignment, size) == 0);
    return p;
}

static void test_entry_points(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(cfree && free_sized && free_aligned_sized);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        size_t n = sizes[i];
        char *p = owned(malloc(n));
        CHECK(malloc_usable_size(p) >= n);
        memset(p, 'p', n);
        p = owned(realloc(p, n + 100));
        CHECK(n == 0 || (p[0] == 'p' && p[n - 1] == 'p'));
        p = owned(reallocarray(p, 3, n + 1));
        free(p);
        p = owned(calloc(n + 1, 1));
        CHECK(p[0] == 0 && p[n] == 0);
        cfree(p);
        free_sized(owned(malloc(n)), n);
        free_aligned_sized(owned(aligned_alloc(256, n)), 256, n);

        void *aligned[] = {memalign(512, n), aligned_block(512, n), aligned_alloc(512, n),
                           __libc_memalign(512, n)};
        for (size_t k = 0; k < sizeof aligned / sizeof aligned[0]; k++) {
            CHECK(is_aligned(owned(aligned[k]), 512));
            free(aligned[k]);
        }
        void *paged[] = {valloc(n), pvalloc(n), __libc_valloc(n), __libc_pvalloc(n)};
        for (size_t k = 0; k < sizeof paged / sizeof paged[0]; k++) {
            CHECK(is_aligned(owned(paged[k]), page));
            free(paged[k]);
        }
        __libc_free(owned(__libc_realloc(owned(__libc_malloc(n)), n + 1)));
        free(owned(__libc_calloc(2, n)));
    }
    CHECK(!realloc(owned(malloc(10)), 0));
}

/* The numbers are those of the allocator that serves the program, not of an idle one beside it. */
static void test_statistics(void)
{
    CHECK(mallopt(M_MMAP_THRESHOLD, 128 * 1024) == 1);
    struct mallinfo2 before = mallinfo2();
    void *small[1000], *large = owned(malloc(64 << 20));
    for (int i = 0; i < 1000; i++)
        small[i] = owned(malloc(2000));
    struct mallinfo2 after = mallinfo2();
    CHECK(after.hblks == before.hblks + 1 && after.hblkhd >= before.hblkhd + (64 << 20));
    CHECK(after.uordblks >= before.uordblks + 1000 * 1900);
    free(large);
    for (int i = 0; i < 1000; i++)
        free(small[i]);
    CHECK(mallinfo2().hblks == before.hblks);
    malloc_trim(0);

    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    CHECK(stream && malloc_info(0, stream) == 0 && fclose(stream) == 0);
    CHECK(strncmp(text, "<malloc version=", 16) == 0);
    free(owned(text));
}

static void test_strings(void)
{
    char *text = NULL;
    free(owned(strdup("a string")));
    free(owned(strndup("a string", 3)));
    free(owned(wcsdup(L"a string")));
    CHECK(asprintf(&text, "%s %0500d", "a string", 1) == 509);
    free(owned(text));
    char *argz = NULL;
    size_t length = 0;
    CHECK(argz_create_sep("one:two:three", ':', &argz, &length) == 0 && argz_count(argz, length) == 3);
    free(owned(argz));
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "BRIM_TEST_%d", i);
        CHECK(setenv(name, "value", 1) == 0);
    }
    CHECK(brim_owns(environ) && brim_owns(getenv("BRIM_TEST_99")));
}

static void test_streams(void)
{
    FILE *stream = tmpfile();
    owned(stream);
    for (int i = 0; i < 20000; i++)
        fprintf(stream, "line %d of a file that is longer than its buffer\n", i);
    rewind(stream);
    char *line = NULL;
    size_t room = 0;
    int lines = 0;
    while (getline(&line, &room, stream) > 0) {
        int number = -1;
        CHECK(sscanf(line, "line %d of", &number) == 1 && number == lines);
        lines++;
    }
    CHECK(lines == 20000);
    free(owned(line));
    rewind(stream);
    char *word = NULL;
    CHECK(fscanf(stream, "%ms", &word) == 1 && strcmp(owned(word), "line") == 0);
    free(word);
    CHECK(fclose(stream) == 0);

    /* More streams at a time than any cache of them holds. */
    FILE *streams[100];
    for (int i = 0; i < 100; i++)
        streams[i] = owned(fopen("/proc/self/status", "re"));
    for (int i = 0; i < 100; i++)
        CHECK(fgetc(streams[i]) == 'N' && fclose(streams[i]) == 0);

    stream = owned(popen("echo from a child", "r"));
    char *output = NULL;
    size_t output_room = 0;
    CHECK(getdelim(&output, &output_room, '\n', stream) == 13);
    CHECK(strcmp(owned(output), "from a child\n") == 0);
    free(output);
    CHECK(pclose(stream) == 0);
}

static int compare_ints(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;
    return (left > right) - (left < right);
}

static int compare_strings(const void *a, const void *b) { return strcmp(a, b); }

static void test_search_and_sort(void)
{
    static int numbers[50000]; /* more than qsort puts on the stack */
    unsigned random = 1;
    for (int i = 0; i < 50000; i++)
        numbers[i] = (int)((random = random * 1103515245 + 12345) >> 8);
    qsort(numbers, 50000, sizeof numbers[0], compare_ints);
    for (int i = 1; i < 50000; i++)
        CHECK(numbers[i - 1] <= numbers[i]);

    void *root = NULL;
    static char keys[1000][12];
    for (int i = 0; i < 1000; i++) {
        snprintf(keys[i], sizeof keys[i], "key %d", i * 7919 % 1000);
        owned(tsearch(keys[i], &root, compare_strings));
    }
    for (int i = 0; i < 1000; i++)
        CHECK(tfind(keys[i], &root, compare_strings) && tdelete(keys[i], &root, compare_strings));
    CHECK(!root);

    CHECK(hcreate(1000));
    for (int i = 0; i < 1000; i++)
        CHECK(hsearch((ENTRY){keys[i], &numbers[i]}, ENTER));
    for (int i = 0; i < 1000; i++)
        CHECK(hsearch((ENTRY){keys[i], NULL}, FIND)->data == &numbers[i]);
    hdestroy();

    regex_t expression;
    regmatch_t matches[3];
    CHECK(regcomp(&expression, "^([a-z]+)(foo|bar){2,3}[[:digit:]]*$", REG_EXTENDED) == 0);
    owned(expression.buffer);
    for (int i = 0; i < 200; i++)
        CHECK(regexec(&expression, "prefixfoobarfoo12345", 3, matches, 0) == 0 && matches[1].rm_eo == 9);
    CHECK(regexec(&expression, "prefixfoo12345", 3, matches, 0) == REG_NOMATCH);
    regfree(&expression);
}

static int is_stat(const struct dirent *entry) { return strcmp(entry->d_name, "stat") == 0; }

static void test_files(void)
{
    free(owned(getcwd(NULL, 0)));
    free(owned(realpath("/proc/../proc/./self", NULL)));
    DIR *folder = opendir("/proc/self");
    owned(folder);
    int count = 0;
    while (readdir(folder))
        count++;
    CHECK(count > 20 && closedir(folder) == 0);
    struct dirent **names = NULL;
    CHECK(scandir("/proc/self", &names, is_stat, alphasort) == 1);
    free(owned(names[0]));
    free(owned(names));
    glob_t found;
    CHECK(glob("/proc/self/s*", 0, NULL, &found) == 0 && found.gl_pathc >= 3);
    owned(found.gl_pathv);
    owned(found.gl_pathv[0]);
    globfree(&found);
    locale_t locale = newlocale(LC_ALL_MASK, "C", NULL);
    CHECK(locale);
    locale_t copy = duplocale(locale);
    CHECK(copy);
    freelocale(copy);
    freelocale(locale);
}

/* Threads hand their blocks on, so that each frees another's; a destructor of thread data allocates late. */
enum { THREADS = 6, ROUNDS = 3000, BOX = 64 };
static _Atomic(unsigned char *) box[BOX];
static pthread_key_t key;
static atomic_int destructors;

static void late_destructor(void *p)
{
    free(owned(p));
    free(owned(malloc(3000)));
    atomic_fetch_add(&destructors, 1);
}

static void *thread_main(void *argument)
{
    unsigned random = (unsigned)(uintptr_t)argument;
    CHECK(pthread_setspecific(key, owned(malloc(100))) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1103515245 + 12345;
        size_t size = 16 + (random >> 8) % (i % 100 == 0 ? 300000 : 2000);
        unsigned char *p = owned(malloc(size));
        memset(p, (unsigned char)size, size);
        memcpy(p, &size, sizeof size);
        p = atomic_exchange(&box[(random >> 16) % BOX], p);
        if (p) {
            memcpy(&size, p, sizeof size);
            CHECK(is_filled(p + sizeof size, size - sizeof size, (unsigned char)size));
            free(p);
        }
    }
    return NULL;
}

static void *allocate_until_told(void *stop)
{
    while (!atomic_load((atomic_bool *)stop)) {
        void *p[50];
        for (int i = 0; i < 50; i++)
            p[i] = owned(malloc((size_t)i * 100));
        for (int i = 0; i < 50; i++)
            free(p[i]);
    }
    return NULL;
}

static void test_threads(void)
{
    CHECK(pthread_key_create(&key, late_destructor) == 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, thread_main, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < BOX; i++)
        free(atomic_exchange(&box[i], NULL));
    CHECK(atomic_load(&destructors) == THREADS);
}

/* Forks while other threads allocate; the child allocates, frees its parent's blocks, and forks again. */
static void test_fork(void)
{
    atomic_bool stop = false;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, allocate_until_told, &stop) == 0);
    for (int round = 0; round < 50; round++) {
        char *inherited = owned(malloc(5000)), *large = owned(malloc(500000));
        memset(inherited, 'i', 5000);
        memset(large, 'l', 500000);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            test_strings();
            CHECK(inherited[4999] == 'i' && large[499999] == 'l');
            free(owned(inherited));
            free(owned(large));
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, thread_main, (void *)1) == 0);
            CHECK(pthread_join(thread, NULL) == 0);
            pid_t grandchild = fork();
            if (grandchild == 0)
                _exit(brim_owns(malloc(100)) ? 0 : 1);
            int status;
            CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(inherited[0] == 'i' && large[0] == 'l');
        free(inherited);
        free(large);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void test_out_of_memory(void)
{
    errno = 0;
    CHECK(!malloc(opaque_size((size_t)PTRDIFF_MAX + 1)) && errno == ENOMEM);
    limit_address_space(64 << 20);
    void **list = NULL;
    for (void **p; (p = malloc(100000)); list = p)
        *p = list;
    CHECK(errno == ENOMEM && list);
    while (list) {
        void **next = *list;
        free(owned(list));
        list = next;
    }
    free(owned(malloc(32 << 20)));
}

int main(void)
{
    require_expected_allocator();
    test_entry_points();
    test_statistics();
    test_strings();
    test_streams();
    test_search_and_sort();
    test_files();
    test_threads();
    test_fork();
    test_out_of_memory();
    return 0;
}
