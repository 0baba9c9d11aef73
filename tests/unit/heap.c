/* heap.c: heaps of every kind against a model of what is live; what the functions of brim.h promise. */
#include "unit.h"

#include "heaps.h"

#include <sys/mount.h>

static void remove_file(void) { unlink(file_name()); }

static const enum brim_heap_kind kinds[] = {BRIM_HEAP_PRIVATE, BRIM_HEAP_FAMILY, BRIM_HEAP_FILE, BRIM_HEAP_LOCKED};

static void random_operations(enum brim_heap_kind kind)
{
    static struct model model;
    model.random = random_begin();
    model.heap = heap_of_kind(kind, 0);
    for (int round = 0; round < 20; round++) {
        model_steps(&model, 3000);
        model_check(&model);
    }
    while (model.count > 0)
        model_drop(&model, model.count - 1);
    heap_is_good(model.heap);
    check(brim_heap_destroy(model.heap) == 0);
    remove_file();
}

Test(heap, random_operations_private) { random_operations(BRIM_HEAP_PRIVATE); }
Test(heap, random_operations_family) { random_operations(BRIM_HEAP_FAMILY); }
Test(heap, random_operations_file) { random_operations(BRIM_HEAP_FILE); }
Test(heap, random_operations_locked) { random_operations(BRIM_HEAP_LOCKED); }

Test(heap, many_kinds_at_once_know_their_blocks)
{
    struct brim_heap *heaps[COUNT_OF(kinds)];
    void *blocks[COUNT_OF(kinds)];
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        heaps[i] = heap_of_kind(kinds[i], 0);
        blocks[i] = brim_heap_malloc(heaps[i], 100);
        check(blocks[i] && brim_heap_of(blocks[i]) == heaps[i] && brim_heap_usable_size(heaps[i], blocks[i]) == 112);
    }
    check(brim_heap_of(&heaps) == NULL);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        brim_heap_free(heaps[i], blocks[i]);
        brim_heap_close(heaps[i]);
        check(brim_heap_of(blocks[i]) == NULL);
    }
    remove_file();
}

/* ---- a root, offsets, links ---- */

struct node {
    brim_ref(struct node) next;
    int value;
};

static void push_node(struct brim_heap *heap, int value)
{
    struct node *node = brim_heap_malloc(heap, sizeof *node);
    check(node);
    node->value = value;
    brim_set(heap, node->next, brim_heap_root(heap));
    check(brim_heap_set_root(heap, node) == 0);
}

static int sum_nodes(struct brim_heap *heap)
{
    int sum = 0;
    for (struct node *node = brim_heap_root(heap); node; node = brim_get(heap, node->next))
        sum += node->value;
    return sum;
}

Test(heap, offsets_are_checked)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, 0);
    char *block = brim_heap_malloc(heap, 10);
    check(brim_heap_root(heap) == NULL);
    check(brim_heap_pointer(heap, brim_heap_offset(heap, block)) == block);
    check(brim_heap_offset(heap, NULL) == 0 && brim_heap_pointer(heap, 0) == NULL);
    check(brim_heap_offset(heap, &heap) == 0);
    check(brim_heap_pointer(heap, (brim_offset)1 << 36) == NULL && brim_heap_pointer(heap, ~0ull) == NULL);
    errno = 0;
    check(brim_heap_set_root(heap, &heap) == -1 && errno == EINVAL && brim_heap_error() == BRIM_HEAP_INVALID);
    check(brim_heap_set_root(heap, block) == 0 && brim_heap_root(heap) == block);
    check(brim_heap_set_root(heap, NULL) == 0 && brim_heap_root(heap) == NULL);
    brim_heap_close(heap);
}

/* ---- files ---- */

Test(heap, a_file_is_found_again_at_another_address)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
    for (int i = 1; i <= 1000; i++)
        push_node(heap, i);
    check(brim_heap_sync(heap) == 0);
    uintptr_t first = heap->base;
    struct brim_heap *second = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    check(second && second != heap && second->base != first);
    check(sum_nodes(second) == 500500);
    push_node(second, 1);
    check(sum_nodes(heap) == 500501);
    heap_is_good(heap);
    brim_heap_close(heap);
    push_node(second, 1);
    heap_is_good(second);
    brim_heap_close(second);
    check((heap = brim_heap_open(file_name(), BRIM_HEAP_FILE)));
    check(sum_nodes(heap) == 500502);
    heap_is_good(heap);
    check(brim_heap_destroy(heap) == 0);
    struct stat status;
    check(stat(file_name(), &status) == 0 && status.st_size == 0);
    check(!brim_heap_open(file_name(), BRIM_HEAP_FILE) && errno == ENODATA && brim_heap_error() == BRIM_HEAP_EMPTY);
    remove_file();
}

