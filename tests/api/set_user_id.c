/* set_user_id: the program that set_user_id.sh makes set-user-ID. Says whose it runs as, and whether a
   request above the default threshold was mapped, which MALLOC_MMAP_MAX_=0 or its tunable prevents where they
   are obeyed. */
#include <unistd.h>

#include "../support.h"

int main(void)
{
    require_expected_allocator_for(24);
    char *block = opaque(malloc(1 << 20));
    printf("%s %s\n", geteuid() == getuid() ? "plain" : "set-user-ID",
           block > (char *)sbrk(0) ? "mapped" : "break");
    return 0;
}
