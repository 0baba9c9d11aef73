/* api.c: all entry points of C and POSIX, called by several threads, against a shadow model that knows of every block
   where it is, how large, how aligned, and what is in it.

   An input is a sequence of segments. A segment's first byte says who runs it, and how many operations of four bytes
   follow: one of the workers, while the others wait; or all of them at once, each those on its own slots. So most of
   what happens is a function of the input, and blocks are freed by other threads than allocated them, one after the
   other and at the same time. When the input ends, everything is freed, and all rooms are valid and empty. */
#include "fuzz.h"

#include "allocator/brim.c"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

enum { WORKERS = 3, SLOTS = 48, OPERATIONS = 64 };
enum { LIVE_MAX = 64 << 20, KNOWN_MAX = 64 << 10, ENDS = 64 };

/* ---- the shadow model ---- */

struct shadow {
    unsigned char *start; /* NULL: nothing */
    size_t size, usable, alignment;
    unsigned char stamp;
};
static struct shadow slots[SLOTS]; /* each is one worker's at a time */

static pthread_mutex_t extents_lock = PTHREAD_MUTEX_INITIALIZER;
static struct extent {
    uintptr_t from, to;
} extents[SLOTS]; /* what is live, by slot; under the lock */
static size_t live_bytes;

static void extent_add(size_t at)
{
    uintptr_t from = (uintptr_t)slots[at].start, to = from + max_size(slots[at].usable, 1);
    pthread_mutex_lock(&extents_lock);
    for (size_t i = 0; i < SLOTS; i++)
        expect(to <= extents[i].from || from >= extents[i].to);
    extents[at] = (struct extent){from, to};
    live_bytes += slots[at].usable;
    pthread_mutex_unlock(&extents_lock);
}

/* Before the block goes. */
static void extent_remove(size_t at)
{
    pthread_mutex_lock(&extents_lock);
    extents[at] = (struct extent){0, 0};
    live_bytes -= slots[at].usable;
    pthread_mutex_unlock(&extents_lock);
}

static bool too_much(size_t size)
{
    pthread_mutex_lock(&extents_lock);
    bool full = live_bytes + size > LIVE_MAX;
    pthread_mutex_unlock(&extents_lock);
    return full;
}

static bool bytes_are(const unsigned char *at, size_t size, unsigned char stamp)
{
    return size == 0 || (at[0] == stamp && memcmp(at, at + 1, size - 1) == 0);
}

/* Are the first `length` of a block's `usable` bytes, as far as they are known, the stamp? */
static bool shadow_is(const struct shadow *shadow, size_t usable, size_t length, unsigned char stamp)
{
    if (usable <= KNOWN_MAX)
        return bytes_are(shadow->start, length, stamp);
    return bytes_are(shadow->start, min_size(length, ENDS), stamp) &&
           (length < usable || bytes_are(shadow->start + usable - ENDS, ENDS, stamp));
}

static void shadow_fill(struct shadow *shadow, unsigned char stamp)
{
    shadow->stamp = stamp;
    if (shadow->usable <= KNOWN_MAX) {
        memset(shadow->start, stamp, shadow->usable);
        return;
    }
    memset(shadow->start, stamp, ENDS);
    memset(shadow->start + shadow->usable - ENDS, stamp, ENDS);
}

static void shadow_verify(size_t at)
{
    const struct shadow *shadow = &slots[at];
    if (!shadow->start)
        return;
    expect(malloc_usable_size(shadow->start) == shadow->usable);
    expect(shadow_is(shadow, shadow->usable, shadow->usable, shadow->stamp));
}

/* Takes note of a new block, which may be NULL only for want of memory. */
static void shadow_begin(size_t at, void *p, size_t alignment, size_t size, bool zero, unsigned char stamp)
{
    struct shadow *shadow = &slots[at];
    expect(p); /* there is memory for all that LIVE_MAX allows */
    *shadow = (struct shadow){p, size, malloc_usable_size(p), max_size(alignment, 16), stamp};
    expect((uintptr_t)p % shadow->alignment == 0 && shadow->usable >= size && brim_owns(p));
    expect(!zero || (bytes_are(p, min_size(size, KNOWN_MAX), 0) &&
                     bytes_are((unsigned char *)p + size - min_size(size, KNOWN_MAX), min_size(size, KNOWN_MAX), 0)));
    extent_add(at);
    shadow_fill(shadow, stamp);
}