Test(heap, what_one_handle_adds_the_other_follows)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
    struct brim_heap *other = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    check(other);
    static brim_offset blocks[400];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) { /* 200 MB: some tables of descriptors */
        char *block = brim_heap_malloc(i % 2 ? heap : other, 500000);
        check(block);
        memset(block, (int)i, 500000);
        blocks[i] = brim_heap_offset(i % 2 ? heap : other, block);
    }
    heap_is_good(heap);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        char *block = brim_heap_pointer(i % 2 ? other : heap, blocks[i]);
        check(block && block[0] == (char)i && block[499999] == (char)i);
        brim_heap_free(i % 2 ? other : heap, block);
    }
    heap_is_good(other);
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == 0 && stats.processes == 2);
    errno = 0;
    check(brim_heap_destroy(heap) == -1 && errno == EBUSY && brim_heap_error() == BRIM_HEAP_BUSY);
    brim_heap_close(other);
    check(brim_heap_destroy(heap) == 0);
    remove_file();
}

/* A run may begin in the last slice that a process knew of before others made the heap larger, and end behind it. */
Test(heap, a_run_across_the_end_of_what_is_known)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
    struct brim_heap *other = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    check(other && brim_heap_malloc(other, 16));
    const size_t sizes[] = {3 * SLICE_SIZE, 20000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        brim_offset offset = brim_heap_offset(heap, brim_heap_malloc(heap, sizes[i]));
        void *block = brim_heap_pointer(other, offset);
        size_t known = (offset >> SLICE_SHIFT) + 1;
        store_relaxed(other->count, known);
        check(brim_heap_usable_size(other, block) >= sizes[i]);
        store_relaxed(other->count, known);
        brim_heap_free(other, block);
        check(!load_relaxed(other->damaged) && load_relaxed(other->count) > known);
    }
    heap_is_good(other);
    brim_heap_close(other);
    brim_heap_close(heap);
    remove_file();
}

Test(heap, snapshots_keep_their_writes)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
    for (int i = 1; i <= 100; i++)
        push_node(heap, i);
    check(!brim_heap_open(file_name(), BRIM_HEAP_SNAPSHOT) && errno == EBUSY);
    brim_heap_close(heap);
    struct brim_heap *first = brim_heap_open(file_name(), BRIM_HEAP_SNAPSHOT);
    struct brim_heap *second = brim_heap_open(file_name(), BRIM_HEAP_SNAPSHOT);
    check(first && second && sum_nodes(first) == 5050);
    check(!brim_heap_open(file_name(), BRIM_HEAP_FILE) && errno == EBUSY && brim_heap_error() == BRIM_HEAP_BUSY);
    for (int i = 1; i <= 100000; i++) /* grows beyond the file */
        push_node(first, 1);
    check(sum_nodes(first) == 105050 && sum_nodes(second) == 5050);
    heap_is_good(first);
    heap_is_good(second);
    brim_heap_close(first);
    push_node(second, 7);
    brim_heap_close(second);
    check((heap = brim_heap_open(file_name(), BRIM_HEAP_FILE)));
    check(sum_nodes(heap) == 5050);
    heap_is_good(heap);
    brim_heap_close(heap);
    remove_file();
}

/* ---- refusals ---- */

