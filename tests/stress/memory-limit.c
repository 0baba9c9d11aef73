/* memory-limit.c: out of memory, and back. Under a limit every entry point must say NULL and ENOMEM, keep
   every live block as it is, free without needing memory itself, and go on as soon as there is memory again.

   memory-limit start   address-space|data [MIB]     the limit is in force before the first allocation
   memory-limit running address-space|data [MIB]     it is lowered, below what is in use, and raised again
   memory-limit threads address-space|data [ROUNDS]  it goes up and down while threads allocate
   memory-limit commit                               no limit: what blocks cost where commit is limited
                                                     (strict overcommit) is what is used, not reserved */
#include <sys/mman.h>
#include <sys/resource.h>

#include "stress.h"

static __rlimit_resource_t resource;
static const char *usage_name; /* what the limit limits, in /proc/self/status */
static struct random dice;

/* The blocks' own list: not the allocator's, or filling memory would fill it, too. */
static struct block *blocks;
static size_t capacity;

static void set_limit(size_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    if (setrlimit(resource, &limit) != 0)
        fail("setrlimit: errno %d", errno);
}

static void map_list(size_t count)
{
    capacity = count;
    blocks = mmap(NULL, capacity * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(blocks != MAP_FAILED);
}

/* A kind of program: where its blocks come from differs. */
struct mixture {
    const char *name;
    size_t least, most;
};

static const struct mixture mixtures[] = {
    {"small", 16, 2 * KIB},
    {"medium", 34 * KIB, 120 * KIB},
    {"large", 160 * KIB, 3 * MIB},
    {"mixed", 1, 512 * KIB},
};
#define MIXTURES (sizeof mixtures / sizeof *mixtures)

static size_t mixture_size(const struct mixture *mixture)
{
    size_t size = random_between(&dice, mixture->least, mixture->most);
    return mixture->least == 1 ? random_usual_size(&dice, mixture->most) : size;
}

static size_t fill_memory(const struct mixture *mixture, size_t *count)
{
    size_t bytes = 0;
    for (*count = 0; *count < capacity; bytes += blocks[(*count)++].size)
        if (!block_try_malloc(&blocks[*count], mixture_size(mixture), random_next(&dice)))
            return bytes;
    fail("no limit was met by %zu blocks of %zu bytes together", *count, bytes);
}

/* Each entry point, for more than there is. `kept` is some live block. */
static void require_refusals(struct block *kept)
{
    const size_t too_much = opaque_size(512 * MIB);
    void *const untouched = &capacity;
    void *p = untouched;
#define require_refused(call) (errno = 0, require((call) == NULL), require(errno == ENOMEM))
    require_refused(malloc(too_much));
    require_refused(calloc(16, too_much / 16));
    require_refused(realloc(NULL, too_much));
    require_refused(realloc(kept->start, too_much));
    require_refused(reallocarray(kept->start, 16, too_much / 16));
    require_refused(aligned_alloc(64, too_much));
    require_refused(memalign(MIB, too_much));
    require_refused(valloc(too_much));
    require_refused(pvalloc(too_much));
    require(posix_memalign(&p, 64, too_much) == ENOMEM && p == untouched);
    block_verify(kept);
}

/* Fills memory with one kind of block after the other. Each must be able to use most of it: what the previous
   kind used has to come back for it. */
static void exhaust(size_t available)
{
    for (size_t i = 0; i < MIXTURES; i++) {
        size_t count, bytes = fill_memory(&mixtures[i], &count);
        printf("%s blocks: %zu MiB of %zu\n", mixtures[i].name, bytes / MIB, available / MIB);
        if (bytes < available / 2)
            fail("only %zu KiB of %zu in %s blocks", bytes / KIB, available / KIB, mixtures[i].name);
        require_refusals(&blocks[random_below(&dice, count)]);
        for (size_t j = 0; j < count; j++)
            block_verify(&blocks[j]);
        /* With no memory but what it frees itself, a program can go on: a block makes room for another of its
           size, and a smaller one for itself. */
        for (size_t j = 0; j < 2000; j++) {
            struct block *block = &blocks[random_below(&dice, count)];
            size_t size = block->size;
            block_free(block);
            block_malloc(block, size, j);
        }
        for (size_t j = 0; j < count; j++)
            if (blocks[j].size > 1)
                block_resize(&blocks[j], 1 + random_below(&dice, blocks[j].size), j);
        blocks_free(blocks, count);
    }
}

static void run_start(size_t limit, char **arguments)
{
    static const char in_force[] = "STRESS_LIMIT_IN_FORCE";
    if (!getenv(in_force)) {
        setenv(in_force, "1", 1);
        set_limit(limit);
        execute_again(arguments);
    }
    map_list(512 * KIB);
    require_expected_allocator();
    size_t used = process_bytes(usage_name);
    require(used < limit);
    exhaust(limit - used);
    exhaust(limit - used);
}

static void run_running(size_t limit)
{
    map_list(512 * KIB);
    require_expected_allocator();
    /* Blocks from before the limit, of every kind. */
    static struct block early[400];
    for (size_t i = 0; i < 400; i++)
        block_malloc(&early[i], mixture_size(&mixtures[i % MIXTURES]), i);
    set_limit(process_bytes(usage_name) + limit);
    exhaust(limit);

    /* Far below what is in use: nothing can grow, but to free needs nothing. */
    set_limit(MIB);
    size_t count, bytes = fill_memory(&mixtures[MIXTURES - 1], &count);
    require_refusals(&early[0]);
    for (size_t i = 1; i < 400; i += 2)
        block_free(&early[i]);
    for (size_t i = 0; i < 400; i += 2)
        block_verify(&early[i]);
    blocks_free(blocks, count);
    printf("%zu KiB were left in the heap\n", bytes / KIB);

    set_limit(RLIM_INFINITY);
    for (size_t i = 1; i < 400; i += 2)
        block_malloc(&early[i], mixture_size(&mixtures[i % MIXTURES]), i);
    struct block large;
    block_malloc(&large, 600 * MIB, 1);
    block_free(&large);
    blocks_free(early, 400);
}

/* ---- threads ---- */

#define THREADS 4
#define SLOTS 400

static atomic_bool stopping;
static _Atomic size_t refused, granted;

static bool try_step(struct block *slots, struct random *random)
{
    struct block *slot = &slots[random_below(random, SLOTS)];
    if (random_below(random, 64) == 0) { /* more than a heap can have in stock */
        errno = 0;
        void *p = malloc(256 * MIB);
        require(p || errno == ENOMEM);
        free(p);
        return p != NULL;
    }
    if (!slot->start)
        return block_try_allocate(slot, random_usual_size(random, MIB), random);
    if (random_below(random, 4) == 0)
        return block_try_resize(slot, random_usual_size(random, MIB), random_next(random));
    block_free(slot);
    return true;
}

static void *allocate_or_not(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block slots[SLOTS] = {0};
    for (size_t step = 1; !stopping; step++) {
        atomic_fetch_add(try_step(slots, &random) ? &granted : &refused, 1);
        if (step % 5000 == 0) /* the heap must shrink before it can fail to grow */
            blocks_free(slots, SLOTS);
    }
    /* The limit is gone now. */
    for (size_t i = 0; i < SLOTS; i++) {
        block_free(&slots[i]);
        block_allocate(&slots[i], random_usual_size(&random, MIB), &random);
    }
    blocks_free(slots, SLOTS);
    return NULL;
}

static void wait_for_steps(size_t steps)
{
    size_t before = granted + refused;
    while (granted + refused < before + steps) {
        struct timespec moment = {0, 200000};
        nanosleep(&moment, NULL);
    }
}

static void run_threads(size_t rounds)
{
    require_expected_allocator();
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], allocate_or_not, (void *)i);
    for (size_t i = 0; i < rounds; i++) {
        set_limit(i % 3 == 0 ? MIB : process_bytes(usage_name) + random_below(&dice, 2 * MIB));
        wait_for_steps(2000);
        set_limit(RLIM_INFINITY);
        wait_for_steps(2000);
    }
    stopping = true;
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    printf("%zu steps done, %zu refused\n", (size_t)granted, (size_t)refused);
    require(granted > 0 && refused > 0);
}

