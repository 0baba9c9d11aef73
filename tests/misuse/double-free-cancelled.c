/* double-free-cancelled.c SIZE: a block is freed twice, by a thread with a cancellation pending. The diagnosis must not
   be where it is cancelled: the program would go on. */
#include "misuse.h"

static void *free_twice(void *size)
{
    unsigned char *p = announce(allocate(*(size_t *)size));
    pthread_cancel(pthread_self());
    free(p);
    free(opaque(p));
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    pthread_t thread;
    size_t size = size_argument(arguments, 1);
    if (pthread_create(&thread, NULL, free_twice, &size) != 0)
        return 2;
    pthread_join(thread, NULL);
    return 1;
}