static void write_file(const void *bytes, size_t size)
{
    int file = open(file_name(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    check(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    close(file);
}

static void patch_file(size_t offset, uint64_t value, size_t size)
{
    int file = open(file_name(), O_WRONLY);
    check(file >= 0 && pwrite(file, &value, size, (off_t)offset) == (ssize_t)size);
    close(file);
}

static uint64_t hash_of_file(void)
{
    static unsigned char bytes[4 * MIB];
    int file = open(file_name(), O_RDONLY);
    ssize_t length = read(file, bytes, sizeof bytes);
    check(file >= 0 && length >= 0);
    close(file);
    uint64_t hash = (uint64_t)length;
    for (ssize_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

static void expect_refusal(enum brim_heap_error error, int number)
{
    uint64_t before = hash_of_file();
    static const enum brim_heap_kind modes[] = {BRIM_HEAP_FILE, BRIM_HEAP_SNAPSHOT};
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        errno = 0;
        check(!brim_heap_open(file_name(), modes[i]));
        check(brim_heap_error() == error && errno == number);
        check(strlen(brim_heap_strerror(error)) > 5);
    }
    check(hash_of_file() == before);
}

Test(heap, files_that_are_no_heaps_are_refused_and_left_alone)
{
    static char text[100000];
    memset(text, 'x', sizeof text);
    check(!brim_heap_open(file_name(), BRIM_HEAP_FILE) && errno == ENOENT && brim_heap_error() == BRIM_HEAP_SYSTEM);
    check(!brim_heap_open("/tmp", BRIM_HEAP_FILE) && errno == EISDIR);
    check(!brim_heap_open("/dev/null", BRIM_HEAP_FILE) && errno == EINVAL);
    write_file(text, 0);
    expect_refusal(BRIM_HEAP_EMPTY, ENODATA);
    write_file(text, 10);
    expect_refusal(BRIM_HEAP_FOREIGN, EBADMSG);
    write_file(text, sizeof text);
    expect_refusal(BRIM_HEAP_FOREIGN, EBADMSG);
    memset(text, 0, sizeof text);
    write_file(text, sizeof text);
    expect_refusal(BRIM_HEAP_FOREIGN, EBADMSG);
    struct brim_heap_options options = {
        .size = sizeof options, .kind = BRIM_HEAP_FILE, .path = file_name(), .flags = BRIM_HEAP_OR_OPEN};
    uint64_t before = hash_of_file();
    check(!brim_heap_create(&options) && brim_heap_error() == BRIM_HEAP_FOREIGN && hash_of_file() == before);
    memcpy(text, HEAP_MAGIC, 8);
    write_file(text, 20);
    expect_refusal(BRIM_HEAP_TRUNCATED, EBADMSG);
    remove_file();
}

Test(heap, headers_that_do_not_fit_are_refused_and_left_alone)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
    for (int i = 0; i < 100; i++)
        push_node(heap, i);
    struct heap_header header = *heap->header;
    brim_heap_close(heap);
    struct brim_heap_options options = {.size = sizeof options, .kind = BRIM_HEAP_FILE, .path = file_name()};
    check(!brim_heap_create(&options) && errno == EEXIST && brim_heap_error() == BRIM_HEAP_EXISTS);
#define WITH(field, value, error, number)                                                                              \
    do {                                                                                                               \
        patch_file(offsetof(struct heap_header, field), (uint64_t)(value), sizeof header.field);                       \
        expect_refusal(error, number);                                                                                 \
        patch_file(offsetof(struct heap_header, field), (uint64_t)header.field, sizeof header.field);                  \
    } while (0)
    WITH(version, HEAP_VERSION + 1, BRIM_HEAP_VERSION, ENOTSUP);
    WITH(build, header.build ^ 1, BRIM_HEAP_VERSION, ENOTSUP);
    WITH(byte_order, __builtin_bswap32(HEAP_BYTE_ORDER), BRIM_HEAP_BYTE_ORDER, ENOTSUP);
    WITH(page_size, 65536, BRIM_HEAP_PAGE_SIZE, ENOTSUP);
    WITH(limit, UINT64_MAX, BRIM_HEAP_DAMAGED, EUCLEAN);
    WITH(limit, 0, BRIM_HEAP_DAMAGED, EUCLEAN);
    WITH(count, 0, BRIM_HEAP_DAMAGED, EUCLEAN);
    WITH(count, header.count + 1000, BRIM_HEAP_TRUNCATED, EBADMSG);
    heap = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    check(heap);
    heap_is_good(heap);
    brim_heap_close(heap);
    check(truncate(file_name(), SLICE_SIZE) == 0);
    expect_refusal(BRIM_HEAP_TRUNCATED, EBADMSG);
    remove_file();
}

Test(heap, arguments_are_checked)
{
    struct brim_heap_options options = {.size = sizeof options};
    check(!brim_heap_create(NULL) && errno == EINVAL);
    static const struct brim_heap_options bad[] = {
        {.kind = 0},
        {.kind = BRIM_HEAP_SNAPSHOT},
        {.kind = 99},
        {.kind = BRIM_HEAP_FILE},
        {.kind = BRIM_HEAP_PRIVATE, .path = "x"},
        {.kind = BRIM_HEAP_PRIVATE, .flags = BRIM_HEAP_OR_OPEN},
        {.kind = BRIM_HEAP_PRIVATE, .flags = 2},
        {.kind = BRIM_HEAP_PRIVATE, .limit = 1},
        {.kind = BRIM_HEAP_PRIVATE, .limit = SIZE_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        options = bad[i];
        options.size = sizeof options;
        errno = 0;
        check(!brim_heap_create(&options) && errno == EINVAL && brim_heap_error() == BRIM_HEAP_INVALID);
    }
    check(!brim_heap_open(NULL, BRIM_HEAP_FILE) && errno == EINVAL);
    check(!brim_heap_open("x", BRIM_HEAP_PRIVATE) && errno == EINVAL);
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, MIB);
    check(!brim_heap_aligned_alloc(heap, 48, 10) && errno == EINVAL);
    check(!brim_heap_aligned_alloc(heap, 2 * SLICE_SIZE, 10) && errno == EINVAL);
    check(!brim_heap_calloc(heap, SIZE_MAX / 2, 3) && errno == ENOMEM);
    check(!brim_heap_malloc(heap, SIZE_MAX) && errno == ENOMEM);
    check(brim_heap_sync(heap) == -1 && errno == EINVAL);
    errno = 0;
    brim_heap_free(heap, NULL);
    brim_heap_close(NULL);
    check(errno == 0 && brim_heap_usable_size(heap, NULL) == 0);
    brim_heap_close(heap);
}

Test(heap, a_limit_is_kept_and_what_is_freed_serves_again)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, MIB);
    for (int round = 0; round < 3; round++) {
        void *blocks[2000];
        size_t count = 0, size = (size_t[]){1000, 100000, 16}[round];
        while (count < 2000 && (blocks[count] = brim_heap_malloc(heap, size)))
            count++;
        if (size != 16)
            check(errno == ENOMEM && brim_heap_error() == BRIM_HEAP_LIMIT && count * size > MIB / 2);
        heap_is_good(heap);
        while (count > 0)
            brim_heap_free(heap, blocks[--count]);
    }
    heap_is_good(heap);
    brim_heap_close(heap);
}

Test(heap, misuse_ends_the_process)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, 0);
    char *small = brim_heap_malloc(heap, 100), *large = brim_heap_malloc(heap, 100000), line[100];
    snprintf(line, sizeof line, "brim: double free: %p", (void *)small);
    expect_fatal(line, brim_heap_free(heap, small); brim_heap_free(heap, small));
    snprintf(line, sizeof line, "brim: double free: %p", (void *)large);
    expect_fatal(line, brim_heap_free(heap, large); brim_heap_free(heap, large));
    snprintf(line, sizeof line, "brim: invalid free of an interior pointer: %p", (void *)(small + 16));
    expect_fatal(line, brim_heap_free(heap, small + 16));
    snprintf(line, sizeof line, "brim: invalid free of an interior pointer: %p", (void *)(large + 70000));
    expect_fatal(line, brim_heap_free(heap, large + 70000));
    snprintf(line, sizeof line, "brim: invalid free: %p", (void *)&heap);
    expect_fatal(line, brim_heap_free(heap, &heap));
    snprintf(line, sizeof line, "brim: invalid free: %p", (void *)heap->base);
    expect_fatal(line, brim_heap_free(heap, (void *)heap->base));
    brim_heap_close(heap);
}

