/* step.h: what else can happen at every instruction of an operation.

   step_through() runs an operation one instruction at a time (the processor's trap flag). Whenever the memory
   that the test watches has changed since the last time, it forks, in up to four ways; each child lives
   through one of the things that could have happened there, and then verifies that all is well:

     STEP_OTHER    another thread forks: in the child, the one that was in the middle of the operation does
                   not exist, and whatever lock it held is still taken
     STEP_SELF     the thread itself forks, as in a signal handler that interrupted the operation: in the
                   child the handler returns, and the operation runs to its end
     STEP_BESIDE   the same, while another thread holds every lock that is to be had: in the child that thread
                   does not exist, and what the locks protect is repaired around the interrupted operation
     STEP_ACT      no fork at all: another thread does something, as a whole, between two instructions (the
                   child plays that thread in the handler), and the operation goes on

   In the first three the rooms' after-fork repair runs at once, as in any child. A child that does not come
   through fails the test, with the number of the instruction. */
#ifndef TESTS_UNIT_STEP_H
#define TESTS_UNIT_STEP_H

#if !defined(__x86_64__)
#error "stepping is by the trap flag of x86: leave this test out elsewhere"
#endif

#include <semaphore.h>
#include <ucontext.h>

enum step_part { STEP_OTHER, STEP_SELF, STEP_BESIDE, STEP_ACT };

struct step {
    void (*operation)(void);
    void (*begin)(void);  /* NULL, or what the other thread does before all */
    void (*repair)(void); /* NULL, or what a child does at once: for rooms below the fork handler's */
    void (*verify)(
        enum step_part part); /* in the child: after the repair (other), else after the operation */
    void (*act)(void);        /* if not NULL: STEP_ACT, where no lock is held, and nothing else */
    struct lock *locks[8];    /* all that may be held, in the order of their ranks; none: no STEP_BESIDE */
    struct {
        const void *start;
        size_t size;
    } watched[16];
};

static struct {
    struct step step;
    pthread_t other;
    sem_t wanted, done;
    enum { OTHER_FORK, OTHER_TAKE_LOCKS, OTHER_LEAVE_LOCKS, OTHER_END } order; /* to the other thread */
    bool child; /* this process is a child in which the operation goes on */
    enum step_part part;
    size_t forks, instructions;
    uint64_t seen; /* hash of what is watched */
} stepper;

#define TRAP_FLAG 0x100

/* FNV-1a over words: quick enough for every instruction. */
static uint64_t step_hash(void)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < COUNT_OF(stepper.step.watched); i++) {
        const uint64_t *words = stepper.step.watched[i].start;
        for (size_t j = 0; j < stepper.step.watched[i].size / sizeof *words; j++)
            hash = (hash ^ words[j]) * 0x100000001b3;
    }
    return hash;
}

/* Zero in the child. */
static pid_t step_fork(void)
{
    stepper.forks++;
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(20);
        if (stepper.step.repair)
            stepper.step.repair();
        if (stepper.step.act)
            stepper.step.act();
    }
    return child;
}

static void step_judge(pid_t child, const char *part)
{
    int status;
    check(waitpid(child, &status, 0) == child);
    if (status == 0)
        return;
    dprintf(STDERR_FILENO, "fork by %s after %zu instructions: the child ended with status %#x\n", part,
            stepper.instructions, status);
    abort();
}

static void *step_other(void *unused)
{
    bool taken[COUNT_OF(stepper.step.locks)];
    if (stepper.step.begin)
        stepper.step.begin();
    sem_post(&stepper.done);
    for (;; sem_post(&stepper.done)) {
        while (sem_wait(&stepper.wanted) != 0)
            ;
        switch (stepper.order) {
        case OTHER_FORK: {
            pid_t child = step_fork();
            if (child == 0) {
                stepper.step.verify(STEP_OTHER);
                _exit(0);
            }
            step_judge(child, "another thread");
            break;
        }
        case OTHER_TAKE_LOCKS:
            for (size_t i = 0; i < COUNT_OF(taken); i++)
                taken[i] = stepper.step.locks[i] && lock_try(stepper.step.locks[i]);
            break;
        case OTHER_LEAVE_LOCKS:
            for (size_t i = COUNT_OF(taken); i-- > 0;)
                if (taken[i])
                    lock_release(stepper.step.locks[i]);
            break;
        case OTHER_END: return unused;
        }
    }
}

static void step_order(int order)
{
    stepper.order = order;
    sem_post(&stepper.wanted);
    while (sem_wait(&stepper.done) != 0)
        ;
}

static bool step_holds_lock(void)
{
    for (size_t i = 0; i < COUNT_OF(stepper.step.locks); i++)
        if (stepper.step.locks[i] && load_relaxed(stepper.step.locks[i]->word) != 0)
            return true;
    return false;
}

static void step_trap(int signal_number, siginfo_t *info, void *context)
{
    static const char *const names[] = {[STEP_SELF] = "a signal handler",
                                        [STEP_BESIDE] = "a signal handler, with locks taken",
                                        [STEP_ACT] = "the test, for another thread to act"};
    (void)signal_number;
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    stepper.instructions++;
    uint64_t now = step_hash();
    bool acts = stepper.step.act != NULL;
    if (now == stepper.seen || (acts && step_holds_lock()))
        return;
    int saved_errno = errno;
    if (!acts)
        step_order(OTHER_FORK);
    enum step_part last = acts ? STEP_ACT : stepper.step.locks[0] ? STEP_BESIDE : STEP_SELF;
    for (enum step_part part = acts ? STEP_ACT : STEP_SELF; part <= last; part++) {
        if (part == STEP_BESIDE)
            step_order(OTHER_TAKE_LOCKS);
        pid_t child = step_fork();
        if (child == 0) {
            stepper.child = true;
            stepper.part = part;
            registers[REG_EFL] &= ~TRAP_FLAG; /* on to the end, at full speed */
            errno = saved_errno;
            return;
        }
        step_judge(child, names[part]);
        if (part == STEP_BESIDE)
            step_order(OTHER_LEAVE_LOCKS);
    }
    stepper.seen = step_hash(); /* the locks may look other than before */
    errno = saved_errno;
}

/* Returns how many forks there were. */
static size_t step_through(const struct step *step)
{
    struct sigaction trap = {.sa_sigaction = step_trap, .sa_flags = SA_SIGINFO}, before;
    sigaction(SIGTRAP, &trap, &before);
    memset(&stepper, 0, sizeof stepper);
    stepper.step = *step;
    check(sem_init(&stepper.wanted, 0, 0) == 0 && sem_init(&stepper.done, 0, 0) == 0);
    check(pthread_create(&stepper.other, NULL, step_other, NULL) == 0);
    while (sem_wait(&stepper.done) != 0)
        ;
    stepper.seen = step_hash();
    __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" : : "i"(TRAP_FLAG) : "memory", "cc");
    step->operation();
    __asm__ volatile("pushfq; andq %0, (%%rsp); popfq" : : "i"(~TRAP_FLAG) : "memory", "cc");
    if (stepper.child) {
        step->verify(stepper.part);
        _exit(0);
    }
    stepper.order = OTHER_END;
    sem_post(&stepper.wanted);
    pthread_join(stepper.other, NULL);
    sigaction(SIGTRAP, &before, NULL);
    return stepper.forks;
}

#endif