enum release { BY_FREE, BY_SIZE, BY_REALLOC };

static void shadow_end(size_t at, enum release how)
{
    struct shadow shadow = slots[at];
    if (!shadow.start)
        return;
    shadow_verify(at);
    extent_remove(at);
    slots[at].start = NULL;
    errno = EXDEV;
    if (how == BY_REALLOC)
        expect(!realloc(shadow.start, 0));
    else if (how == BY_FREE)
        free(shadow.start);
    else if (shadow.alignment > 16)
        free_aligned_sized(shadow.start, shadow.alignment, shadow.size);
    else
        free_sized(shadow.start, shadow.size);
    expect(errno == EXDEV);
}

/* ---- operations ---- */

enum operation_kind {
    MALLOC,
    CALLOC,
    ALIGNED_ALLOC,
    POSIX_MEMALIGN,
    MEMALIGN,
    PAGES,
    RESIZE,
    RESIZE_ARRAY,
    FREE,
    FREE_BY_SIZE,
    VERIFY,
    IMPOSSIBLE,
    SETTING,
    TRIM,
    STATISTICS,
    FORK, /* by a worker that runs alone; so are the two above, for the sake of speed */
    KINDS
};

struct operation {
    enum operation_kind kind;
    size_t slot, size;
    unsigned char detail;
};

/* 1 to 256, times a power of two up to 32 Ki, give or take 8. */
static size_t size_of(unsigned a, unsigned b)
{
    size_t size = (size_t)(b + 1) << (a & 15);
    size_t less = a >> 4;
    return size + 8 > less ? size + 8 - less : 0;
}

static void allocate(const struct operation *operation)
{
    size_t at = operation->slot, size = operation->size, page = os_page_size;
    size_t alignment = (size_t)1 << operation->detail % 21;
    unsigned char stamp = operation->detail | 1;
    void *p = NULL;
    bool zero = false;
    if (slots[at].start || too_much(size))
        return;
    switch (operation->kind) {
    case CALLOC: {
        size_t count = size % 7 == 0 ? 7 : 1;
        p = calloc(count, size / count);
        zero = true;
        alignment = 1;
        break;
    }
    case ALIGNED_ALLOC: p = aligned_alloc(alignment, size); break;
    case POSIX_MEMALIGN:
        alignment = max_size(alignment, sizeof(void *));
        errno = EXDEV;
        expect(posix_memalign(&p, alignment, size) == 0 && errno == EXDEV);
        break;
    case MEMALIGN: p = memalign(alignment, size); break;
    case PAGES:
        p = operation->detail & 1 ? valloc(size) : pvalloc(size);
        size = operation->detail & 1 ? size : align_up(size, page);
        alignment = page;
        break;
    default: p = operation->detail % 8 == 0 ? realloc(NULL, size) : malloc(size); alignment = 1;
    }
    shadow_begin(at, p, alignment, size, zero, stamp);
}

static void resize(const struct operation *operation)
{
    struct shadow before = slots[operation->slot];
    size_t size = operation->size;
    if (operation->detail % 4 == 0) /* just about what the block can hold, or the half of it */
        size = (operation->detail % 8 == 0 ? before.usable : before.usable / 2) + size % 40 - 20;
    size = min_size(max_size(size, 1), LIVE_MAX);
    if (!before.start || too_much(size))
        return;
    shadow_verify(operation->slot);
    extent_remove(operation->slot);
    unsigned char *p = operation->kind == RESIZE ? realloc(before.start, size)
                                                 : reallocarray(before.start, size % 3 == 0 ? 3 : 1,
                                                                size % 3 == 0 ? size / 3 : size);
    expect(p);
    struct shadow moved = {.start = p};
    expect(shadow_is(&moved, before.usable, min_size(before.size, size), before.stamp));
    shadow_begin(operation->slot, p, 1, size, false, before.stamp);
}

