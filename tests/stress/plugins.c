/* plugins.c: a library that allocates in constructors, destructors and thread-local storage is loaded and
   unloaded again and again, from several threads, while others allocate. Blocks that it allocated outlive it.

   plugins [ROUNDS [LIBRARY]]  LIBRARY is stress-plugin.so next to this program, if not given */
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>

#include "plugins.h"

#define THREADS 3

static char library[PATH_MAX];
static size_t rounds;

static void *symbol(void *handle, const char *name)
{
    void *address = dlsym(handle, name);
    if (!address)
        fail("%s", dlerror());
    return address;
}

static void *load_and_unload(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block left[64] = {0};
    for (size_t i = 0; i < rounds; i++) {
        void *handle = dlopen(library, i % 2 == 0 ? RTLD_NOW : RTLD_LAZY);
        if (!handle)
            fail("%s", dlerror());
        struct block (*leave_block)(uint64_t) =
            (struct block(*)(uint64_t))symbol(handle, "plugin_leave_block");
        void (*work_in_thread)(uint64_t) = (void (*)(uint64_t))symbol(handle, "plugin_work_in_thread");
        struct block *slot = &left[i % 64];
        block_free(slot);
        *slot = leave_block(random_next(&random));
        work_in_thread(random_next(&random));
        require(dlclose(handle) == 0);
        block_verify(slot);
    }
    blocks_free(left, 64);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    rounds = argument(count, arguments, 1, 1000);
    if (count > 2) {
        snprintf(library, sizeof library, "%s", arguments[2]);
    } else {
        char self[PATH_MAX - 100];
        ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
        require(length > 0);
        self[length] = '\0';
        snprintf(library, sizeof library, "%s/stress-plugin.so", dirname(self));
    }
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], load_and_unload, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    return 0;
}
