/* thread.c: how a thread comes by its arena, and how it leaves it: in the middle of the destructors,
   before all of them, or after. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"

#include "allocator/options.c"
#include "allocator/os.c"

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/slab.c"
#include "allocator/spare.c"

#include "allocator/medium.c"
#include "allocator/mapping.c"

#include "allocator/arena.c"
#include "allocator/arena_registry.c"

#include "allocator/quarantine.c"
#include "allocator/thread.c"

#include "arenas.h"

enum { LARGE = 27 }; /* 4096 bytes */

/* As the dispatch does it: whatever arena the thread has, for one operation. */
static void *thread_allocate(unsigned class)
{
    bool clean;
    struct arena *arena = thread_enter();
    check(arena);
    void *block = arena_allocate(arena, class, &clean);
    thread_leave(arena);
    check(block);
    return block;
}

static void thread_free(void *block)
{
    struct arena *arena = thread_enter();
    check(arena);
    arena_free(arena, block);
    thread_leave(arena);
}

static void run_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, body, argument) == 0);
    pthread_join(thread, NULL);
}

/* Nothing but the calling thread's arena is active. */
static void expect_all_others_idle(void)
{
    for (uint32_t id = 1; id <= arena_count(); id++) {
        const struct arena *arena = arena_by_id(id);
        check(load_relaxed(arena->state) == (arena == thread_home ? ARENA_ACTIVE : ARENA_IDLE));
    }
    arenas_check();
}

/* ---- a thread's arena ---- */

Test(thread, set_up_once)
{
    check(process_key.encode == 0 && os_page_size == 0);
    process_init_once();
    struct link_key key = process_key;
    check(key.encode * key.decode == 1 && os_page_size == (size_t)sysconf(_SC_PAGESIZE));
    process_init_once();
    check(key.encode == process_key.encode && key.decode == process_key.decode);
}

static void *attach(void *seen)
{
    check(!thread_home && thread_arena == &arena_none && thread_supply == &arena_none);
    errno = ERANGE;
    struct arena *arena = thread_enter();
    check(errno == ERANGE);
    check(arena && thread_home == arena && thread_arena == arena && thread_supply == arena &&
          load_relaxed(arena->state) == ARENA_ACTIVE);
    thread_leave(arena);
    check(thread_home == arena && thread_enter() == arena);
    *(struct arena **)seen = arena;
    return NULL;
}

Test(thread, keeps_its_arena_and_leaves_it_to_the_next)
{
    struct arena *first, *second, *mine;
    thread_init();
    attach(&mine);
    run_thread(attach, &first);
    check(first != mine && load_relaxed(first->state) == ARENA_IDLE);
    run_thread(attach, &second);
    check(second == first && arena_count() == 2);
    expect_all_others_idle();
}

/* The first thread has blocks before there is a constructor. */
static void *attach_early(void *seen)
{
    attach(seen);
    check(!exit_hooked);
    thread_init();
    check(exit_hooked);
    return NULL;
}

static void *attach_unhooked(void *seen)
{
    attach(seen);
    check(!exit_hooked);
    return NULL;
}

Test(thread, hooked_later)
{
    struct arena *arena;
    run_thread(attach_early, &arena);
    check(load_relaxed(arena->state) == ARENA_IDLE);
}

/* Without the hook an arena is not retired; its slabs are there for whoever frees their blocks. */
Test(thread, never_hooked)
{
    struct arena *arena;
    run_thread(attach_unhooked, &arena);
    check(load_relaxed(arena->state) == ARENA_ACTIVE);
    arenas_check();
}

/* A thread that had its first block before the hook was ready is hooked when it next leaves the fast path. */
static pthread_barrier_t ready;

static void *attach_then_work(void *seen)
{
    attach(seen);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&ready);
    check(!exit_hooked);
    thread_free(thread_allocate(CLASS));
    check(exit_hooked);
    return NULL;
}

