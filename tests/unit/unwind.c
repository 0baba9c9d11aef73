/* unwind.c: the stacks that our unwinder sees are those that libc's backtrace does: from all kinds of frames, at every
   instruction of a function, and through other libraries' code; and where it stops. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/diag.c"
#include "allocator/print.c"
#include "allocator/library.c"

#include "allocator/unwind.c"
#include "allocator/stack.c"

#include <dirent.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

static struct random dice;

static void unwind_begin(void)
{
    dice = random_begin();
    unwind_init();
}

TestSuite(unwind, .init = unwind_begin);

enum { MOST = 100 };

/* Compares the frames above this function. `least`: so many there are. */
static __attribute__((noinline)) size_t compare(size_t least)
{
    void *expected[MOST];
    size_t count = 0, expected_count = (size_t)backtrace(expected, MOST), first = 1;
    struct frame frame;
    UNWIND_HERE(&frame);
    check(unwind_step(&frame));
    do {
        check(first + count < expected_count && frame.code == (uintptr_t)expected[first + count]);
        count++;
    } while (count < MOST - 2 && unwind_step(&frame));
    check(count >= least);
    return count;
}

/* ---- frames of all kinds ---- */

static int order_of(const void *left, const void *right)
{
    compare(3);
    return *(const int *)left - *(const int *)right;
}

static __attribute__((noinline)) size_t with_array(size_t bytes)
{
    char array[bytes]; /* addressed by the frame pointer */
    memset(array, 1, bytes);
    size_t count = compare(3);
    return count + (size_t)array[bytes - 1];
}

static __attribute__((noinline)) size_t descend(int depth, size_t a, size_t b, size_t c)
{
    if (depth == 0)
        return compare(3) + a;
    size_t result = depth % 3 == 0 ? with_array(a % 1000 + 1) : 0;
    return descend(depth - 1, b, c, a ^ result) + (c & 1);
}

Test(unwind, agrees_with_libc)
{
    int numbers[50];
    for (int i = 0; i < 50; i++)
        numbers[i] = i * 37 % 50;
    check(compare(2));
    for (int depth = 0; depth < 60; depth += 7)
        descend(depth, 1, 2, 3);
    qsort(numbers, 50, sizeof *numbers, order_of); /* through a function of libc's */
}

static void *in_thread(void *unused)
{
    check(compare(2) >= 2); /* up to where the thread began, and no further */
    descend(10, 5, 6, 7);
    return unused;
}

Test(unwind, of_threads)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, in_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

Test(unwind, captures)
{
    struct stack stack = {0}, deep = {0};
    const void *caller = __builtin_return_address(0);
    stack_capture(&stack, caller);
    check(load_relaxed(stack.count) >= 2 && stack.frames[0] == (uintptr_t)caller);
    stack_capture(&deep, &dice); /* nobody's: nothing but that */
    check(load_relaxed(deep.count) == 1 && deep.frames[0] == (uintptr_t)&dice);
    struct frame nowhere = {.code = 8, .exact = true};
    stack_capture_from(&stack, nowhere);
    check(load_relaxed(stack.count) == 1 && stack.frames[0] == 8);
    stack_capture_from(&stack, (struct frame){0});
    check(load_relaxed(stack.count) == 1);
}

/* ---- every instruction ---- */

#if defined(__x86_64__)
#include <sys/ucontext.h>

static struct {
    uintptr_t caller; /* the frame that all instructions of the function return to */
    uintptr_t start, end;
    size_t instructions;
} stepped;

static __attribute__((noinline)) size_t subject(size_t n)
{
    char array[n % 64 + 1];
    for (size_t i = 0; i < sizeof array; i++)
        array[i] = (char)(i * n);
    return n + (size_t)array[n % sizeof array];
}

static void look_around(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct frame frame = {(uintptr_t)registers[REG_RIP], (uintptr_t)registers[REG_RSP], (uintptr_t)registers[REG_RBP], 0,
                          true};
    if (frame.code - (uintptr_t)subject >= 4096 || frame.code == stepped.caller)
        return;
    stepped.instructions++;
    check(unwind_step(&frame));
    if (stepped.caller == 0)
        stepped.caller = frame.code; /* at its first instruction */
    check(frame.code == stepped.caller);
}

Test(unwind, at_every_instruction)
{
    struct sigaction trap = {.sa_sigaction = look_around, .sa_flags = SA_SIGINFO}, before;
    size_t (*volatile function)(size_t) = subject;
    for (size_t n = 1; n < 5; n++) {
        stepped.caller = 0;
        sigaction(SIGTRAP, &trap, &before);
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" : : : "memory", "cc");
        function(n);
        __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" : : : "memory", "cc");
        sigaction(SIGTRAP, &before, NULL);
    }
    check(stepped.instructions > 60);
}
#endif

/* ---- all that is written down ---- */

/* Every entry of every module here is understood, at random places of it, but for those that we know we do not. */
static int read_module(struct dl_phdr_info *module, size_t size, void *counts)
{
    (void)size;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        if (module->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME)
            continue;
        const struct header *header = (const struct header *)(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr);
        for (uint32_t at = 0; at < header->count; at++) {
            uintptr_t code = (uintptr_t)header + (uintptr_t)(intptr_t)header->table[at].code;
            struct row row;
            for (int j = 0; j < 3; j++) {
                bool found = row_find(code + random_below(&dice, 64) * (size_t)j, &row);
                ((size_t *)counts)[found ? 0 : 1]++;
            }
        }
    }
    return 0;
}

Test(unwind, reads_what_compilers_write)
{
    size_t counts[2] = {0, 0};
    dl_iterate_phdr(read_module, counts);
    check(counts[0] > 5000 && counts[1] < counts[0] / 2); /* some addresses lie behind short functions */
}

/* ---- text ---- */

Test(unwind, prints_modules_and_symbols)
{
    char text[4096];
    int ends[2];
    check(pipe(ends) == 0);
    struct stack stack = {.count = 2, .frames = {(uintptr_t)qsort + 1, 16}};
    struct print out = {.fd = ends[1]};
    stack_print(&out, &stack);
    print_flush(&out);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    check(length > 0);
    text[length] = '\0';
    check(strncmp(text, "    #0  0x", 10) == 0 && strstr(text, "libc.so.6+0x") && strstr(text, " (qsort+0x1)\n"));
    check(strstr(text, "\n    #1  0x10\n"));
}
