/* unwind.h: walks up the calling thread's stack by the call frame information that compilers leave in .eh_frame.

   The unwinder of libgcc_s is not for us: C programs do not have it, and a library that is initialised before libc, as
   ours is, must not open another. This one knows what code needs that calls malloc: frames whose address is the stack or
   the frame pointer and an offset. It stops at any other (code that realigns its stack, a signal's frame, a frame
   without information) and says nothing of what lies above.

   Takes no lock and allocates nothing: safe wherever the allocator can be, and in signal handlers. Modules are found by
   _dl_find_object (glibc 2.35); without it, in static programs for one, only the program itself is known, and that only
   if it was linked with a table of its frames (gcc -static makes none, -static-pie does).

   Formats: DWARF 5, 6.4, and the Linux Standard Base, 10.6, for .eh_frame and .eh_frame_hdr. */
#ifndef BRIM_UNWIND_H
#define BRIM_UNWIND_H

#include "base.h"

struct header; /* of .eh_frame_hdr */

/* Where a thread is: what its frame's caller's is computed from. */
struct frame {
    uintptr_t code;  /* a return address, unless `exact` */
    uintptr_t stack; /* stack pointer */
    uintptr_t base;  /* frame pointer */
    uintptr_t link;  /* link register, where there is one */
    bool exact;      /* `code` is the next instruction to run, not one behind a call */
};

/* Learns where the program's own frame information is. Called before any unwinding. */
RARE void unwind_init(void);
/* UNWIND_HERE(frame) fills in the frame of the function that it stands in. */
/* Makes `frame` its caller's. False if that is not known, or there is none. */
static bool unwind_step(struct frame *frame);
/* The program itself, and where its frame information is. Constant after unwind_init. */
static struct {
    uintptr_t start, end;
    const struct header *header;
} own_program;

#if defined(__x86_64__)
#define UNWIND_HERE(frame)                                                                                             \
    __asm__ volatile("leaq 0f(%%rip), %0\n0:\tmovq %%rsp, %1\n\tmovq %%rbp, %2"                                        \
                     : "=&r"((frame)->code), "=&r"((frame)->stack), "=&r"((frame)->base));                             \
    (frame)->link = 0;                                                                                                 \
    (frame)->exact = true
#elif defined(__aarch64__)
#define UNWIND_HERE(frame)                                                                                             \
    __asm__ volatile("adr %0, 0f\n0:\tmov %1, sp\n\tmov %2, x29\n\tmov %3, x30"                                        \
                     : "=&r"((frame)->code), "=&r"((frame)->stack), "=&r"((frame)->base), "=&r"((frame)->link));       \
    (frame)->exact = true
#else
#define UNWIND_HERE(frame) *(frame) = (struct frame){.exact = true}
#endif

#endif
