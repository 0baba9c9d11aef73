/* fork-stdio.c: fork while other threads hold stdio's locks and allocate under them. Fork takes the lock of
   stdio's list of streams after the prepare handlers; fflush(NULL) holds that lock while it waits for a
   stream; whoever holds the stream waits for the allocator. A prepare handler that keeps the allocator locked
   closes the circle: hang.

   fork-stdio [FORKS] */
#include "stress.h"

static atomic_bool stopping;
static _Atomic size_t rounds[3];

static void *flush_all(void *unused)
{
    while (!stopping) {
        fflush(NULL);
        rounds[0]++;
    }
    return unused;
}

/* printf of a wide field and getline of a long line allocate again and again while they hold their stream,
   and too much for any per-thread cache. */
static void *allocate_in_streams(void *unused)
{
    const int width = 200000;
    while (!stopping) {
        char *line = NULL;
        size_t capacity = 0;
        FILE *stream = tmpfile();
        require(stream);
        require(fprintf(stream, "%0*d\n", width, 1) == width + 1);
        rewind(stream);
        require(getline(&line, &capacity, stream) == width + 1);
        require(line[0] == '0' && line[width - 1] == '1' && line[width] == '\n');
        require(fclose(stream) == 0);
        free(line);
        rounds[1]++;
    }
    return unused;
}

/* Streams come and go in stdio's list; each gets its buffer at the first write, while it is locked. */
static void *open_and_close(void *unused)
{
    while (!stopping) {
        FILE *stream = fopen("/dev/null", "w");
        require(stream);
        require(fprintf(stream, "%zu", (size_t)rounds[2]) > 0);
        require(fclose(stream) == 0);
        rounds[2]++;
    }
    return unused;
}

static _Noreturn void child_main(void)
{
    alarm(20);
    for (int i = 0; i < 20; i++) {
        FILE *stream = fopen("/dev/null", "w");
        struct block block;
        block_malloc(&block, 1000u << (i % 12), 1);
        require(stream && fprintf(stream, "%d", i) > 0 && fclose(stream) == 0);
        block_free(&block);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t forks = argument(count, arguments, 1, 150);
    void *(*const work[])(void *) = {flush_all, allocate_in_streams, allocate_in_streams, open_and_close};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        thread_start(&threads[i], work[i], NULL);
    for (size_t i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork: errno %d", errno);
        if (child == 0)
            child_main();
        require_child_success(child);
    }
    stopping = true;
    for (size_t i = 0; i < 4; i++)
        thread_join(threads[i]);
    for (size_t i = 0; i < 3; i++)
        require(rounds[i] > 0);
    return 0;
}
