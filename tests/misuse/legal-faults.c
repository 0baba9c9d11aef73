/* legal-faults.c WHAT: no mistake that concerns the heap. Faults elsewhere reach the program's handler: "once", again and
   again where it goes on elsewhere ("recover"), on an "alternate" stack when the stack overflows; so do signals that
   are "sent"; where there is "none", the program dies of the signal. */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "misuse.h"

static sigjmp_buf back;
static volatile sig_atomic_t seen;
static void *volatile fault_at;

static void handle(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (number != SIGSEGV || (fault_at && info->si_addr != fault_at))
        _exit(3);
    seen++;
    siglongjmp(back, 1);
}

static void count(int number) { seen += number == SIGSEGV; }

static __attribute__((noinline)) size_t descend(size_t depth)
{
    volatile char frame[4000];
    frame[depth % sizeof frame] = (char)depth;
    return fault_at ? depth : descend(depth + 1) + (size_t)frame[depth % sizeof frame];
}

int main(int arguments, char **argument)
{
    require_expected_allocator_for(24);
    if (arguments != 2)
        return 2;
    const char *what = argument[1];
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(allocate(100));
    if (strcmp(what, "none") == 0) {
        pid_t child = fork();
        int status;
        if (child == 0) {
            *(volatile char *)page = 1;
            _exit(0);
        }
        return !(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    if (strcmp(what, "sent") == 0) {
        signal(SIGSEGV, count);
        for (int i = 0; i < 10; i++)
            raise(SIGSEGV);
        return seen != 10;
    }
    bool overflow = strcmp(what, "alternate") == 0;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | (overflow ? SA_ONSTACK : 0)};
    if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGSEGV, &action, NULL) != 0)
        return 2;
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_STACK, &limit);
    for (volatile int i = 0; i < (strcmp(what, "recover") == 0 ? 20 : 1); i++)
        if (sigsetjmp(back, 1) == 0) {
            fault_at = overflow ? NULL : page + i;
            if (overflow)
                return (int)descend(0);
            *(volatile char *)(page + i) = 1;
            return 4;
        }
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    free(stack.ss_sp);
    return seen != (strcmp(what, "recover") == 0 ? 20 : 1);
}
