/* subject.c: a process whose memory is known. Each mapping has a guard on both sides, so that the kernel joins it with
   nothing. Prints a line for each, "NAME START BYTES", then "ready", and waits for its standard input to end.

   With an argument it holds so many small mappings besides, which the kernel cannot join. */
#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static void tell(const char *name, const void *start, size_t size) { printf("%s %p %zu\n", name, start, size); }

/* A mapping of `size` bytes between guards, of which the first `touched` are written. */
static char *map(const char *name, size_t size, size_t touched, int flags, int fd)
{
    enum { GUARD = 64 * 1024 };
    char *place = mmap(NULL, size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED)
        err(1, "%s", name);
    char *p = mmap(place + GUARD, size, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);
    if (p == MAP_FAILED)
        err(1, "%s", name);
    madvise(p, size, MADV_NOHUGEPAGE); /* a huge page would be resident whole */
    memset(p, 1, touched);
    tell(name, p, size);
    return p;
}

static void wait_for_end(void)
{
    char c;
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
}

static void *thread(void *told)
{
    char here;
    tell("thread", &here, 1);
    pthread_barrier_wait(told);
    pause();
    return NULL;
}

static void hold_block(const char *name, size_t size)
{
    char *p = malloc(size);
    if (!p)
        err(1, "%s", name);
    memset(p, 1, size);
    tell(name, p, size);
}

int main(int count, char **arguments)
{
    map("anonymous", 8 * MIB, 3 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    char *shared = map("shared", 4 * MIB, 1 * MIB, MAP_SHARED | MAP_ANONYMOUS, -1);
    char *locked = map("locked", 64 * KIB, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (mlock(locked, 64 * KIB) != 0)
        tell("not-locked", locked, 0);

    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), (off_t)MIB) != 0)
        err(1, "temporary file");
    map("file", 1 * MIB, 512 * KIB, MAP_SHARED, fileno(file));
    map("copy", 1 * MIB, 256 * KIB, MAP_PRIVATE, fileno(file));

    for (int i = 0; i < 200; i++)
        hold_block("small", 10 * KIB);
    hold_block("large", 10 * MIB);
    hold_block("large", 10 * MIB); /* a neighbour of the first: the kernel joins the two */

    /* Pages of `shared` that another process has mapped, too. */
    int ready[2];
    if (pipe(ready) != 0)
        err(1, "pipe");
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        err(1, "fork");
    if (child == 0) {
        memset(shared, 2, 512 * KIB); /* to read would map pages around, too */
        if (write(ready[1], shared, 1) != 1)
            _exit(1);
        wait_for_end();
        _exit(0);
    }
    char c;
    if (read(ready[0], &c, 1) != 1)
        err(1, "child");

    for (int i = 0; i < (count > 1 ? atoi(arguments[1]) : 0); i++) {
        int protection = i % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
        if (mmap(NULL, 16 * KIB, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            err(1, "small mapping");
    }

    pthread_barrier_t told;
    pthread_barrier_init(&told, NULL, 2);
    pthread_t other;
    if (pthread_create(&other, NULL, thread, &told) != 0)
        errx(1, "pthread_create");
    pthread_barrier_wait(&told);
    puts("ready");
    fflush(stdout);
    wait_for_end();
    waitpid(child, NULL, 0);
    return 0;
}
