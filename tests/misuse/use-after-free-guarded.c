/* use-after-free.c SIZE HOW: a block is used after it was freed: a "read", a "write", through the old pointer after
   "realloc", after another "thread" freed it, in a forked "child", or only after "many" others came and went. */
#include <sys/wait.h>

#include "misuse.h"

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    size_t size = size_argument(arguments, 1);
    const char *how = arguments[2];
    volatile unsigned char *p = announce(allocate(size));
    memset((void *)(uintptr_t)p, 'x', size);
    if (strcmp(how, "realloc") == 0)
        opaque(realloc(opaque((void *)(uintptr_t)p), size + 100));
    else if (strcmp(how, "thread") == 0)
        free_elsewhere((void *)(uintptr_t)p);
    else
        free(opaque((void *)(uintptr_t)p));
    if (strcmp(how, "many") == 0)
        for (int i = 0; i < 500; i++)
            free(allocate(size));
    if (strcmp(how, "child") == 0) {
        pid_t child = fork();
        int status;
        if (child != 0)
            return waitpid(child, &status, 0) == child && WIFSIGNALED(status) ? (raise(WTERMSIG(status)), 2) : 2;
    }
    if (strcmp(how, "read") == 0)
        return p[size / 2] == 'y';
    p[size / 2] = 1;
    return 1;
}
