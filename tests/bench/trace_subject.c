/* trace_subject: a program whose allocation events are known in advance, for the tests of the recorder.

   usage: trace_subject threads | fork | exec | abort | kill | late | calls */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 1000, THREADS = 4, MARK = 4242 };

static void *blocks[THREADS][BLOCKS];

static void *keep(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static void allocate(int thread)
{
    for (int i = 0; i < BLOCKS; i++)
        blocks[thread][i] = keep(malloc(MARK));
}

static void release(int thread)
{
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[thread][i]);
}

static void *producer(void *number)
{
    allocate((int)(size_t)number);
    return NULL;
}

/* Each thread frees what another allocated. */
static void *consumer(void *number)
{
    release(((int)(size_t)number + 1) % THREADS);
    return NULL;
}

static void in_threads(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, run, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The child frees what it inherited, and allocates; so does the parent. */
static int in_fork(void)
{
    allocate(0);
    pid_t pid = fork();
    release(0);
    allocate(1);
    release(1);
    if (pid == 0)
        _exit(0);
    int status;
    return waitpid(pid, &status, 0) == pid ? status : 1;
}

static void every_call(void)
{
    void *p = keep(calloc(3, MARK));
    p = keep(realloc(p, 100000));
    p = keep(realloc(p, 10));
    free(p);
    void *aligned = NULL;
    if (posix_memalign(&aligned, 4096, MARK) != 0)
        abort();
    free(keep(aligned));
    free(keep(aligned_alloc(64, MARK)));
    free(keep(strdup("a string")));
    /* A failed call and free(NULL) are no events. */
    if (keep(malloc((size_t)-1 / 4)))
        abort();
    free(NULL);
}

static pthread_key_t key;

static void late_destructor(void *block)
{
    free(block);
    free(keep(malloc(MARK)));
}

/* Events in the destructors of a thread, after the recorder's own. */
static void *late_thread(void *unused)
{
    (void)unused;
    pthread_setspecific(key, keep(malloc(MARK)));
    return NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "threads") == 0) {
        in_threads(producer);
        in_threads(consumer);
    } else if (strcmp(what, "fork") == 0) {
        return in_fork();
    } else if (strcmp(what, "exec") == 0) {
        allocate(0);
        execl(argv[0], argv[0], "calls", (char *)NULL);
        return 1;
    } else if (strcmp(what, "abort") == 0) {
        allocate(0);
        abort();
    } else if (strcmp(what, "kill") == 0) {
        for (int round = 0; round < 100; round++) {
            allocate(0);
            release(0);
        }
        raise(SIGKILL);
    } else if (strcmp(what, "late") == 0) {
        pthread_t thread;
        pthread_key_create(&key, late_destructor);
        pthread_create(&thread, NULL, late_thread, NULL);
        pthread_join(thread, NULL);
    } else if (strcmp(what, "calls") == 0) {
        every_call();
    } else {
        fprintf(stderr, "usage: trace_subject threads | fork | exec | abort | kill | late | calls\n");
        return 2;
    }
    return 0;
}
