/* fork-threads.c: fork while other threads allocate. The child has one thread and a copy of a heap that was
   caught at any moment; it must be able to do all that a process can: verify, resize and free what it
   inherited, whoever allocated it, allocate, start threads, fork again, and leave by exit. Every process has
   an alarm: a hang is a failure.

   fork-threads [FORKS [THREADS]] */
#include "stress.h"

#define SLOTS 64
#define SHARED 512
#define OWN 256

/* A block with its own description at its start, so that one pointer is the whole truth about it. */
struct carrier {
    size_t size; /* of the pattern behind this header */
    uint64_t key;
};

/* A pointer is in here exactly while nobody uses its block: whoever swaps it out owns it. So a forked child,
   too, knows which blocks of the threads that it does not have are whole. */
static _Atomic(struct carrier *) shared[SHARED];
static atomic_bool stopping;

static struct carrier *carrier_new(size_t size, uint64_t seed)
{
    struct carrier *carrier = malloc(sizeof *carrier + size);
    require(carrier);
    struct block block = {(unsigned char *)(carrier + 1), size, 0};
    block_fill(&block, seed);
    *carrier = (struct carrier){size, block.key};
    return carrier;
}

static void carrier_verify(struct carrier *carrier, size_t length)
{
    block_verify_prefix(&(struct block){(unsigned char *)(carrier + 1), carrier->size, carrier->key}, length);
}

static void carrier_free(struct carrier *carrier)
{
    if (!carrier)
        return;
    carrier_verify(carrier, carrier->size);
    free(carrier);
}

static void share_step(struct random *random)
{
    struct carrier *mine =
        random_below(random, 3) == 0 ? NULL : carrier_new(random_usual_size(random, 256 * KIB), 7);
    carrier_free(atomic_exchange(&shared[random_below(random, SHARED)], mine));
}

static void *allocate_all_day(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block slots[SLOTS] = {0};
    while (!stopping) {
        block_step(slots, SLOTS, 512 * KIB, &random);
        share_step(&random);
    }
    blocks_free(slots, SLOTS);
    return NULL;
}

struct inheritance {
    uint64_t stream;
    size_t share; /* frees every second shared block: 0 or 1 */
};

static void *live_in_child(void *argument)
{
    struct inheritance *inheritance = argument;
    struct random random = random_stream(inheritance->stream);
    struct block slots[SLOTS] = {0};
    for (size_t i = 0; i < SHARED; i++) {
        block_step(slots, SLOTS, 256 * KIB, &random);
        if (i % 2 != inheritance->share)
            continue;
        struct carrier *inherited = atomic_exchange(&shared[i], NULL);
        if (inherited && random_below(&random, 3) == 0) {
            size_t size = random_usual_size(&random, 256 * KIB);
            size_t common = size < inherited->size ? size : inherited->size;
            inherited = realloc(inherited, sizeof *inherited + size);
            require(inherited);
            carrier_verify(inherited, common);
            free(inherited);
        } else {
            carrier_free(inherited);
        }
    }
    blocks_free(slots, SLOTS);
    return NULL;
}

static void child_main(struct block *own, struct random *random, size_t generation);

static void fork_child(struct block *own, struct random *random, size_t generation)
{
    uint64_t stream = random_next(random);
    pid_t child = fork();
    if (child < 0)
        fail("fork: errno %d", errno);
    if (child == 0) {
        alarm(20);
        struct random its_random = {stream};
        child_main(own, &its_random, generation);
    }
    require_child_success(child);
}

static void child_main(struct block *own, struct random *random, size_t generation)
{
    size_t kind = random_below(random, 4);
    /* A grandchild inherits what this child inherited, still untouched or after half of it was freed. */
    if (kind == 0 && generation < 2)
        fork_child(own, random, generation + 1);
    for (size_t i = 0; i < OWN; i++)
        if (random_below(random, 3) == 0)
            block_resize(&own[i], random_usual_size(random, 256 * KIB), random_next(random));
    struct inheritance halves[2] = {{random_next(random), 0}, {random_next(random), 1}};
    if (kind == 1 || !CHILD_STARTS_THREADS) {
        live_in_child(&halves[0]);
        live_in_child(&halves[1]);
    } else {
        pthread_t threads[2];
        for (size_t i = 0; i < 2; i++)
            thread_start(&threads[i], live_in_child, &halves[i]);
        if (generation < 2 && kind == 2)
            fork_child(own, random, generation + 1);
        for (size_t i = 0; i < 2; i++)
            thread_join(threads[i]);
    }
    blocks_free(own, OWN);
    malloc_trim(0);
    struct block last;
    block_malloc(&last, 3 * MIB, 1);
    block_free(&last);
    if (kind == 3)
        _exit(0);
    exit(0);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t forks = argument(count, arguments, 1, 80), thread_count = argument(count, arguments, 2, 3);
    struct random random = random_stream(0);
    static struct block own[OWN];
    for (size_t i = 0; i < OWN; i++)
        block_allocate(&own[i], random_usual_size(&random, 256 * KIB), &random);
    pthread_t threads[thread_count];
    for (size_t i = 0; i < thread_count; i++)
        thread_start(&threads[i], allocate_all_day, (void *)(i + 1));
    for (size_t i = 0; i < forks; i++) {
        fork_child(own, &random, 0);
        /* The parent's heap moves on between two forks. */
        for (size_t j = 0; j < 20; j++) {
            struct block *block = &own[random_below(&random, OWN)];
            block_resize(block, random_usual_size(&random, 256 * KIB), j);
        }
    }
    stopping = true;
    for (size_t i = 0; i < thread_count; i++)
        thread_join(threads[i]);
    blocks_free(own, OWN);
    for (size_t i = 0; i < SHARED; i++)
        carrier_free(shared[i]);
    return 0;
}
