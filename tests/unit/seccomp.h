/* seccomp.h: a sandbox in which a system call fails: brk, or any other. */
#ifndef TESTS_UNIT_SECCOMP_H
#define TESTS_UNIT_SECCOMP_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static inline bool seccomp_refuse(unsigned call, unsigned error)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(instructions), .filter = instructions};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* From now on brk fails with `error` in this process. */
static inline void forbid_brk(unsigned error) { check(seccomp_refuse(SYS_brk, error)); }

/* Skips the test, and says why, where there is no seccomp. */
static inline void require_seccomp(void)
{
    struct child child = child_begin();
    if (child.process == 0)
        _exit(seccomp_refuse(SYS_brk, 0) ? 0 : 1);
    char output[1];
    if (child_end(&child, output, sizeof output) != 0)
        cr_skip_test("this system allows no seccomp filter");
}

#endif
