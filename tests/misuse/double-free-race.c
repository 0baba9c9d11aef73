/* double-free-race.c SIZE OWNER: two threads free a block at the same moment, again and again until that is found.
   OWNER mine: one of them is the thread that allocated it; other: neither is. 1 if a block of them had two owners. */
#include <stdatomic.h>

#include "misuse.h"

enum { ROUNDS = 20000, LATER = 300 };
static _Atomic(unsigned char *) shared;
static _Atomic int round_number, done;

static void *free_each(void *unused)
{
    (void)unused;
    free(allocate(24));
    for (int i = 1; i <= ROUNDS; i++) {
        while (atomic_load(&round_number) < i)
            ;
        free(atomic_load(&shared));
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count != 3)
        return 2;
    size_t size = size_argument(arguments, 1);
    int others = strcmp(arguments[2], "mine") == 0 ? 1 : 2;
    pthread_t threads[2];
    for (int i = 0; i < others; i++)
        if (pthread_create(&threads[i], NULL, free_each, NULL) != 0)
            return 2;
    for (int i = 1; i <= ROUNDS; i++) {
        unsigned char *p = announce(allocate(size));
        atomic_store(&shared, p);
        atomic_store(&done, 0);
        atomic_store(&round_number, i);
        if (others == 1)
            free(p);
        while (atomic_load(&done) < others)
            ;
        unsigned char *later[LATER];
        for (int j = 0; j < LATER; j++) {
            later[j] = allocate(size);
            for (int k = 0; k < j && i % 16 == 0; k++)
                if (later[k] == later[j])
                    _exit(1);
        }
        for (int j = 0; j < LATER; j++)
            free(later[j]);
    }
    return 1;
}
