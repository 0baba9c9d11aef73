/* constructors.c: allocation before the allocator's own constructor, and after its destructor. The earliest
   code of a process (.preinit_array), the constructor of a library that runs before all others, ordinary
   constructors, and threads that these start, all allocate; so do exit handlers and destructors, while a
   thread still runs.

   constructors */
#include "constructors.h"

#define SLOTS 100

static struct block earliest, in_constructor[SLOTS], in_thread[SLOTS];
static struct random dice;
static atomic_bool thread_done;

static void allocate_earliest(void) { block_malloc(&earliest, 12345, 1); }
typedef void (*initializer)(void);
__attribute__((section(".preinit_array"), used)) static const initializer first = allocate_earliest;

static void *allocate_in_thread(void *argument)
{
    struct random random = random_stream(5);
    early_set_specific();
    for (size_t i = 0; i < 5000; i++)
        block_step(in_thread, SLOTS, 256 * KIB, &random);
    thread_done = true;
    return argument;
}

static void *allocate_to_the_end(void *argument)
{
    struct random random = random_stream(6);
    struct block slots[SLOTS] = {0};
    for (;;)
        block_step(slots, SLOTS, 256 * KIB, &random);
    return argument;
}

static pthread_t thread;

__attribute__((constructor)) static void allocate_in_constructor(void)
{
    dice = random_stream(2);
    block_verify(&earliest);
    for (size_t i = 0; i < EARLY_BLOCKS; i++)
        block_verify(&early_blocks[i]);
    for (size_t i = 0; i < 1000; i++)
        block_step(in_constructor, SLOTS, 256 * KIB, &dice);
    thread_start(&thread, allocate_in_thread, NULL);
}

static void allocate_in_exit_handler(void)
{
    for (size_t i = 0; i < 1000; i++)
        block_step(in_constructor, SLOTS, 256 * KIB, &dice);
    blocks_free(in_constructor, SLOTS / 2);
}

__attribute__((destructor)) static void free_in_destructor(void)
{
    block_free(&earliest);
    blocks_free(in_constructor, SLOTS);
    blocks_free(in_thread, SLOTS);
}

int main(void)
{
    require_expected_allocator();
    require(earliest.start);
    if (brim_is_expected())
        require(brim_owns(earliest.start) && brim_owns(early_blocks[0].start));
    thread_join(thread);
    require(thread_done && early_destroyed == 1);
    blocks_free(early_blocks, EARLY_BLOCKS / 4);
    atexit(allocate_in_exit_handler);
    pthread_t to_the_end;
    thread_start(&to_the_end, allocate_to_the_end, NULL);
    return 0;
}