/* ---- commit ---- */

/* Bytes of private writable mappings (their flags are in /proc/self/smaps, see proc(5)): what counts as
   committed where overcommit is not allowed, whatever a mapping asks for. */
static size_t committed_bytes(void)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[4096];
    size_t total = 0, size = 0;
    require(maps);
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, "Size:", 5) == 0)
            size = strtoul(line + 5, NULL, 10) * KIB;
        else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wr") && !strstr(line, " sh"))
            total += size;
    }
    fclose(maps);
    return total;
}

static void run_commit(void)
{
    require_expected_allocator();
    map_list(256 * KIB);
    size_t at_first = committed_bytes();
    printf("committed at the start: %zu KiB\n", at_first / KIB);
    /* The program, its libraries and its stack are a few hundred KiB of it. */
    if (at_first > 4 * MIB)
        fail("%zu KiB committed by a program that did nothing", at_first / KIB);
    size_t count = 0, bytes = 0;
    for (; bytes < 128 * MIB; bytes += blocks[count++].size) {
        require(count < capacity);
        block_malloc(&blocks[count], mixture_size(&mixtures[bytes < 64 * MIB ? 0 : MIXTURES - 1]), count);
    }
    size_t live = committed_bytes() - at_first;
    printf("committed for %zu MiB of blocks: %zu MiB\n", bytes / MIB, live / MIB);
    if (live > bytes + bytes / 4 + 4 * MIB)
        fail("%zu MiB committed for %zu MiB of blocks", live / MIB, bytes / MIB);
    blocks_free(blocks, count);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "", *what = count > 2 ? arguments[2] : "";
    dice = random_stream(0);
    if (strcmp(mode, "commit") == 0) {
        run_commit();
        return 0;
    }
    if (strcmp(what, "address-space") == 0) {
        resource = RLIMIT_AS;
        usage_name = "VmSize:";
    } else if (strcmp(what, "data") == 0) {
        resource = RLIMIT_DATA;
        usage_name = "VmData:";
    } else {
        fail("usage: memory-limit start|running|threads address-space|data [NUMBER], memory-limit commit");
    }
    if (strcmp(mode, "start") == 0)
        run_start(argument(count, arguments, 3, 128) * MIB, arguments);
    else if (strcmp(mode, "running") == 0)
        run_running(argument(count, arguments, 3, 64) * MIB);
    else if (strcmp(mode, "threads") == 0)
        run_threads(argument(count, arguments, 3, 100));
    else
        fail("no such mode: %s", mode);
    return 0;
}
