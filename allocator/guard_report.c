/* guard_report.c: what is said about a guarded block, and the handler of SIGSEGV; see guard.h.

   The handler is there for the faults of the pool. It reports them, puts back what the program had installed before
   (or the default), and returns: the access faults again and meets that, so that the process dies as it would have, of
   the signal, with its core dump. All other faults go to what was there before, in the form that the kernel would
   have given them. A program that installs a handler of its own later has replaced this one, and loses the reports. */
#include "guard.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static __attribute__((section(".bss.last"))) struct {
    struct lock lock; /* RANK_REPORT: one report at a time; all below but `previous` */
    struct print out; /* not on the stack: an alternate signal stack may be small */
    struct stack here;
    struct sigaction previous; /* set before the handler is, and then constant */
} report;

/* ---- text ---- */

/* Distance to the block, 0 inside. */
static size_t slot_distance(const struct guard_slot *slot, uintptr_t address)
{
    uintptr_t start = slot_block(slot), end = start + slot->size;
    return address < start ? start - address : address >= end ? address - end + 1 : 0;
}

static bool slot_is_known(const struct guard_slot *slot)
{
    enum guard_state state = slot_state(slot);
    return state != SLOT_FREE && state != SLOT_OPENING;
}

/* The slot whose block an address of the pool was meant for: of a guard's neighbours, a live one, then the nearer.
   NULL if there was no block. */
static const struct guard_slot *slot_near(uintptr_t address)
{
    const struct guard_slot *slot = slot_at(address);
    if (slot)
        return slot_is_known(slot) ? slot : NULL;
    size_t right = (address - guard.base) / os_page_size / 2;
    for (size_t i = max_size(right, 1) - 1; i <= right && i < guard.slot_count; i++) {
        const struct guard_slot *next = &guard.slots[i];
        if (!slot_is_known(next))
            continue;
        bool live = slot_state(next) == SLOT_LIVE, best_live = slot && slot_state(slot) == SLOT_LIVE;
        if (!slot || (live != best_live ? live : slot_distance(next, address) < slot_distance(slot, address)))
            slot = (struct guard_slot *)next;
    }
    return slot;
}

static const char *plural(size_t count) { return count == 1 ? "" : "s"; }

/* "8 bytes into the block of 100 bytes" */
RARE void report_place(const struct guard_slot *slot, uintptr_t address)
{
    uintptr_t start = slot_block(slot);
    size_t size = slot->size, bytes;
    const char *where;
    if (address < start) {
        bytes = start - address;
        where = "before";
    } else if (address - start < size) {
        bytes = address - start;
        where = "into";
    } else {
        bytes = address - start - size;
        where = "behind the end of";
    }
    print(&report.out, ", %zu byte%s %s the block of %zu byte%s at %#zx\n", bytes, plural(bytes), where, size,
          plural(size), (size_t)start);
}

static void report_stack(const char *what, int32_t thread, const struct stack *stack)
{
    if (load_acquire(stack->count) == 0)
        return;
    print(&report.out, "  %s by thread %d:\n", what, (int)thread);
    stack_print(&report.out, stack);
}

/* What is known of the block. Written before the present stack is looked at, which may be in a bad way. */
RARE void report_history(const struct guard_slot *slot)
{
    if (slot) {
        report_stack("allocated", slot->allocated_by, &slot->allocation);
        report_stack("freed", slot->freed_by, &slot->release);
    }
    print_flush(&report.out);
}

RARE void report_finish(const char *done)
{
    report_stack(done, os_thread(), &report.here);
    print_flush(&report.out);
}

/* False if this thread is in the midst of a report already. */
static bool report_begin(void)
{
    if (lock_is_mine(&report.lock))
        return false;
    lock_acquire(&report.lock);
    report.out.fd = STDERR_FILENO; /* set here, and not in the data of every program */
    return true;
}

/* A byte around the block that is not as it was filled. */
static uintptr_t damage(const struct guard_slot *slot)
{
    const unsigned char *page = (const unsigned char *)slot_page(slot);
    size_t i = slot->offset;
    if (!is_filled(page, slot->offset)) {
        while (page[i - 1] == guard.filler)
            i--;
        return (uintptr_t)&page[i - 1];
    }
    for (i += slot->size; i < os_page_size - 1 && page[i] == guard.filler;)
        i++;
    return (uintptr_t)&page[i];
}