/* Requests that nobody can meet change nothing but errno, or not even that. */
static void ask_the_impossible(const struct operation *operation)
{
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 15, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, (size_t)1 << 62};
    size_t size = sizes[operation->detail % 5];
    void *p = (void *)&sizes;
    errno = 0;
    switch (operation->size % 8) {
    case 0: expect(!malloc(size) && errno == ENOMEM); break;
    case 1: expect(!calloc(size, 1) && errno == ENOMEM); break;
    case 2: expect(!calloc((size_t)1 << 33, (size_t)1 << (31 + operation->detail % 8)) && errno == ENOMEM); break;
    case 3: expect(!aligned_alloc((size_t)1 << operation->detail % 64, size) && errno == ENOMEM); break;
    case 4: expect(posix_memalign(&p, 64, size) == ENOMEM && p == (void *)&sizes); break;
    case 5: expect(posix_memalign(&p, 24, 10) == EINVAL && p == (void *)&sizes); break;
    case 6: expect(!aligned_alloc(48, 96) && errno == EINVAL); break;
    default:
        expect(!reallocarray(slots[operation->slot].start, (size_t)1 << 40, (size_t)1 << 40) && errno == ENOMEM);
        expect(!realloc(slots[operation->slot].start, size) && errno == ENOMEM);
        shadow_verify(operation->slot);
    }
}

static void change_a_setting(const struct operation *operation)
{
    static const int parameters[] = {M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD,  M_MMAP_MAX,
                                     M_PERTURB,        M_MXFAST,         M_ARENA_MAX};
    int parameter = parameters[operation->detail % COUNT_OF(parameters)];
    PUBLIC(mallopt)(parameter, (int)operation->size);
}

/* What the settings were. */
static void settle(void)
{
    store_relaxed(mapping_policy.threshold, OPTION_DEFAULT(mmap_threshold));
    store_relaxed(mapping_policy.dynamic, true);
    store_relaxed(mapping_policy.count_max, OPTION_DEFAULT(mmap_max));
    store_relaxed(region_policy.top_pad, OPTION_DEFAULT(top_pad));
    store_relaxed(region_policy.many_pad, OPTION_DEFAULT(many_pad));
    store_relaxed(region_policy.trim_threshold, OPTION_DEFAULT(trim_threshold));
    store_relaxed(region_policy.trim_explicit, false);
    alloc_set_perturb(0);
}

static void live_in_a_child(const struct operation *operation)
{
    pid_t child = fork();
    expect(child >= 0);
    if (child == 0) {
        alarm(60);
        for (size_t at = 0; at < SLOTS; at++)
            shadow_end(at, (enum release)(at % 2));
        for (size_t at = 0; at < SLOTS; at++)
            allocate(&(struct operation){.kind = MALLOC, .slot = at, .size = operation->size, .detail = 1});
        for (size_t at = 0; at < SLOTS; at++)
            shadow_end(at, BY_FREE);
        _exit(0);
    }
    int status;
    expect(waitpid(child, &status, 0) == child && status == 0);
}

static void operate(const struct operation *operation)
{
    switch (operation->kind) {
    case RESIZE:
    case RESIZE_ARRAY: resize(operation); break;
    case FREE: shadow_end(operation->slot, operation->detail % 16 == 0 ? BY_REALLOC : BY_FREE); break;
    case FREE_BY_SIZE: shadow_end(operation->slot, BY_SIZE); break;
    case VERIFY: shadow_verify(operation->slot); break;
    case IMPOSSIBLE: ask_the_impossible(operation); break;
    case SETTING: change_a_setting(operation); break;
    case TRIM: PUBLIC(malloc_trim)(operation->size); break;
    case STATISTICS: expect(PUBLIC(mallinfo2)().uordblks <= PUBLIC(mallinfo2)().arena); break;
    case FORK: live_in_a_child(operation); break;
    default: allocate(operation);
    }
}

