/* thread-churn.c: thousands of threads that live for a moment, on stacks as small as the system allows, while
   their blocks live on and are freed by threads that come later. What a thread leaves behind must be used
   again: memory must not grow with the number of threads that ever lived.

   thread-churn [THREADS [BLOCKS [AT_ONCE [STACK]]]]  BLOCKS per thread; STACK in bytes, 0: the smallest */
#include "stress.h"

#define POOL 4096

/* Blocks whose thread is gone, or soon will be. */
static struct block pool[POOL];
static size_t pool_bytes;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t blocks_per_thread;

static void exchange_with_pool(struct block *mine, size_t slot)
{
    pthread_mutex_lock(&pool_lock);
    struct block others = pool[slot];
    pool_bytes += mine->size - others.size;
    pool[slot] = *mine;
    pthread_mutex_unlock(&pool_lock);
    *mine = others;
}

static void *live_briefly(void *argument)
{
    struct random random = random_stream((uintptr_t)argument);
    struct block mine[16] = {0};
    for (size_t i = 0; i < blocks_per_thread; i++) {
        block_step(mine, 16, 64 * KIB, &random);
        if (random_below(&random, 4) == 0)
            exchange_with_pool(&mine[random_below(&random, 16)], random_below(&random, POOL));
    }
    blocks_free(mine, 16);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t threads = argument(count, arguments, 1, 6000);
    blocks_per_thread = argument(count, arguments, 2, 150);
    size_t at_once = argument(count, arguments, 3, 8), stack = argument(count, arguments, 4, 64 * KIB);
    /* Static TLS, the thread's descriptor and the frames of this program's own checks come out of it, too. */
    if (stack == 0)
        stack = ((size_t)sysconf(_SC_THREAD_STACK_MIN) + 12 * KIB + 4095) & ~(size_t)4095;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, stack) != 0)
        fail("no stack of %zu bytes", stack);

    size_t settled = 0, settled_pool = 0;
    pthread_t running[at_once];
    for (size_t started = 0; started < threads; started += at_once) {
        for (size_t i = 0; i < at_once; i++)
            if (pthread_create(&running[i], &attributes, live_briefly, (void *)(started + i)) != 0)
                fail("pthread_create: errno %d", errno);
        for (size_t i = 0; i < at_once; i++)
            thread_join(running[i]);
        if (settled == 0 && started >= threads / 5) {
            settled = process_bytes("VmRSS:");
            settled_pool = pool_bytes;
        }
    }
    size_t after = process_bytes("VmRSS:");
    size_t pool_growth = pool_bytes > settled_pool ? pool_bytes - settled_pool : 0;
    printf("resident: %zu KiB after a fifth of the threads, %zu KiB after all, for %zu KiB more in blocks\n",
           settled / KIB, after / KIB, pool_growth / KIB);
    /* A slab that is lost with its thread costs 64 KiB. */
    if (RESIDENT_IS_OURS && after > settled + settled / 4 + 2 * pool_growth + threads * 4 / 5 * 16 * KIB)
        fail("grown from %zu to %zu KiB in %zu threads", settled / KIB, after / KIB, threads * 4 / 5);
    blocks_free(pool, POOL);
    return 0;
}
