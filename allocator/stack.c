/* stack.c: see stack.h. */
#include "stack.h"

#include "library.h"

static void stack_capture_from(struct stack *stack, struct frame frame)
{
    uint32_t count = 0;
    do
        stack->frames[count++] = frame.code;
    while (count < STACK_FRAMES && unwind_step(&frame));
    store_release(stack->count, count);
}

SLOW void stack_capture(struct stack *stack, const void *caller)
{
    enum { OWN_FRAMES = 8 };
    struct frame frame;
    UNWIND_HERE(&frame);
    for (int i = 0; i < OWN_FRAMES && frame.code != (uintptr_t)caller; i++)
        if (!unwind_step(&frame))
            break;
    if (frame.code != (uintptr_t)caller)
        frame = (struct frame){.code = (uintptr_t)caller}; /* that much is known */
    stack_capture_from(stack, frame);
}

RARE void stack_print(struct print *out, const struct stack *stack)
{
    uint32_t count = load_acquire(stack->count);
    for (uint32_t i = 0; i < count; i++) {
        uintptr_t address = stack->frames[i];
        print(out, "    #%-2u %#zx", i, (size_t)address);
        Dl_info module;
        if (dladdr && dladdr((void *)address, &module) != 0 && module.dli_fname) {
            print(out, " %s+%#zx", module.dli_fname, (size_t)(address - (uintptr_t)module.dli_fbase));
            if (module.dli_sname)
                print(out, " (%s+%#zx)", module.dli_sname, (size_t)(address - (uintptr_t)module.dli_saddr));
        } else if (address >= own_program.start && address < own_program.end) {
            print(out, " +%#zx", (size_t)(address - own_program.start)); /* static: there is no loader to ask */
        }
        print(out, "\n");
    }
}
