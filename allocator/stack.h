/* stack.h: call stacks, captured for reports that may come much later. A frame is a return address; its symbol is looked
   up when it is printed. */
#ifndef BRIM_STACK_H
#define BRIM_STACK_H

#include "print.h"
#include "unwind.h"

enum { STACK_FRAMES = 16 };

struct stack {
    _Atomic uint32_t count; /* release store after the frames */
    uintptr_t frames[STACK_FRAMES];
};

/* The calling thread's stack, from the frame that returns to `caller` on: those above are ours. */
static void stack_capture(struct stack *stack, const void *caller);
/* The stack that begins with `frame`. */
static void stack_capture_from(struct stack *stack, struct frame frame);
/* A line for each frame: its address, module and offset, symbol. Takes the loader's lock. */
RARE void stack_print(struct print *out, const struct stack *stack);

#endif
