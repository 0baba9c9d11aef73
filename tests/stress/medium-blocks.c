/* medium-blocks.c: blocks of 32 KiB to 2 MiB, around every threshold that decides where a block comes from.
   Free neighbours must become one again, and blocks must grow into them.

   medium-blocks churn   [STEPS]    sizes near thresholds, the dynamic one moving as mappings are freed
   medium-blocks merge   [ROUNDS]   blocks freed in random order must leave one piece that a large one fits in
   medium-blocks resize  [STEPS]    blocks of the heap that grow and shrink between neighbours
   medium-blocks threads [STEPS]    threads allocate and free in turn, so that they might keep what they free; some
                                    blocks are freed by others; one thread has all free memory returned, and forks */
#include "stress.h"

#define SLOTS 200

static struct block slots[SLOTS];
static struct random dice;

/* At, one below and one above page, slice and threshold multiples. */
static size_t medium_size(void)
{
    size_t unit = (size_t)4096 << random_below(&dice, 6);
    size_t size = unit * random_between(&dice, 32 * KIB / unit + 1, 2 * MIB / unit);
    return size + random_below(&dice, 65) - 32;
}

static void run_churn(size_t steps)
{
    for (size_t i = 0; i < steps; i++) {
        struct block *slot = &slots[random_below(&dice, SLOTS)];
        if (!slot->start)
            block_allocate(slot, medium_size(), &dice);
        else if (random_below(&dice, 5) == 0)
            block_resize(slot, medium_size(), random_next(&dice));
        else
            block_free(slot);
        /* glibc's dynamic threshold goes up with the largest mapping freed, to 32 MiB. */
        if (i % (steps / 8 + 1) == 0) {
            struct block large;
            block_malloc(&large, MIB << (i / (steps / 8 + 1) % 5), 1);
            block_free(&large);
        }
    }
    blocks_free(slots, SLOTS);
}

/* Everything on the break, and nothing given back, so that only merging can make room. */
static void keep_heap(void)
{
    require(mallopt(M_MMAP_THRESHOLD, 1 << 30) == 1);
    require(mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1);
}

static void run_merge(size_t rounds)
{
    keep_heap();
    size_t total = 0;
    for (size_t round = 0; round < rounds; round++) {
        total = 0;
        for (size_t i = 0; i < SLOTS; i++) {
            block_malloc(&slots[i], random_between(&dice, 136 * KIB, 600 * KIB), i);
            total += slots[i].size;
        }
        for (size_t i = SLOTS; i > 0; i--) {
            size_t chosen = random_below(&dice, i);
            block_free(&slots[chosen]);
            slots[chosen] = slots[i - 1];
            slots[i - 1].start = NULL;
        }
        char *top = sbrk(0);
        struct block whole;
        block_malloc(&whole, total - total / 16, round);
        if ((char *)sbrk(0) > top)
            fail("round %zu: %zu KiB were freed in pieces, but %zu KiB made the heap grow by %zu KiB", round,
                 total / KIB, whole.size / KIB, (size_t)((char *)sbrk(0) - top) / KIB);
        block_free(&whole);
    }
}

static void run_resize(size_t steps)
{
    keep_heap();
    size_t in_place = 0, grown = 0;
    for (size_t i = 0; i < SLOTS; i++)
        block_malloc(&slots[i], medium_size(), i);
    for (size_t i = 0; i < steps; i++) {
        struct block *slot = &slots[random_below(&dice, SLOTS)];
        if (!slot->start) {
            block_malloc(slot, medium_size(), i);
        } else if (random_below(&dice, 3) == 0) {
            block_free(slot);
        } else {
            unsigned char *before = slot->start;
            size_t size = slot->size + slot->size / random_between(&dice, 2, 8);
            if (random_below(&dice, 3) == 0 || size > 4 * MIB)
                size = slot->size / random_between(&dice, 2, 8);
            bool grows = size > slot->size;
            block_resize(slot, size, i);
            grown += grows;
            in_place += grows && slot->start == before;
        }
    }
    blocks_free(slots, SLOTS);
    printf("%zu of %zu blocks grew in place\n", in_place, grown);
    require(in_place > 0 && in_place < grown);
}

/* ---- threads ---- */

enum { THREADS = 3, PARCELS = 32, RETURNS = 100 };

static struct {
    pthread_mutex_t lock;
    struct block block;
} parcels[PARCELS];
static size_t thread_steps;

static size_t slices_size(struct random *random)
{
    return random_between(random, 33 * KIB, random_below(random, 4) == 0 ? 700 * KIB : 200 * KIB);
}

/* One block of the same size again and again; now and then another size, or a block for whoever finds it. */
static void *use_in_turn(void *number)
{
    struct random random = random_stream((uintptr_t)number);
    size_t size = slices_size(&random);
    struct block small[8] = {{NULL, 0, 0}};
    for (size_t i = 0; i < thread_steps; i++) {
        struct block block;
        block_allocate(&block, size, &random);
        switch (random_below(&random, 16)) {
        case 0: size = slices_size(&random); break;
        case 1: block_resize(&block, slices_size(&random), i); break;
        case 2: block_step(small, 8, 32 * KIB, &random); break;
        case 3: {
            size_t chosen = random_below(&random, PARCELS);
            pthread_mutex_lock(&parcels[chosen].lock);
            struct block other = parcels[chosen].block;
            parcels[chosen].block = block;
            pthread_mutex_unlock(&parcels[chosen].lock);
            block = other;
            break;
        }
        }
        block_free(&block);
    }
    blocks_free(small, 8);
    return NULL;
}

/* The child has what it inherited, and the runs that other threads kept. */
static void child_uses_all(void)
{
    struct random random = random_stream(99);
    struct block block;
    alarm(60);
    for (size_t i = 0; i < 50; i++) {
        block_allocate(&block, slices_size(&random), &random);
        block_free(&block);
    }
    block_malloc(&block, 8 * MIB, 1);
    block_free(&block);
    _exit(0);
}

static void run_threads(size_t steps)
{
    pthread_t threads[THREADS];
    thread_steps = steps;
    for (size_t i = 0; i < PARCELS; i++)
        require(pthread_mutex_init(&parcels[i].lock, NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        require(pthread_create(&threads[i], NULL, use_in_turn, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < RETURNS; i++) {
        malloc_trim(0);
        pid_t child = i % 10 == 0 ? fork() : -1;
        if (child == 0)
            child_uses_all();
        int status = 0;
        require(child < 0 || (waitpid(child, &status, 0) == child && status == 0));
        usleep(1000);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < PARCELS; i++)
        block_free(&parcels[i].block);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    dice = random_stream(0);
    require_expected_allocator_for(24);
    if (strcmp(mode, "churn") == 0)
        run_churn(argument(count, arguments, 2, 12000));
    else if (strcmp(mode, "merge") == 0)
        run_merge(argument(count, arguments, 2, 8));
    else if (strcmp(mode, "resize") == 0)
        run_resize(argument(count, arguments, 2, 8000));
    else if (strcmp(mode, "threads") == 0)
        run_threads(argument(count, arguments, 2, 4000));
    else
        fail("usage: medium-blocks churn|merge|resize|threads [NUMBER]");
    return 0;
}
