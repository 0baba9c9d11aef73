/* double-free-orphan.c SIZE: a block of a thread that has ended is freed twice. */
#include "misuse.h"

static void *allocate_in_thread(void *size)
{
    free(allocate((size_t)size)); /* so that the slab has a free block when its thread leaves it */
    return allocate((size_t)size);
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 2)
        return 2;
    pthread_t thread;
    void *p;
    if (pthread_create(&thread, NULL, allocate_in_thread, (void *)size_argument(arguments, 1)) != 0 ||
        pthread_join(thread, &p) != 0)
        return 2;
    announce(p);
    free(p);
    free(opaque(p));
    return 1;
}