Test(thread, hooked_at_the_next_chance)
{
    struct arena *arena;
    pthread_t thread;
    pthread_barrier_init(&ready, NULL, 2);
    check(pthread_create(&thread, NULL, attach_then_work, &arena) == 0);
    pthread_barrier_wait(&ready);
    thread_init();
    pthread_barrier_wait(&ready);
    pthread_join(thread, NULL);
    check(load_relaxed(arena->state) == ARENA_IDLE);
    expect_all_others_idle();
}

static void *attach_without_memory(void *unused)
{
    struct rlimit limit = {1, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(!thread_enter() && !thread_home && thread_arena == &arena_none && thread_supply == &arena_none);
    limit.rlim_cur = RLIM_INFINITY;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(thread_enter() && thread_home);
    return unused;
}

Test(thread, without_memory)
{
    thread_init();
    process_init_once();
    check(arena_obtain());
    while (arenas.spare_end - arenas.spare >= sizeof(struct arena))
        arena_obtain(); /* so that the next one needs memory */
    run_thread(attach_without_memory, NULL);
}

/* ---- exit ---- */

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *library);
extern void *__dso_handle;

enum { KEYS = 6 };
static pthread_key_t keys[KEYS];
static _Thread_local int rounds;
static _Thread_local void *held[32];
static _Thread_local size_t held_count;
static _Atomic int destructors_run;

/* A destructor that uses the heap, in every round that it can get; what it holds it frees in the next. */
static void key_destructor(void *value)
{
    atomic_fetch_add(&destructors_run, 1);
    while (held_count > 0 && held_count % 3 != 0)
        thread_free(held[--held_count]);
    for (int i = 0; i < 4 && held_count < COUNT_OF(held); i++)
        held[held_count++] = thread_allocate((unsigned)(value == &keys[0] ? CLASS : LARGE));
    thread_free(held[--held_count]);
    if (++rounds < KEYS * PTHREAD_DESTRUCTOR_ITERATIONS - 2)
        pthread_setspecific(keys[(pthread_key_t *)value - keys], value);
}

static void object_destructor(void *object)
{
    atomic_fetch_add(&destructors_run, 1);
    thread_free(*(void **)object);
    *(void **)object = thread_allocate(CLASS);
    thread_free(*(void **)object);
}

static void set_keys(void)
{
    for (int i = 0; i < KEYS; i++)
        check(pthread_setspecific(keys[i], &keys[i]) == 0);
}

static void *work_and_end(void *argument)
{
    static _Thread_local void *object;
    object = thread_allocate(CLASS);
    check(__cxa_thread_atexit_impl(object_destructor, &object, &__dso_handle) == 0);
    set_keys();
    thread_free(thread_allocate(LARGE));
    return argument;
}

static void *only_end(void *argument)
{
    check(!thread_home);
    set_keys(); /* its first block is a destructor's */
    return argument;
}

static void keys_create(int from, int to)
{
    for (int i = from; i < to; i++)
        check(pthread_key_create(&keys[i], key_destructor) == 0);
}

static void expect_ends_cleanly(void *(*body)(void *), int threads)
{
    for (int i = 0; i < threads; i++)
        run_thread(body, NULL);
    check(atomic_load(&destructors_run) >= threads * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS - 2 * threads);
    expect_all_others_idle();
    check(arena_count() <= 2); /* each found the arena of the one before it */
}

/* Destructors before and after the hook's in each round; blocks that the last of them held are all that
   stays. */
Test(thread, destructors_use_the_heap)
{
    keys_create(0, KEYS / 2);
    thread_init();
    keys_create(KEYS / 2, KEYS);
    expect_ends_cleanly(work_and_end, 20);
}

Test(thread, destructors_have_the_first_block)
{
    keys_create(0, KEYS / 2);
    thread_init();
    keys_create(KEYS / 2, KEYS);
    expect_ends_cleanly(only_end, 20);
}

/* Many keys exist: the value of ours is then in memory that libc allocates. */
Test(thread, hook_with_a_late_key)
{
    for (int i = 0; i < 40; i++) {
        pthread_key_t key;
        check(pthread_key_create(&key, NULL) == 0);
    }
    thread_init();
    keys_create(0, KEYS);
    expect_ends_cleanly(work_and_end, 5);
}

