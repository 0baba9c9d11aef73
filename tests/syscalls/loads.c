/* loads.c: the loads whose system calls hybrid.py reads. One load per process, named by the argument; each
   says where a phase begins and where a block lies by a write to no file, which shows in the trace and
   nowhere else. Nothing is allocated before the first phase: some of these ask about the first request of a
   process. */
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include "../support.h"

#define MIB ((size_t)1 << 20)

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (write(-1, text, (size_t)length) != -1)
        abort();
}

static void note_block(void *block)
{
    if (!block)
        abort();
    note("block %p", block);
}

/* 100,000 blocks of 1 to 1,000 bytes, all held and written to. */
static void small_blocks(void)
{
    enum { COUNT = 100000 };
    static unsigned char *blocks[COUNT];
    note_block(malloc(1));
    note("phase allocate");
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = 1 + i * 37 % 1000;
        memset(blocks[i] = malloc(size), (int)(i % 251), size);
    }
    note("phase end");
    for (size_t i = 0; i < COUNT; i++)
        for (size_t at = 0, size = 1 + i * 37 % 1000; at < size; at++)
            if (blocks[i][at] != i % 251)
                abort();
    note_block(blocks[0]);
    note_block(blocks[COUNT - 1]);
}

/* Requests of a size until one does not come from the break, four at most: where the heap has free memory, as
   glibc's has once its thread cache is there, it serves the first. Then the last one is freed and asked for
   again. */
static void request(size_t size)
{
    char *block;
    note("phase allocate");
    for (int i = 0; i < 4; i++) {
        block = malloc(size);
        note_block(block);
        if ((uintptr_t)block > (uintptr_t)sbrk(0))
            break;
    }
    note("phase free");
    free(memset(block, 1, size));
    note("phase again");
    block = malloc(size);
    note("phase end");
    note_block(block);
}

static void below_threshold(void)
{
    request(131048);
}

static void at_threshold(void)
{
    request(131049);
}

static void aligned(void)
{
    void *block;
    note("phase allocate");
    if (posix_memalign(&block, 4096, 128000) != 0)
        abort();
    note("phase end");
    note_block(block);
}

static void zeroed(void)
{
    note("phase allocate");
    char *block = calloc(64, MIB);
    note("phase end");
    note_block(block);
}

/* Sizes that leave a part of the last page unused, so that "a little more" is the same number of pages. */
static void resized(void)
{
    char *block = memset(malloc(MIB - 2000), 7, MIB - 2000);
    note_block(block);
    note("phase a little more");
    block = realloc(block, MIB - 1900);
    note("phase more");
    block = realloc(block, 8 * MIB - 2000);
    note("phase less");
    note_block(block);
    block = realloc(block, 2 * MIB - 2000);
    note("phase free");
    note_block(block);
    for (size_t at = 0; at < MIB - 1900; at++)
        if (at < MIB - 2000 && block[at] != 7)
            abort();
    free(block);
    note("phase end");
}

/* A size that was mapped once and then comes and goes. */
static void churn(void)
{
    free(malloc(MIB));
    free(memset(malloc(MIB), 1, MIB));
    note("phase churn");
    for (int i = 0; i < 1000; i++)
        free(memset(malloc(MIB), i, MIB));
    note("phase end");
}

static void small_churn(void)
{
    static void *blocks[100];
    for (int round = 0; round < 1000; round++) {
        if (round == 5)
            note("phase churn");
        for (size_t i = 0; i < 100; i++)
            blocks[i] = malloc(1 + i * 37 % 1000);
        for (size_t i = 0; i < 100; i++)
            free(blocks[i]);
    }
    note("phase end");
}

static void released(void)
{
    static void *blocks[400];
    for (size_t i = 0; i < 400; i++)
        memset(blocks[i] = malloc(60000), 1, 60000);
    note("phase free");
    for (size_t i = 400; i-- > 0;)
        free(blocks[i]);
    note("phase end");
}

enum { THREADS = 4 };
static pthread_barrier_t barrier;

static void *small_blocks_of_a_thread(void *unused)
{
    (void)unused;
    /* The first request of a thread may set up what the thread needs; the rest are blocks. */
    note_block(malloc(1));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 10000; i++)
        memset(malloc(1 + i * 37 % 1000), 1, 1 + i * 37 % 1000);
    note_block(malloc(100));
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* The phase lies between two barriers: stacks are mapped before it and given up after it. */
static void threads(void)
{
    pthread_t started[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&started[i], NULL, small_blocks_of_a_thread, NULL) != 0)
            abort();
    pthread_barrier_wait(&barrier);
    note("phase allocate");
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    note("phase end");
    for (int i = 0; i < THREADS; i++)
        pthread_join(started[i], NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
} loads[] = {
    {"small_blocks", small_blocks},
    {"below_threshold", below_threshold},
    {"at_threshold", at_threshold},
    {"aligned", aligned},
    {"zeroed", zeroed},
    {"resized", resized},
    {"churn", churn},
    {"small_churn", small_churn},
    {"released", released},
    {"threads", threads},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        if (count == 2 && strcmp(arguments[1], loads[i].name) == 0) {
            loads[i].run();
            require_expected_allocator();
            return 0;
        }
    fprintf(stderr, "usage: %s LOAD\n", arguments[0]);
    return 2;
}
