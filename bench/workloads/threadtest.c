/* threadtest: each thread allocates its share of 100,000 objects of 8 bytes and frees them all, over and
   over; nothing is shared. From Berger, McKinley, Blumofe and Wilson, "Hoard: A Scalable Memory Allocator for
   Multithreaded Applications" (ASPLOS 2000): whatever does not scale here is the allocator's own doing. One
   iteration is one object. */
#include "../workload.h"

enum { OBJECTS = 100000, SIZE = 8 };

static void rounds(void **objects, int64_t count, int64_t left)
{
    while (left > 0) {
        for (int64_t i = 0; i < count; i++)
            objects[i] = stamped_malloc(SIZE);
        for (int64_t i = 0; i < count; i++)
            stamped_free(objects[i], SIZE);
        left -= count;
    }
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    int64_t share = OBJECTS / gbench_thread_count(state);
    void **objects = private_pages(OBJECTS * sizeof *objects);
    rounds(objects, share, share);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        rounds(objects, share, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    release_private_pages(objects, OBJECTS * sizeof *objects);
}

void register_threadtest(void)
{
    register_threaded(gbench_iterations(gbench_register("threadtest", run, NULL), scaled(80, 4) * OBJECTS));
}
