/* visitor.c: keepers replace their blocks at random, for ever; a visitor comes by now and then and frees a few of them.
   So it is the first that frees a block of many a full slab, and what the keepers free there later is the visitor's to
   look after, who has hardly anything to do. What they keep is constant, and so must the memory be.

   visitor [ROUNDS [VISIT]]   rounds of each keeper; blocks that the visitor frees each time; it never allocates */
#include "stress.h"

#define KEEPERS 3
#define KEPT 40000
#define STEPS 20000

static _Atomic(void *) kept[KEEPERS][KEPT];
static atomic_size_t keepers_left = KEEPERS;
static size_t rounds;
static const size_t sizes[] = {64, 48, 200};

static struct timespec const pause_time = {.tv_nsec = 500000};

static void *allocate(size_t size)
{
    unsigned char *block = malloc(size);
    require(block);
    return memset(block, 0x5a, size);
}

static void *keep(void *argument)
{
    size_t number = (size_t)(uintptr_t)argument;
    struct random random = random_stream(number);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t step = 0; step < STEPS; step++) {
            void *block = allocate(sizes[random_below(&random, 3)]);
            free(atomic_exchange(&kept[number][random_below(&random, KEPT)], block));
        }
        nanosleep(&pause_time, NULL); /* or the visitor's turn would never come */
    }
    keepers_left--;
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    rounds = argument(count, arguments, 1, 1000);
    size_t visit = argument(count, arguments, 2, 20);
    struct random random = random_stream(KEEPERS);
    pthread_t threads[KEEPERS];
    for (uintptr_t i = 0; i < KEEPERS; i++)
        thread_start(&threads[i], keep, (void *)i);
    size_t visits = 0;
    for (; keepers_left != 0; visits++) {
        for (size_t i = 0; i < visit; i++)
            free(atomic_exchange(&kept[i % KEEPERS][random_below(&random, KEPT)], NULL));
        nanosleep(&pause_time, NULL);
    }
    for (size_t i = 0; i < KEEPERS; i++)
        thread_join(threads[i]);
    size_t peak = process_bytes("VmHWM:");
    size_t live = KEEPERS * KEPT * (sizes[0] + sizes[1] + sizes[2]) / 3;
    printf("resident: %zu MiB at the peak, for %zu MiB kept; %zu visits\n", peak / MIB, live / MIB, visits);
    if (RESIDENT_IS_OURS && peak > 2 * live + 8 * MIB)
        fail("%zu MiB resident at the peak for %zu MiB kept", peak / MIB, live / MIB);
    return 0;
}