/* ---- fork ---- */

Test(heap, a_family_shares_its_heap)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FAMILY, 0);
    for (int i = 0; i < 100; i++)
        push_node(heap, 1);
    expect_in_child(for (int i = 0; i < 100000; i++) push_node(heap, 1); heap_is_good(heap));
    check(sum_nodes(heap) == 100100);
    /* The child is dead, and its slabs are everybody's. */
    heap_is_good(heap);
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.processes == 1 && stats.blocks == 100100);
    struct node *node = brim_heap_root(heap);
    while (node) {
        struct node *next = brim_get(heap, node->next);
        brim_heap_free(heap, node);
        node = next;
    }
    heap_is_good(heap);
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == 0);
    brim_heap_close(heap);
}

Test(heap, a_child_has_a_copy_of_a_private_heap)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, 0);
    for (int i = 0; i < 1000; i++)
        push_node(heap, 1);
    struct node *node = brim_heap_root(heap);
    expect_in_child(brim_heap_set_root(heap, brim_get(heap, node->next)); brim_heap_free(heap, node);
                    for (int i = 0; i < 1000; i++) push_node(heap, 1); check(sum_nodes(heap) == 1999);
                    heap_is_good(heap));
    check(sum_nodes(heap) == 1000);
    brim_heap_free(heap, brim_heap_malloc(heap, 100));
    heap_is_good(heap);
    brim_heap_close(heap);
}

