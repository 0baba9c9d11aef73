/* workload.c: the shared services of workload.h, none of them on a timed path. */
#include "workload.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "main.h"

int64_t scaled(int64_t count, int64_t least)
{
    int64_t result = (int64_t)((double)count * command_line.scale);
    return result > least ? result : least;
}

int core_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : (int)cores;
}

size_t thread_counts(int counts[static 3])
{
    size_t count = 0;
    counts[count++] = 1;
    if (core_count() > 1)
        counts[count++] = core_count();
    counts[count++] = 2 * core_count();
    return count;
}

void register_threaded(gbench *benchmark)
{
    int counts[3];
    size_t count = thread_counts(counts);
    for (size_t i = 0; i < count; i++)
        gbench_threads(benchmark, counts[i]);
    gbench_use_real_time(benchmark);
}

/* Lines of JSON; the file is opened for each so that nothing is buffered in a block of the allocator under
   test. */
void report_curve(const char *name, const char *x_unit, const char *y_unit, const point *points, size_t count)
{
    if (!command_line.report)
        return;
    FILE *file = fopen(command_line.report, "a");
    if (!file)
        workload_fail("cannot write the report file");
    fprintf(file, "{\"curve\": \"%s\", \"x_unit\": \"%s\", \"y_unit\": \"%s\", \"points\": [", name, x_unit,
            y_unit);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s[%.9g, %.9g]", i ? ", " : "", points[i].x, points[i].y);
    fprintf(file, "]}\n");
    if (fclose(file) != 0)
        workload_fail("cannot write the report file");
}

size_t resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        workload_fail("cannot read /proc/self/statm");
    text[length] = 0;
    const char *second = strchr(text, ' ');
    return second ? strtoul(second + 1, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

_Noreturn void workload_fail(const char *message)
{
    dprintf(STDERR_FILENO, "workloads: %s\n", message);
    _exit(3);
}

void shuffle(uint32_t *items, size_t count, random_source *source)
{
    for (size_t i = 0; i < count; i++)
        items[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(source, (uint32_t)i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

void *private_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        workload_fail("cannot map memory");
    return pages;
}

void release_private_pages(void *pages, size_t size)
{
    munmap(pages, size);
}

pthread_t start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0)
        workload_fail("cannot start a thread");
    return thread;
}

void join_thread(pthread_t thread)
{
    pthread_join(thread, NULL);
}
