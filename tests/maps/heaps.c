/* heaps.c: a process with a heap of each kind, which are made in the folder that is its argument. Prints what brim
   itself says of each, "KIND ADDRESS LIMIT RESIDENT PROPORTIONAL SHARED SWAPPED LOCKED", then maps memory of its own
   beside the heaps, which the kernel may join with theirs, prints "ready", and waits for its standard input to end. */
#include <brim.h>
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static const char *const kinds[] = {
    [BRIM_HEAP_PRIVATE] = "private", [BRIM_HEAP_FAMILY] = "family", [BRIM_HEAP_FILE] = "file",
    [BRIM_HEAP_SNAPSHOT] = "snapshot", [BRIM_HEAP_LOCKED] = "locked"};

static void fill(struct brim_heap *heap, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += 10 * KIB) {
        void *block = brim_heap_malloc(heap, 10 * KIB);
        if (!block)
            errx(1, "%s", brim_heap_strerror(brim_heap_error()));
        memset(block, 1, 10 * KIB);
    }
}

static struct brim_heap *make(enum brim_heap_kind kind, size_t limit, const char *path)
{
    struct brim_heap *heap = brim_heap_create(
        &(struct brim_heap_options){.size = sizeof(struct brim_heap_options), .kind = kind, .limit = limit,
                                    .path = path});
    if (!heap)
        errx(1, "%s: %s", kinds[kind], brim_heap_strerror(brim_heap_error()));
    fill(heap, limit / 4);
    return heap;
}

static int tell(struct brim_heap *heap, void *unused)
{
    (void)unused;
    struct brim_heap_stats stats;
    if (brim_heap_stats(heap, &stats, sizeof stats) != 0)
        errx(1, "%s", brim_heap_strerror(brim_heap_error()));
    printf("%s %zu %zu %zu %zu %zu %zu %zu\n", kinds[stats.kind], stats.address, stats.limit, stats.resident,
           stats.proportional, stats.shared, stats.swapped, stats.locked);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 2 || chdir(arguments[1]) != 0)
        errx(2, "usage: heaps FOLDER");
    make(BRIM_HEAP_PRIVATE, 16 * MIB, NULL);
    make(BRIM_HEAP_PRIVATE, 24 * MIB, NULL);
    make(BRIM_HEAP_FAMILY, 8 * MIB, NULL);
    make(BRIM_HEAP_FILE, 32 * MIB, "shared.heap");
    make(BRIM_HEAP_LOCKED, 1 * MIB, NULL);
    brim_heap_close(make(BRIM_HEAP_FILE, 64 * MIB, "copied.heap"));
    struct brim_heap *snapshot = brim_heap_open("copied.heap", BRIM_HEAP_SNAPSHOT);
    if (!snapshot)
        errx(1, "snapshot: %s", brim_heap_strerror(brim_heap_error()));
    fill(snapshot, 2 * MIB);
    static char buffer[4 * KIB];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    brim_heap_list(tell, NULL);
    for (int i = 0; i < 20; i++) {
        void *own = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (own == MAP_FAILED)
            err(1, "mmap");
        memset(own, 1, 20 * KIB);
    }
    puts("ready");
    fflush(stdout);
    char c;
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
    return 0;
}
