/* heap_file.c: libFuzzer against the opening and the use of file heaps: whatever the file says, the process that opens
   it neither crashes nor aborts nor hangs, and what it is told are blocks can be used as such.

   An input is a list of changes to the file of a heap that was right, as random bytes would never get beyond the
   header's first. Each is 12 bytes: what, where (3 bytes), value (8 bytes). */
#include "fuzz.h"

#include "allocator/brim.c"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static unsigned char *image, *changed;
static size_t image_size;
static int file;
static char path[64];

struct node {
    brim_ref(struct node) next;
    char text[40];
};

/* A heap with slabs of some classes, full ones and orphans, runs and free slices. */
static void make_image(void)
{
    expect((file = memfd_create("heap", 0)) >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct brim_heap_options options = {
        .size = sizeof options, .kind = BRIM_HEAP_FILE, .path = path, .limit = (size_t)128 << 20};
    struct brim_heap *heap = brim_heap_create(&options);
    expect(heap);
    static void *blocks[600];
    for (size_t i = 0; i < 600; i++) {
        size_t size = i % 150 == 0 ? 70000 : i % 7 == 0 ? 3000 : i % 2 ? 40 : 600;
        expect((blocks[i] = brim_heap_malloc(heap, size)));
        memset(blocks[i], (int)i, size);
    }
    struct node *node = brim_heap_calloc(heap, 1, sizeof *node);
    expect(node && brim_heap_set_root(heap, node) == 0);
    brim_set(heap, node->next, node);
    for (size_t i = 0; i < 600; i++)
        if (i % 3 != 0)
            brim_heap_free(heap, blocks[i]);
    expect(brim_heap_check(heap, NULL, 0) == 0);
    brim_heap_close(heap);
    struct stat status;
    expect(fstat(file, &status) == 0);
    image_size = (size_t)status.st_size;
    expect((image = malloc(image_size)) && (changed = malloc(image_size)));
    expect(pread(file, image, image_size, 0) == (ssize_t)image_size);
}

/* Of the places in a file most hold data, which may be anything: three quarters of the changes go to what is not. */
static size_t place_of(size_t kind, size_t where)
{
    enum { HEADER = 1024, PROCESSES = 8192, TABLE = 32768, TABLE_SIZE = 16384 };
    switch (kind % 8) {
    case 0: return where % image_size;
    case 1: return where % HEADER & ~(size_t)3;
    case 2: return where % PROCESSES & ~(size_t)7;
    case 3: return TABLE + (where % TABLE_SIZE & ~(size_t)7);
    case 4: return TABLE + where % TABLE_SIZE;
    case 5: return TABLE + TABLE_SIZE + where % 64;        /* the bitmap */
    case 6: return TABLE + (where % 64) * 128 + 64;         /* `remote` of the first slices */
    default: return TABLE + (where % 64) * 128 + where / 64 % 16 * 8;
    }
}

static size_t apply(const uint8_t *data, size_t size)
{
    memcpy(changed, image, image_size);
    size_t length = image_size;
    for (; size >= 12; data += 12, size -= 12) {
        size_t where = (size_t)data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
        size_t width = (size_t)1 << (data[0] >> 3 & 3), place = place_of(data[0] & 7, where);
        if ((data[0] & 0xe0) == 0xe0) {
            length = where % (image_size + 1); /* cut off */
            continue;
        }
        if (place + width > image_size)
            continue;
        uint64_t value;
        memcpy(&value, data + 4, sizeof value);
        if ((data[0] & 0xe0) == 0xc0 && width == 8) { /* a neighbour of what is there */
            uint64_t old;
            memcpy(&old, changed + place, sizeof old);
            value = old + (int8_t)data[4];
        }
        memcpy(changed + place, &value, width);
    }
    return length;
}

struct seen {
    void *blocks[256];
    size_t count;
};

static int see(void *block, size_t size, void *argument)
{
    struct seen *seen = argument;
    if (seen->count < sizeof seen->blocks / sizeof seen->blocks[0])
        seen->blocks[seen->count++] = block;
    if (size != 0) {
        ((volatile char *)block)[0] = 1;
        ((volatile char *)block)[size - 1] = 1;
    }
    return 0;
}

static void use(struct brim_heap *heap, int with_stats)
{
    struct node *node = brim_heap_root(heap);
    (void)node; /* a program that knows its file has been tampered with would not follow it */
    void *fresh[64] = {NULL};
    for (size_t i = 0; i < 64; i++) {
        size_t size = i < 60 ? (size_t)20 << i % 6 * 2 : 40000 * (i - 59);
        fresh[i] = brim_heap_malloc(heap, size);
        if (fresh[i])
            memset(fresh[i], 0x5a, size);
    }
    struct seen seen = {.count = 0};
    int walked = brim_heap_walk(heap, see, &seen);
    char fault[200];
    int checked = brim_heap_check(heap, fault, sizeof fault);
    if (checked == 0)
        expect(walked == 0 && fault[0] == '\0');
    else
        expect(errno != 0);
    if (with_stats) { /* reading smaps takes long under the sanitizers */
        struct brim_heap_stats stats;
        brim_heap_stats(heap, &stats, sizeof stats);
    }
    for (size_t i = 0; i < 64; i += 2)
        brim_heap_free(heap, fresh[i]);
    for (size_t i = 0; i < seen.count; i++) {
        size_t j = 0;
        while (j < 64 && fresh[j] != seen.blocks[i])
            j++;
        if (j < 64)
            continue;
        if (i % 3 == 0)
            brim_heap_realloc(heap, seen.blocks[i], 100 + i * 300);
        else
            brim_heap_free(heap, seen.blocks[i]);
    }
    for (size_t i = 0; i < 100; i++)
        brim_heap_calloc(heap, 1, i * 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!image)
        make_image();
    if (size < 1)
        return 0;
    enum brim_heap_kind mode = data[0] & 1 ? BRIM_HEAP_FILE : BRIM_HEAP_SNAPSHOT;
    size_t length = apply(data + 1, size - 1);
    expect(ftruncate(file, 0) == 0 && ftruncate(file, (off_t)length) == 0);
    expect(pwrite(file, changed, length, 0) == (ssize_t)length);
    struct brim_heap *heap = brim_heap_open(path, mode);
    if (!heap) {
        expect(errno != 0 && brim_heap_error() != BRIM_HEAP_OK);
        return 0;
    }
    use(heap, data[0] >= 250);
    brim_heap_close(heap);
    return 0;
}