Test(heap, a_child_has_nothing_of_a_locked_heap)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_LOCKED, 0);
    char *secret = brim_heap_malloc(heap, 100);
    strcpy(secret, "secret");
    expect_in_child(check(secret[0] == 0); check(!brim_heap_malloc(heap, 10) && errno == EPERM);
                    check(brim_heap_error() == BRIM_HEAP_WIPED); brim_heap_free(heap, secret));
    check(strcmp(secret, "secret") == 0);
    brim_heap_free(heap, secret);
    for (size_t i = 8; i < 112; i++)
        check(secret[i] == 0);
    heap_is_good(heap);
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0);
    check(stats.locked == stats.heap && stats.resident == stats.locked); /* the header, too */
    brim_heap_close(heap);
}

Test(heap, locking_is_limited)
{
    if (getuid() != 0)
        cr_skip_test("needs root, to become a user with a limit");
    expect_in_child(struct rlimit limit = {0, 0}; check(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
                    check(setuid(65534) == 0);
                    struct brim_heap_options options = {.size = sizeof options, .kind = BRIM_HEAP_LOCKED};
                    check(!brim_heap_create(&options)); check(brim_heap_error() == BRIM_HEAP_LOCK_LIMIT);
                    check(errno == EPERM || errno == ENOMEM));
}

/* ---- a full disk ---- */

static void fill_small_disk(void)
{
    struct brim_heap_options options = {.size = sizeof options, .kind = BRIM_HEAP_FILE, .path = "/tmp/heap"};
    struct brim_heap *heap = brim_heap_create(&options);
    check(heap);
    static char *blocks[1000];
    size_t count = 0;
    errno = 0;
    while (count < COUNT_OF(blocks) && (blocks[count] = brim_heap_malloc(heap, 10000))) {
        memset(blocks[count], 1, 10000); /* what was handed out has its place: no SIGBUS */
        count++;
    }
    check(count > 100 && count < 200 && errno == ENOSPC && brim_heap_error() == BRIM_HEAP_NO_SPACE);
    heap_is_good(heap);
    check(!brim_heap_malloc(heap, 5000000) && errno == ENOSPC);
    brim_heap_free(heap, blocks[--count]);
    check(brim_heap_malloc(heap, 10000));
    heap_is_good(heap);
    brim_heap_close(heap);
    heap = brim_heap_open("/tmp/heap", BRIM_HEAP_FILE);
    check(heap);
    heap_is_good(heap);
    check(brim_heap_destroy(heap) == 0);
    /* No room even for the beginning. */
    int file = open("/tmp/filler", O_CREAT | O_WRONLY, 0600);
    char page[4096] = {1};
    while (write(file, page, sizeof page) > 0)
        ;
    check(!brim_heap_create(&options) && errno == ENOSPC && brim_heap_error() == BRIM_HEAP_NO_SPACE);
    struct stat status;
    check(stat("/tmp/heap", &status) == 0 && status.st_size == 0);
}

Test(heap, a_full_disk_is_an_error_and_no_signal)
{
    struct child child = child_begin();
    if (child.process == 0) {
        enum { IMPOSSIBLE = 77 };
        if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0)
            _exit(IMPOSSIBLE);
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("none", "/tmp", "tmpfs", 0, "size=2m") != 0)
            _exit(IMPOSSIBLE);
        fill_small_disk();
        _exit(0);
    }
    char output[1000];
    int end = child_end(&child, output, sizeof output);
    if (end == 77)
        cr_skip_test("no mounts here");
    if (end != 0)
        dprintf(STDERR_FILENO, "%s", output);
    check(end == 0);
}

