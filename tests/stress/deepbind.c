/* deepbind.c: a library opened with RTLD_DEEPBIND allocates with libc's malloc, and the program frees, resizes and
   asks about its blocks with brim's.

   deepbind break       blocks of libc's main arena, on the break between brim's: every use works, byte for byte
   deepbind threads     the same while threads make brim's heap grow and give back, too. The library has allocated
                        before there are threads: two that move the break at once can be told that the same memory
                        is theirs
   deepbind everywhere  with BRIM_FOREIGN_FREE=1: blocks of threads' arenas and mappings as well */
#include <dlfcn.h>

#include "other-malloc.h"
#include "stress.h"

#define SLOTS 3000
#define THREADS 3

static const struct other_malloc *libc;
static struct block slots[SLOTS];
static struct block ours[SLOTS];

#pragma weak free_sized
void free_sized(void *p, size_t size);

static bool on_break(const void *p)
{
    return (uintptr_t)p > (uintptr_t)&slots && (uintptr_t)p < (uintptr_t)sbrk(0);
}

/* A block of libc's, and surely not of brim's. */
static void take_libcs(struct block *block, size_t size, struct random *random)
{
    *block = (struct block){libc->malloc(size), size, 0};
    require(block->start && (!brim_owns || !brim_owns(block->start)));
    block_fill(block, random_next(random));
}

/* By one of the program's ways, or by the library's own. */
static void end_libcs(struct block *block, struct random *random)
{
    void *p = block->start;
    if (!p)
        return;
    block_verify(block);
    size_t usable = malloc_usable_size(p);
    require(usable == libc->malloc_usable_size(p) && usable >= block->size);
    errno = 12345;
    switch (random_below(random, 6)) {
    case 0: libc->free(p); break;
    case 1: require(!realloc(p, 0)); break;
    case 2:
        if (free_sized)
            free_sized(p, block->size);
        else
            free(p);
        break;
    case 3: {
        size_t size = 1 + random_size(random, 512 * KIB);
        block_resize(block, size, random_next(random));
        block_free(block);
        break;
    }
    default: free(p);
    }
    require(errno == 12345);
    *block = (struct block){NULL, 0, 0};
}

/* What the program resized is brim's if it moved, and may be resized and freed for ever after. */
static void resize_chain(struct random *random)
{
    static const size_t sizes[] = {24, 3000, 100, 200 * KIB, 70 * KIB, 2 * MIB, 10, 50 * KIB};
    for (size_t i = 0; i < 200; i++) {
        struct block block;
        take_libcs(&block, random_between(random, 1, 60 * KIB), random);
        for (size_t j = 0; j < 20; j++) {
            unsigned char *before = block.start;
            block_resize(&block, sizes[random_below(random, sizeof sizes / sizeof *sizes)], j);
            require(!brim_owns || block.start == before || brim_owns(block.start));
        }
        block_free(&block);
    }
}

static void *end_in_thread(void *argument)
{
    struct random random = random_stream(100 + (uintptr_t)argument);
    for (size_t i = (uintptr_t)argument; i < SLOTS; i += THREADS)
        end_libcs(&slots[i], &random);
    return NULL;
}

static void end_in_threads(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], end_in_thread, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
}

/* Turns in which one heap grows over what the other had taken of the break. */
static void run_break(struct random *random)
{
    size_t above = 0, below = 0;
    for (size_t round = 0; round < 12; round++) {
        for (size_t i = 0; i < SLOTS; i++) {
            /* The threshold from which libc maps. */
            size_t size = random_size(random, random_below(random, 16) == 0 ? 64 * KIB : 2 * KIB);
            if (i % 100 < 50)
                block_step(ours, SLOTS, 64 * KIB, random);
            else if (!slots[i].start)
                take_libcs(&slots[i], size, random);
            else if (random_below(random, 2) == 0)
                end_libcs(&slots[i], random);
            if (slots[i].start) {
                require(on_break(slots[i].start));
                unsigned char *other = ours[random_below(random, SLOTS)].start;
                above += other && slots[i].start > other;
                below += other && slots[i].start < other && on_break(other);
            }
        }
        for (size_t i = 0; i < SLOTS; i++) {
            block_verify(&slots[i]);
            block_verify(&ours[i]);
        }
        if (round % 4 == 3)
            end_in_threads();
    }
    require(above > 0 && below > 0);
}