_Noreturn RARE void guard_fatal(const char *bug, const void *p, const void *caller)
{
    if (report_begin()) {
        print(&report.out, "brim: %s: %p\n", bug, p);
        const struct guard_slot *slot = slot_near((uintptr_t)p);
        if (slot) {
            uint64_t word = load_relaxed(slot->word);
            bool mine = word == SLOT_WORD(SLOT_CLOSING, lock_self()); /* it was found damaged */
            uintptr_t address = mine ? damage(slot) : (uintptr_t)p;
            print(&report.out, mine ? "  overwritten at %#zx" : "  %#zx", (size_t)address);
            report_place(slot, address);
        }
        report_history(slot);
        stack_capture(&report.here, caller);
        report_finish("found");
        lock_release(&report.lock);
    }
    abort();
}

/* ---- faults ---- */

static struct frame fault_frame(const ucontext_t *context)
{
    struct frame frame = {.exact = true};
#if defined(__x86_64__)
    const greg_t *registers = context->uc_mcontext.gregs;
    frame.code = (uintptr_t)registers[REG_RIP];
    frame.stack = (uintptr_t)registers[REG_RSP];
    frame.base = (uintptr_t)registers[REG_RBP];
#elif defined(__aarch64__)
    frame.code = context->uc_mcontext.pc;
    frame.stack = context->uc_mcontext.sp;
    frame.base = context->uc_mcontext.regs[29];
    frame.link = context->uc_mcontext.regs[30];
#endif
    return frame;
}

static const char *fault_access(const ucontext_t *context)
{
#if defined(__x86_64__)
    enum { WRITES = 2 }; /* of the page fault's error code */
    return (context->uc_mcontext.gregs[REG_ERR] & WRITES) != 0 ? "write to" : "read of";
#else
    (void)context;
    return "access to";
#endif
}

/* False if nothing is wrong with the access that we know of. */
RARE bool fault_report(uintptr_t address, const ucontext_t *context)
{
    const struct guard_slot *slot = slot_near(address);
    const char *bug = "access of memory that is no block's";
    if (slot && slot_state(slot) != SLOT_LIVE)
        bug = "use after free";
    else if (slot && slot_distance(slot, address) == 0)
        return false;
    else if (slot)
        bug = address < slot_block(slot) ? "buffer underflow" : "buffer overflow";
    if (!report_begin())
        return true;
    print(&report.out, "brim: %s: %#zx\n  %s %#zx", bug, slot ? (size_t)slot_block(slot) : (size_t)address,
          fault_access(context), (size_t)address);
    if (slot)
        report_place(slot, address);
    else
        print(&report.out, "\n");
    report_history(slot);
    stack_capture_from(&report.here, fault_frame(context));
    report_finish("accessed");
    lock_release(&report.lock);
    return true;
}

/* Does with a signal what the kernel would have done with it if we had not been there. */
RARE void fault_hand_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *previous = &report.previous;
    bool sent = info->si_code <= 0; /* by somebody, not by a fault */
    if (previous->sa_handler == SIG_IGN && sent)
        return;
    if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN) {
        sigaction(number, previous, NULL);
        if (sent) /* a fault comes again by itself */
            syscall(SYS_rt_tgsigqueueinfo, getpid(), os_thread(), number, info);
        return;
    }
    if ((previous->sa_flags & (int)SA_RESETHAND) != 0)
        sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigset_t mask = previous->sa_mask, own;
    sigemptyset(&own);
    sigaddset(&own, number);
    if ((previous->sa_flags & SA_NODEFER) != 0 && !sigismember(&mask, number))
        pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    if ((previous->sa_flags & SA_SIGINFO) != 0)
        previous->sa_sigaction(number, info, context);
    else
        previous->sa_handler(number);
}

static void fault_take(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (info->si_code > 0 && guard_contains(info->si_addr) && fault_report((uintptr_t)info->si_addr, context))
        sigaction(number, &report.previous, NULL);
    else
        fault_hand_on(number, info, context);
    errno = saved_errno;
}

RARE void guard_take_faults(void)
{
    report.lock.rank = RANK_REPORT;
    sigaction(SIGSEGV, NULL, &report.previous);
    struct sigaction take = {.sa_sigaction = fault_take,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | (report.previous.sa_flags & SA_RESTART)};
    sigaction(SIGSEGV, &take, NULL);
}

RARE void guard_report_after_fork(void)
{
    if (lock_break_in_child(&report.lock))
        report.out.length = 0; /* what the other thread had to say is the parent's */
}
