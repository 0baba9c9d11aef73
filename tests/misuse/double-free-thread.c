/* double-free-thread.c SIZE FIRST SECOND: a block is freed twice, by threads: "mine" is the one that
   allocated it, "other" another. Threads exist and have allocated before the first free, so that nothing
   takes the block in between. */
#include <semaphore.h>

#include "misuse.h"

static sem_t ready, turn[2];
static unsigned char *p;

static void *free_in_turn(void *which)
{
    free(allocate(24));
    sem_post(&ready);
    sem_wait(which);
    free(opaque(p));
    sem_post(&ready);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 4)
        return 2;
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, free_in_turn, &turn[i]) != 0 || sem_wait(&ready) != 0)
            return 2;
    unsigned char *neighbour = allocate(size_argument(arguments, 1));
    p = announce(allocate(size_argument(arguments, 1)));
    for (int i = 0; i < 2; i++) {
        if (strcmp(arguments[2 + i], "mine") == 0) {
            free(opaque(p));
        } else {
            sem_post(&turn[i]);
            sem_wait(&ready);
        }
    }
    free(neighbour);
    return 1;
}
