/* slow_leak: long-lived blocks born among short-lived ones. A window of 20,000 short-lived blocks is churned,
   and one of 100 allocations stays for good, as entries of a cache or sessions do; when an allocator puts the
   two side by side, each survivor pins a page that is otherwise empty. After Robson, "Worst Case
   Fragmentation of First Fit and Best Fit Storage Allocation Strategies" (1977), and its everyday form in
   Powers et al., "Mesh" (PLDI 2019). Every tenth of the run the churn stops and its window is freed, so that
   only survivors are live. One iteration is one allocation. */
#include "footprint.h"

enum { WINDOW = 20000, SURVIVOR_OF = 100, PHASES = 10, LEAST = 16, MOST = 512 };

struct slot {
    void *block;
    uint32_t size;
};

static size_t empty_window(struct slot *window)
{
    size_t freed = 0;
    for (int i = 0; i < WINDOW; i++) {
        if (!window[i].block)
            continue;
        stamped_free(window[i].block, window[i].size);
        freed += window[i].size;
        window[i].block = NULL;
    }
    return freed;
}

static void run(gbench_state *state, void *context)
{
    (void)context;
    static footprint f;
    size_t survivors = (size_t)gbench_iteration_limit(state) / SURVIVOR_OF + 1, kept = 0, live = 0;
    struct slot *window = private_pages(WINDOW * sizeof *window);
    void **leak = private_pages(survivors * sizeof *leak);
    memset(window, 0, WINDOW * sizeof *window);
    memset(leak, 1, survivors * sizeof *leak);
    random_source source = {29};
    footprint_begin(&f);
    for (int64_t n; (n = gbench_loop(state)) > 0;) {
        for (int64_t i = 1; i <= n; i++) {
            uint32_t size = LEAST + random_below(&source, MOST - LEAST + 1);
            void *block = stamped_malloc(size);
            live += size;
            if (i % SURVIVOR_OF == 0) {
                leak[kept++] = block;
            } else {
                struct slot *slot = &window[random_below(&source, WINDOW)];
                if (slot->block) {
                    stamped_free(slot->block, slot->size);
                    live -= slot->size;
                }
                *slot = (struct slot){block, size};
            }
            if (i % (n / PHASES) == 0) {
                footprint_step(&f, (double)i, live);
                live -= empty_window(window);
                footprint_step(&f, (double)i, live);
            }
        }
    }
    footprint_report(&f, state, "allocations");
    empty_window(window);
    for (size_t i = 0; i < kept; i++)
        free(leak[i]);
    release_private_pages(window, WINDOW * sizeof *window);
    release_private_pages(leak, survivors * sizeof *leak);
}

void register_slow_leak(void)
{
    gbench_iterations(gbench_register("slow_leak", run, NULL), scaled(6000000, 100000));
}
