/* blocked-break.c: a program break that cannot grow. Allocation must go on elsewhere, and return to the break
   when it can grow again.

   blocked-break mapping-start    a mapping lies right above the break before the first allocation
   blocked-break mapping-later    it appears there in mid-life
   blocked-break mapping-moving   it comes and goes while threads allocate
   blocked-break seccomp-start    the system call brk fails with EPERM from the start, as in a sandbox
   blocked-break seccomp-later    the program enters such a sandbox in mid-life; libc's sbrk then reports
                                  success, as it expects the kernel's way to refuse (glibc's malloc crashes)
   blocked-break refused-later    it stays where it is from mid-life on: the kernel's way to refuse */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "stress.h"

#define SLOTS 3000

static struct block slots[SLOTS];
static struct random dice;

/* Fills the heap to some tens of MiB of blocks of all kinds, and keeps changing them. */
static void allocate(size_t steps)
{
    for (size_t i = 0; i < steps; i++)
        block_step(slots, SLOTS, random_below(&dice, 4) == 0 ? MIB : 128 * KIB, &dice);
}

static void *allocate_in_thread(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block own[100] = {0};
    for (size_t i = 0; i < 20000; i++)
        block_step(own, 100, 512 * KIB, &random);
    blocks_free(own, 100);
    return NULL;
}

static void allocate_in_threads(void)
{
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        thread_start(&threads[i], allocate_in_thread, (void *)i);
    for (size_t i = 0; i < 2; i++)
        thread_join(threads[i]);
}

/* Live small blocks, more than the heap can have free: it must grow, wherever it can. The break at its
   highest. */
static unsigned char *grow_heap(size_t bytes)
{
    const size_t size = 1000, count = bytes / size;
    struct block *many =
        mmap(NULL, count * sizeof *many, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(many != MAP_FAILED);
    for (size_t i = 0; i < count; i++)
        block_malloc(&many[i], size, i);
    unsigned char *top = sbrk(0);
    blocks_free(many, count);
    munmap(many, count * sizeof *many);
    return top;
}

static void allocate_in_all_ways(void)
{
    allocate(100000);
    grow_heap(128 * MIB);
    allocate_in_threads();
    allocate(50000);
}

/* ---- a mapping in the way ---- */

static struct block blocker;

/* One page that is somebody else's: it must not change either. */
static void put_blocker(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t top = ((uintptr_t)sbrk(0) + page - 1) & ~(page - 1);
    void *p = mmap((void *)top, page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        fail("nothing can be mapped at the break: errno %d", errno);
    blocker = (struct block){p, page, 0};
    block_fill(&blocker, 0);
}

static void remove_blocker(void)
{
    block_verify(&blocker);
    munmap(blocker.start, blocker.size);
    blocker.start = NULL;
}

/* Before the constructors of the libraries, and so before they allocate. */
static void put_blocker_first(int count, char **arguments, char **environment)
{
    (void)environment;
    if (count > 1 && strcmp(arguments[1], "mapping-start") == 0)
        put_blocker();
}
typedef void (*initializer)(int, char **, char **);
__attribute__((section(".preinit_array"), used)) static const initializer first = put_blocker_first;

static void run_mapping(bool later)
{
    if (later) {
        allocate(50000);
        put_blocker();
    }
    allocate_in_all_ways();
    require((unsigned char *)sbrk(0) <= blocker.start);
    remove_blocker();
    /* More than all the memory that was found elsewhere meanwhile. */
    unsigned char *before = sbrk(0);
    if (grow_heap(256 * MIB) <= before)
        fail("the break is free again, but 256 MiB more did not use it");
    allocate(20000);
}

static atomic_bool moved_enough;

static void *allocate_until_moved(void *argument)
{
    while (!moved_enough)
        allocate_in_thread(argument);
    return NULL;
}

/* Puts a page above the break and takes it away again. Another thread may move the break in between; the page
   then goes to the wrong place, or nowhere. */
static void run_mapping_moving(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        thread_start(&threads[i], allocate_until_moved, (void *)i);
    size_t put = 0;
    for (size_t i = 0; put < 1500 && i < 20000; i++) {
        uintptr_t top = ((uintptr_t)sbrk(0) + page - 1) & ~(page - 1);
        char *p = mmap((void *)(top + page * (i % 3)), page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (p != MAP_FAILED)
            memset(p, 0x5a, page);
        struct timespec moment = {0, 200000};
        nanosleep(&moment, NULL);
        if (p == MAP_FAILED)
            continue; /* the break had moved there */
        put++;
        for (size_t j = 0; j < page; j++)
            require(p[j] == 0x5a);
        munmap(p, page);
    }
    moved_enough = true;
    for (size_t i = 0; i < 2; i++)
        thread_join(threads[i]);
    require(put > 100);
}

/* ---- seccomp ---- */

#if defined(__x86_64__)
#define AUDIT_ARCHITECTURE AUDIT_ARCH_X86_64
#define SYSTEM_CALL_RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define AUDIT_ARCHITECTURE AUDIT_ARCH_AARCH64
#define SYSTEM_CALL_RESULT(context) ((context)->uc_mcontext.regs[0])
#endif

static void filter_brk(unsigned action)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCHITECTURE, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_brk, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, action),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        skip("this system allows no seccomp filter: errno %d", errno);
}

static void run_seccomp_start(char **arguments)
{
    static const char in_force[] = "STRESS_FILTER_IN_FORCE";
    if (!getenv(in_force)) {
        setenv(in_force, "1", 1);
        filter_brk(SECCOMP_RET_ERRNO | EPERM);
        execute_again(arguments);
    }
    require_expected_allocator();
    require(syscall(SYS_brk, 0) == -1 && errno == EPERM);
    allocate_in_all_ways();
}

static void run_seccomp_later(void)
{
    allocate(50000);
    filter_brk(SECCOMP_RET_ERRNO | EPERM);
    allocate_in_all_ways();
}

static volatile uintptr_t break_when_refused;
static _Atomic size_t refusals;

static void refuse_brk(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    SYSTEM_CALL_RESULT((ucontext_t *)context) = break_when_refused;
    refusals++;
}

static void run_refused_later(void)
{
    allocate(50000);
    struct sigaction action = {.sa_sigaction = refuse_brk, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    break_when_refused = (uintptr_t)sbrk(0);
    filter_brk(SECCOMP_RET_TRAP);
    allocate_in_all_ways();
    require((uintptr_t)sbrk(0) == break_when_refused);
    require(refusals > 0);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    dice = random_stream(0);
    if (strcmp(mode, "seccomp-start") == 0)
        run_seccomp_start(arguments);
    else
        require_expected_allocator();
    if (strcmp(mode, "mapping-start") == 0)
        run_mapping(false);
    else if (strcmp(mode, "mapping-later") == 0)
        run_mapping(true);
    else if (strcmp(mode, "mapping-moving") == 0)
        run_mapping_moving();
    else if (strcmp(mode, "seccomp-later") == 0)
        run_seccomp_later();
    else if (strcmp(mode, "refused-later") == 0)
        run_refused_later();
    else if (strcmp(mode, "seccomp-start") != 0)
        fail("no such mode: %s", mode);
    blocks_free(slots, SLOTS);
    return 0;
}
