/* spawn.c: new programs from a program whose threads allocate, by vfork (the child borrows this very heap
   until it execs), posix_spawn, system and popen. Each new program runs on the same allocator by inheriting
   the environment.

   spawn [ROUNDS] */
#include <spawn.h>

#include "stress.h"

#define SLOTS 64

static atomic_bool stopping;

static void *allocate_all_day(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block slots[SLOTS] = {0};
    while (!stopping)
        block_step(slots, SLOTS, 512 * KIB, &random);
    blocks_free(slots, SLOTS);
    return NULL;
}

static void spawn_by_vfork(void)
{
    static char *const command[] = {"/bin/sh", "-c", "exit 0", NULL};
    pid_t child = vfork();
    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    require(child > 0);
    require_child_success(child);
}

static void spawn_by_posix_spawn(void)
{
    char *const command[] = {"sh", "-c", "exit 0", NULL};
    pid_t child;
    require(posix_spawnp(&child, "sh", NULL, NULL, command, environ) == 0);
    require_child_success(child);
}

static void spawn_by_popen(void)
{
    char *line = NULL;
    size_t capacity = 0;
    FILE *stream = popen("echo 0123456789", "r");
    require(stream);
    require(getline(&line, &capacity, stream) == 11 && strcmp(line, "0123456789\n") == 0);
    require(pclose(stream) == 0);
    free(line);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t rounds = argument(count, arguments, 1, 100);
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        thread_start(&threads[i], allocate_all_day, (void *)i);
    for (size_t i = 0; i < rounds; i++) {
        spawn_by_vfork();
        spawn_by_posix_spawn();
        spawn_by_popen();
        require(system("exit 0") == 0);
    }
    stopping = true;
    for (size_t i = 0; i < 3; i++)
        thread_join(threads[i]);
    return 0;
}