static void *leave_blocks(void *blocks)
{
    for (int i = 0; i < 100; i++)
        ((void **)blocks)[i] = thread_allocate(CLASS);
    return NULL;
}

Test(thread, blocks_outlive_their_thread)
{
    void *blocks[100];
    thread_init();
    run_thread(leave_blocks, blocks);
    expect_all_others_idle();
    check(slabs_there() == 2);
    for (int i = 0; i < 100; i++)
        thread_free(blocks[i]);
    thread_trim();
    check(slabs_there() == 0);
    expect_all_others_idle();
}

/* ---- orders ---- */

static size_t resident_pages(const struct slice *slab)
{
    unsigned char vector[SLICE_SIZE / 4096];
    size_t resident = 0;
    check(mincore((void *)slab_start(slab), SLICE_SIZE, vector) == 0);
    for (size_t i = 0; i < SLICE_SIZE / os_page_size; i++)
        resident += vector[i] & 1;
    return resident;
}

/* A thread with a slab of which one block is live: another's trim makes it give the rest back when it
   comes by. */
static void *hoard(void *unused)
{
    void *blocks[16], *other;
    for (int i = 0; i < 16; i++)
        blocks[i] = thread_allocate(LARGE);
    other = thread_allocate(LARGE);
    struct slice *slab = slab_of(blocks[0]);
    for (int i = 1; i < 15; i++)
        thread_free(blocks[i]);
    check(resident_pages(slab) == 16);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&ready);
    check(resident_pages(slab) == 16); /* nobody else touches it */
    thread_free(other);
    check(resident_pages(slab) == 2);
    thread_free(blocks[0]);
    thread_free(blocks[15]);
    return unused;
}

Test(thread, trim_is_passed_on)
{
    pthread_t thread;
    thread_init();
    pthread_barrier_init(&ready, NULL, 2);
    check(pthread_create(&thread, NULL, hoard, NULL) == 0);
    pthread_barrier_wait(&ready);
    thread_trim();
    pthread_barrier_wait(&ready);
    pthread_join(thread, NULL);
    expect_all_others_idle();
}

/* A reason for the slow paths reaches threads that exist, and those that begin while it is on, both ways. */
static void *look(void *unused)
{
    for (int turn = 0; turn < 3; turn++) {
        pthread_barrier_wait(&ready);
        struct arena *arena = thread_enter();
        check(thread_home == arena);
        check(thread_arena == (load_relaxed(slow_reasons) ? &arena_none : arena) && thread_supply == thread_arena);
        thread_leave(arena);
        pthread_barrier_wait(&ready);
    }
    return unused;
}

Test(thread, slow_paths_reach_all)
{
    pthread_t threads[2];
    thread_init();
    for (int begin_slow = 0; begin_slow < 2; begin_slow++) {
        thread_slow(SLOW_PERTURB, begin_slow);
        pthread_barrier_init(&ready, NULL, 3);
        for (int i = 0; i < 2; i++)
            check(pthread_create(&threads[i], NULL, look, NULL) == 0);
        for (int turn = 0; turn < 3; turn++) {
            pthread_barrier_wait(&ready);
            pthread_barrier_wait(&ready);
            thread_slow(SLOW_PERTURB, load_relaxed(slow_reasons) == 0);
        }
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
    }
}

/* Many threads at once: arenas are as many as threads at a time, not as there ever were. */
static void *churn(void *argument)
{
    void *blocks[50];
    for (int i = 0; i < 50; i++)
        blocks[i] = thread_allocate((unsigned)i % CLASS_COUNT);
    for (int i = 0; i < 50; i++)
        thread_free(blocks[i]);
    return argument;
}

Test(thread, churn)
{
    enum { AT_A_TIME = 8, ROUNDS = 60 };
    thread_init();
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[AT_A_TIME];
        for (int i = 0; i < AT_A_TIME; i++)
            check(pthread_create(&threads[i], NULL, churn, NULL) == 0);
        for (int i = 0; i < AT_A_TIME; i++)
            pthread_join(threads[i], NULL);
    }
    check(arena_count() <= AT_A_TIME && slabs_there() == 0);
    expect_all_others_idle();
}
