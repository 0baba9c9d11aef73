/* new_delete: the C++ operators as a compiler calls them (Itanium C++ ABI, 5.1.2: the mangled names), without
   C++: pairs of `operator new` with the plain and the sized `operator delete` on objects of 16 to 256 bytes,
   in a window of 64, as short-lived C++ objects come and go. One iteration is one object. */
#include "../workload.h"

extern void *operator_new(size_t size) __asm__("_Znwm");
extern void operator_delete(void *object) __asm__("_ZdlPv");
extern void operator_delete_sized(void *object, size_t size) __asm__("_ZdlPvm");

enum { WINDOW = 64 };

struct slot {
    void *object;
    size_t size;
};

static inline void release(struct slot *slot, int sized)
{
    unstamp(slot->object, slot->size);
    if (sized)
        operator_delete_sized(slot->object, slot->size);
    else
        operator_delete(slot->object);
}

static void churn(struct slot *window, int sized, random_source *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        struct slot *slot = &window[i % WINDOW];
        if (slot->object)
            release(slot, sized);
        slot->size = 16 + random_below(source, 241);
        slot->object = opaque(operator_new(slot->size));
        stamp(slot->object, slot->size);
    }
}

static void run(gbench_state *state, void *context)
{
    int sized = (int)(intptr_t)context;
    struct slot window[WINDOW] = {{NULL, 0}};
    random_source source = {7};
    churn(window, sized, &source, gbench_iteration_limit(state) / 10 + WINDOW);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        churn(window, sized, &source, n);
    gbench_set_items_processed(state, gbench_iteration_count(state));
    for (int i = 0; i < WINDOW; i++)
        release(&window[i], sized);
}

void register_new_delete(void)
{
    gbench_iterations(gbench_register("new_delete/plain", run, (void *)0), scaled(6000000, 1000));
    gbench_iterations(gbench_register("new_delete/sized", run, (void *)1), scaled(6000000, 1000));
}