/* ---- workers ---- */

static struct worker {
    pthread_t thread;
    sem_t begin, done;
    bool end;
    struct operation operations[OPERATIONS];
    size_t count;
} workers[WORKERS];

static void *work(void *what)
{
    struct worker *worker = what;
    for (;; sem_post(&worker->done)) {
        while (sem_wait(&worker->begin) != 0)
            ;
        for (size_t i = 0; i < worker->count; i++)
            operate(&worker->operations[i]);
        worker->count = 0;
        if (worker->end)
            return NULL;
    }
}

static void worker_start(struct worker *worker)
{
    worker->end = false;
    sem_init(&worker->begin, 0, 0);
    sem_init(&worker->done, 0, 0);
    expect(pthread_create(&worker->thread, NULL, work, worker) == 0);
}

/* Runs what is queued: on all workers at once. */
static void run_queues(void)
{
    for (size_t i = 0; i < WORKERS; i++)
        if (workers[i].count != 0)
            sem_post(&workers[i].begin);
        else
            sem_post(&workers[i].done);
    for (size_t i = 0; i < WORKERS; i++)
        while (sem_wait(&workers[i].done) != 0)
            ;
}

static void worker_replace(struct worker *worker)
{
    worker->end = true;
    sem_post(&worker->begin);
    expect(pthread_join(worker->thread, NULL) == 0);
    worker_start(worker);
}

static struct operation next_operation(struct input *input)
{
    unsigned kind = input_byte(input), slot = input_byte(input), a = input_byte(input), b = input_byte(input);
    return (struct operation){kind % KINDS, slot % SLOTS, size_of(a, b), (unsigned char)(kind / KINDS * 16 + a % 16)};
}

static void run_segment(struct input *input, size_t *forks)
{
    unsigned first = input_byte(input);
    size_t count = 1 + (first >> 2) % 32;
    if (first >> 7 && first % 4 < WORKERS)
        worker_replace(&workers[first % 4]);
    for (size_t i = 0; i < count && input->at < input->end; i++) {
        struct operation operation = next_operation(input);
        bool alone = first % 4 < WORKERS;
        if (operation.kind >= SETTING && (!alone || (operation.kind == FORK && (*forks)++ != 0)))
            continue;
        struct worker *worker = &workers[alone ? first % 4 : operation.slot % WORKERS];
        worker->operations[worker->count++] = operation;
    }
    run_queues();
}

/* ---- all is free: nothing may be left ---- */

static void expect_nothing_left(void)
{
    for (size_t i = 0; i < region_count; i++) {
        struct region *region = &regions[i];
        expect(region_valid(region));
        for (size_t at = 0, length; at < region->count; at += length) {
            struct slice *head = &region->map[at];
            length = run_length(head);
            expect(run_kind(head) == RUN_FREE || run_kind(head) == RUN_FOREIGN || run_kind(head) == RUN_SLAB ||
                   run_kind(head) == RUN_CACHED);
            expect(run_kind(head) != RUN_SLAB ||
                   (slab_valid(head) && slab_free_count(head) + REMOTE_COUNT(head->remote) == head->formed));
        }
    }
    for (uint32_t id = 1; id <= arena_count(); id++)
        expect(arena_valid(arena_by_id(id)));
    expect(mapping_valid() && mapping_totals().count == 0 && live_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    size_t forks = 0;
    for (size_t i = 0; i < WORKERS && !workers[i].thread; i++)
        worker_start(&workers[i]);
    while (input.at < input.end)
        run_segment(&input, &forks);
    for (size_t at = 0; at < SLOTS; at++) {
        struct worker *worker = &workers[(at + size) % WORKERS];
        worker->operations[worker->count++] = (struct operation){.kind = FREE, .slot = at, .detail = 1};
    }
    run_queues();
    settle();
    expect_nothing_left();
    return 0;
}
