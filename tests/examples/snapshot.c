/* snapshot: four processes read and change the same large heap, each for itself, and share what they leave as it is.

     snapshot FILE [MIB]

   Makes a heap of 1 GiB in the file; then four processes open snapshots of it, read all of it and change a part. Shown
   is what each of them takes: what is resident, what of that is its own, and its proportional share. The file is the
   same as before, and is removed at the end. */
#include <brim.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

enum { PROCESSES = 4, CHANGED = 16 }; /* each process changes every 16th block, others than the others */
#define MIB ((size_t)1 << 20)
#define STRIDE ((size_t)64 << 10) /* so far apart are the numbers in a block: a small part of the disk is written */

/* The root: blocks of 1 MiB. */
struct data {
    size_t count;
    brim_ref(uint64_t) blocks[];
};

/* What the processes tell each other; in a family heap, which needs no file. */
struct report {
    pthread_barrier_t barrier;
    double milliseconds[PROCESSES];
    struct brim_heap_stats stats[PROCESSES];
};

static uint64_t number_at(size_t block, size_t offset) { return block * 0x9e3779b97f4a7c15 + offset + 1; }

static void make_file(const char *path, size_t blocks)
{
    struct brim_heap *heap = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options),
        .kind = BRIM_HEAP_FILE,
        .path = path,
        .limit = (blocks + blocks / 4 + 64) * MIB,
    });
    struct data *data = heap ? brim_heap_malloc(heap, sizeof *data + blocks * sizeof data->blocks[0]) : NULL;
    if (!data)
        fail_heap(path);
    data->count = blocks;
    for (size_t i = 0; i < blocks; i++) {
        uint64_t *block = brim_heap_malloc(heap, MIB - 4096); /* a run of 16 slices */
        if (!block)
            fail_heap(path);
        for (size_t offset = 0; offset < MIB - 4096; offset += STRIDE)
            block[offset / 8] = number_at(i, offset);
        brim_set(heap, data->blocks[i], block);
    }
    brim_heap_set_root(heap, data);
    brim_heap_close(heap);
}

/* Reads every page; true if each block holds the file's numbers, or, where `changed_by` has changed it, its own. */
static bool read_all(struct brim_heap *heap, int changed_by)
{
    struct data *data = brim_heap_root(heap);
    bool right = true;
    for (size_t i = 0; i < data->count; i++) {
        const volatile uint64_t *block = brim_get(heap, data->blocks[i]);
        uint64_t added = (int)(i % CHANGED) == changed_by ? 1 : 0;
        for (size_t offset = 0; offset < MIB - 4096; offset += 4096) {
            uint64_t found = block[offset / 8];
            if (offset % STRIDE == 0)
                right = right && found == number_at(i, offset) + added;
        }
    }
    return right;
}

static void use_snapshot(const char *path, struct report *report, int process)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    struct brim_heap *heap = brim_heap_open(path, BRIM_HEAP_SNAPSHOT);
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (!heap)
        fail_heap(path);
    report->milliseconds[process] =
        (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;

    if (!read_all(heap, -1))
        fail("process %d does not read what the file holds", process);
    struct data *data = brim_heap_root(heap);
    for (size_t i = (size_t)process; i < data->count; i += CHANGED) {
        uint64_t *block = brim_get(heap, data->blocks[i]);
        for (size_t offset = 0; offset < MIB - 4096; offset += 4096)
            block[offset / 8] += offset % STRIDE == 0;
    }
    /* It is a whole heap: one can free in it, and allocate. */
    for (int i = 0; i < 1000; i++) {
        void *block = brim_heap_malloc(heap, 1000);
        if (!block)
            fail_heap("a block in a snapshot");
        if (i % 2)
            brim_heap_free(heap, block);
    }
    pthread_barrier_wait(&report->barrier); /* all have read and changed: now memory is at its most */
    if (brim_heap_stats(heap, &report->stats[process], sizeof report->stats[process]) != 0)
        fail_heap("statistics");
    pthread_barrier_wait(&report->barrier);
    char fault[200];
    if (brim_heap_check(heap, fault, sizeof fault) != 0)
        fail("process %d: %s", process, fault);
    if (!read_all(heap, process))
        fail("process %d does not read what it wrote", process);
    brim_heap_close(heap);
}

int main(int count, char **arguments)
{
    if (count < 2)
        fail("usage: snapshot FILE [MIB]");
    const char *path = arguments[1];
    make_file(path, count > 2 ? strtoul(arguments[2], NULL, 10) : 1024);

    struct brim_heap *family = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options), .kind = BRIM_HEAP_FAMILY});
    struct report *report = family ? brim_heap_calloc(family, 1, sizeof *report) : NULL;
    if (!report)
        fail_heap("a family heap");
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&report->barrier, &attributes, PROCESSES);
    for (int process = 0; process < PROCESSES; process++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            alarm(300); /* one that fails would leave the others waiting */
            use_snapshot(path, report, process);
            _exit(0);
        }
    }
    bool good = true;
    for (int process = 0; process < PROCESSES; process++) {
        int status;
        good = wait(&status) > 0 && status == 0 && good;
    }

    puts("process  opened in   resident  proportional    shared   private");
    for (int process = 0; good && process < PROCESSES; process++) {
        const struct brim_heap_stats *stats = &report->stats[process];
        printf("%7d %7.3f ms %6zu MiB %9zu MiB %5zu MiB %5zu MiB\n", process, report->milliseconds[process],
               stats->resident / MIB, stats->proportional / MIB, stats->shared / MIB, stats->private_ / MIB);
    }
    struct brim_heap *heap = brim_heap_open(path, BRIM_HEAP_FILE);
    if (!heap)
        fail_heap(path);
    bool unchanged = read_all(heap, -1);
    puts(unchanged ? "the file is unchanged" : "the file has CHANGED");
    if (brim_heap_destroy(heap) != 0)
        fail_heap(path);
    unlink(path);
    return good && unchanged ? 0 : 1;
}
