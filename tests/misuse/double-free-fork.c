/* double-free-fork.c SIZE: a block that was freed before the fork is freed again in the child, whose end this program
   makes its own. */
#include <signal.h>
#include <sys/wait.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    unsigned char *neighbour = allocate(size_argument(arguments, 1)), *p = announce(allocate(size_argument(arguments, 1)));
    free(p);
    pid_t child = fork();
    if (child == 0) {
        free(opaque(p));
        _exit(1);
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        return 2;
    free(neighbour);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return 1;
}