/* ---- kills at every instruction would take days: here at every store that matters ---- */

/* What a process that died at the worst moment leaves is made by hand, and recovered by who comes next. */
static struct brim_heap *heap_left_by_the_dead(void (*leave)(struct brim_heap *heap))
{
    file_name(); /* the same for both */
    struct child child = child_begin();
    if (child.process == 0) {
        struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FILE, 0);
        for (int i = 0; i < 500; i++)
            push_node(heap, 1);
        leave(heap);
        kill(getpid(), SIGKILL);
    }
    char output[1000];
    check(child_end(&child, output, sizeof output) == -SIGKILL);
    struct brim_heap *heap = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    if (!heap)
        dprintf(STDERR_FILENO, "%s\n", brim_heap_strerror(brim_heap_error()));
    return heap;
}

static void leave_with_lock(struct brim_heap *heap) { heap_lock_word(heap); }

static void leave_detached_run(struct brim_heap *heap)
{
    bool zero;
    heap_lock_word(heap);
    check(heap_run_take(heap, 5, 1, &zero) != 0);
}

static void leave_half_released_run(struct brim_heap *heap)
{
    char *block = brim_heap_malloc(heap, 300000);
    size_t index = ((uintptr_t)block - heap->base) >> SLICE_SHIFT;
    heap_lock_word(heap);
    heap_run_publish(heap_slice(heap, index), HEAP_DETACHED);
    store_relaxed(heap_slice(heap, index + 2)->run, HEAP_RUN(HEAP_FREE, 0));
    heap_mark(heap, index + 1, 2, false);
}

static struct heap_slice *first_open(struct brim_heap *heap)
{
    brim_heap_malloc(heap, 2000);
    struct heap_slice *slice = thread_shard->open[class_of(2000)];
    check(slice != &heap_slice_none);
    return slice;
}

static void leave_half_formed(struct brim_heap *heap)
{
    struct heap_slice *slice = first_open(heap);
    while (load_relaxed(slice->head) != LINK_EMPTY)
        brim_heap_malloc(heap, 2000);
    uint64_t units = load_relaxed(slice->unformed) & -load_relaxed(slice->unformed);
    check(units != 0);
    slice->forming = units;
    store_relaxed(slice->unformed, load_relaxed(slice->unformed) & ~units);
}

static void leave_taken(struct brim_heap *heap)
{
    struct heap_slice *slice = first_open(heap);
    void *block = brim_heap_malloc(heap, 2000);
    while (load_relaxed(slice->head) != LINK_EMPTY)
        brim_heap_malloc(heap, 2000);
    uint64_t remote = load_relaxed(slice->remote);
    check(heap_slab_push_remote(slice, &remote, block, (uintptr_t)block - (thread_shard->origin[class_of(2000)] + BLOCK_ALIGNMENT),
                                &heap->key));
    remote = load_relaxed(slice->remote);
    slice->taken = REMOTE_LIST(remote);
    store_relaxed(slice->remote, remote & ~0xffffffffull); /* and dies before it is the list */
}

static void leave_half_recovered(struct brim_heap *heap)
{
    heap_lock_word(heap);
    heap->header->unrecovered = true;
    memset(heap->header->orphans, 0, sizeof heap->header->orphans);
}

Test(heap, whatever_the_dead_leave_is_recovered)
{
    static void (*const leavings[])(struct brim_heap * heap) = {leave_with_lock,   leave_detached_run,
                                                                leave_half_released_run, leave_half_formed,
                                                                leave_taken,       leave_half_recovered};
    for (size_t i = 0; i < COUNT_OF(leavings); i++) {
        struct brim_heap *heap = heap_left_by_the_dead(leavings[i]);
        check(heap);
        heap_is_good(heap);
        check(sum_nodes(heap) == 500);
        struct brim_heap_stats stats;
        check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.recovered == 1 && stats.processes == 1);
        if (leavings[i] == leave_half_released_run)
            check(stats.runs == 0);
        static struct model model;
        model = (struct model){.heap = heap, .random = random_begin()};
        model_steps(&model, 2000);
        heap_is_good(heap);
        check(brim_heap_destroy(heap) == 0);
    }
    remove_file();
}