static atomic_bool stopping;

static void *rise_and_fall(void *argument)
{
    struct random random = random_stream(200 + (uintptr_t)argument);
    struct block *own = calloc(SLOTS, sizeof *own);
    require(own);
    while (!stopping) {
        for (size_t i = 0; i < 2 * SLOTS; i++)
            block_step(own, SLOTS, 64 * KIB, &random);
        blocks_free(own, SLOTS);
        malloc_trim(0);
    }
    free(own);
    return NULL;
}

/* Only this thread uses libc's malloc, so that all is in the main arena. */
static void run_threads(struct random *random)
{
    pthread_t threads[THREADS];
    take_libcs(&slots[0], 100, random);
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], rise_and_fall, (void *)i);
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < SLOTS; i++)
            if (!slots[i].start)
                take_libcs(&slots[i], random_size(random, 32 * KIB), random);
        for (size_t i = 0; i < SLOTS; i++)
            if (round % 8 == 7 || random_below(random, 2) == 0)
                end_libcs(&slots[i], random);
    }
    stopping = true;
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
}

static void *allocate_in_thread(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    for (size_t i = (uintptr_t)argument; i < SLOTS; i += THREADS)
        if (!slots[i].start)
            take_libcs(&slots[i], random_usual_size(&random, 256 * KIB), &random);
    for (size_t i = 0; i < 3000; i++)
        block_step(&ours[SLOTS / THREADS * (uintptr_t)argument], SLOTS / THREADS, 64 * KIB, &random);
    return NULL;
}

/* By threads that live at the same time, so that libc gives each an arena of its own. */
static void run_everywhere(struct random *random)
{
    size_t elsewhere = 0;
    for (size_t round = 0; round < 6; round++) {
        for (size_t i = 0; i < SLOTS; i += 3)
            if (!slots[i].start)
                take_libcs(&slots[i], random_usual_size(random, 256 * KIB), random);
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            thread_start(&threads[i], allocate_in_thread, (void *)i);
        for (size_t i = 0; i < THREADS; i++)
            thread_join(threads[i]);
        for (size_t i = 0; i < SLOTS; i++) {
            elsewhere += !on_break(slots[i].start);
            block_verify(&slots[i]);
            block_verify(&ours[i]);
        }
        if (round % 2 == 0)
            end_in_threads();
        for (size_t i = 0; i < SLOTS; i++)
            if (round % 2 == 1 && random_below(random, 2) == 0)
                end_libcs(&slots[i], random);
    }
    require(elsewhere > SLOTS);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    const char *mode = count > 1 ? arguments[1] : "";
    struct random random = random_stream(0);
    void *handle = dlopen("stress-other-malloc.so", RTLD_NOW | RTLD_DEEPBIND);
    if (!handle)
        fail("%s", dlerror());
    libc = dlsym(handle, "other_malloc");
    require(libc && (!brim_is_expected() || libc->malloc != malloc));
    if (strcmp(mode, "break") == 0) {
        run_break(&random);
        resize_chain(&random);
    } else if (strcmp(mode, "threads") == 0) {
        run_threads(&random);
    } else if (strcmp(mode, "everywhere") == 0) {
        run_everywhere(&random);
    } else {
        fail("no such mode: %s", mode);
    }
    for (size_t i = 0; i < SLOTS; i++)
        end_libcs(&slots[i], &random);
    blocks_free(ours, SLOTS);
    return 0;
}