Test(heap, large_runs_are_given_back)
{
    static const enum brim_heap_kind returning[] = {BRIM_HEAP_PRIVATE, BRIM_HEAP_FAMILY};
    for (size_t i = 0; i < COUNT_OF(returning); i++) {
        struct brim_heap *heap = heap_of_kind(returning[i], 0);
        struct brim_heap_stats stats;
        char *block = brim_heap_malloc(heap, 50 * MIB);
        memset(block, 1, 50 * MIB);
        check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.resident > 50 * MIB);
        check(stats.shared + stats.private_ == stats.resident && stats.dirty > 50 * MIB);
        brim_heap_free(heap, block);
        check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.resident < MIB);
        block = brim_heap_calloc(heap, 50, MIB);
        check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.resident < MIB);
        for (size_t at = 0; at < 50 * MIB; at++)
            check(block[at] == 0);
        heap_is_good(heap);
        brim_heap_close(heap);
    }
}

/* The kernel joins mappings that look alike: then none would begin in the heap. */
Test(heap, neighbours_are_told_apart)
{
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_PRIVATE, 0);
    uintptr_t below = heap->base - os_page_size;
    void *neighbour = mmap((void *)below, os_page_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    check(neighbour == MAP_FAILED && errno == EEXIST);
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.resident != 0 && stats.resident <= stats.heap);
    uintptr_t end = heap->base + stats.limit;
    brim_heap_close(heap);
    /* The pages on either side go with it. */
    for (size_t i = 0; i < 2; i++) {
        neighbour = mmap((void *)(i ? end : below), os_page_size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        check(neighbour != MAP_FAILED && munmap(neighbour, os_page_size) == 0);
    }
}

/* ---- threads ---- */

static _Atomic bool churning;

static void *churn(void *argument)
{
    struct brim_heap *heap = argument;
    void *blocks[64] = {NULL};
    for (unsigned i = 0; atomic_load(&churning); i++) {
        size_t at = i * 7 % COUNT_OF(blocks), size = i % 5 == 0 ? 70000 + i % 7 * 50000 : 20 + i % 13 * 2000;
        brim_heap_free(heap, blocks[at]);
        blocks[at] = brim_heap_malloc(heap, size);
        check(blocks[at]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        brim_heap_free(heap, blocks[i]);
    return NULL;
}

static int count_block(void *block, size_t size, void *count)
{
    (void)block;
    (void)size;
    ++*(size_t *)count;
    return 0;
}

Test(heap, walking_among_others_finds_no_fault)
{
    enum { THREADS = 3, WALKS = 3000 };
    pthread_t threads[THREADS];
    struct brim_heap *heap = heap_of_kind(BRIM_HEAP_FAMILY, 0);
    atomic_store(&churning, true);
    for (size_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, churn, heap) == 0);
    for (size_t i = 0, blocks; i < WALKS; i++)
        check(brim_heap_walk(heap, count_block, (blocks = 0, &blocks)) == 0);
    atomic_store(&churning, false);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    heap_is_good(heap);
    brim_heap_close(heap);
}

/* ---- less address space than others ---- */

static void see_only_part(struct brim_heap *all)
{
    FILE *file = fopen("/proc/self/statm", "re");
    size_t pages;
    check(file && fscanf(file, "%zu", &pages) == 1 && fclose(file) == 0);
    struct rlimit limit = {pages * os_page_size + 100 * MIB, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    struct brim_heap *part = brim_heap_open(file_name(), BRIM_HEAP_FILE);
    check(part);
    struct brim_heap_stats stats;
    check(brim_heap_stats(part, &stats, sizeof stats) == 0 && stats.limit < 128 * MIB);
    void *block = brim_heap_malloc(part, 100);
    check(block && brim_heap_malloc(all, 80 * MIB));
    errno = 0;
    check(!brim_heap_malloc(part, 100000) && errno == ENOMEM && brim_heap_error() == BRIM_HEAP_NO_MEMORY);
    brim_heap_free(part, block);
    brim_heap_close(part);
}

Test(heap, who_sees_only_part_damages_nothing)
{
    struct brim_heap_options options = {
        .size = sizeof options, .kind = BRIM_HEAP_FILE, .path = file_name(), .limit = 128 * MIB};
    struct brim_heap *heap = brim_heap_create(&options);
    check(heap);
    see_only_part(heap);
    heap_is_good(heap);
    struct brim_heap_stats stats;
    check(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == 1 && stats.processes == 1);
    brim_heap_close(heap);
    remove_file();
}
