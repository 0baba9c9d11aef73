/* replay: runs a plan on whatever malloc it is preloaded with. Every page of a block is written once and its
   first word is a stamp that is checked when the block is resized or freed. Processes that were started one
   after the other are, too; forked ones fork. Nothing here allocates from the allocator under test but the
   operations of the plan: tables are mapped, the plan is a file.

   usage: replay PLAN REPORT    appends to REPORT, as JSON lines: the file that malloc is from; the result;
   the curve of resident memory */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"

enum { CURVE_POINTS = 512, COUNT_EVERY = 1024, STACK = 256 * 1024 };

static const struct plan_header *header;
static const struct plan_process *processes;
static const struct plan_thread *threads;
static const struct plan_operation *operations;

static struct slot {
    unsigned char *block;
    size_t size;
} * slots;

/* Shared by all replaying processes. */
static struct {
    _Atomic(uint64_t) done;      /* operations, counted in steps */
    _Atomic(uint64_t) next_look; /* at memory, when so many are done */
    _Atomic(uint64_t) peak;      /* bytes of anonymous memory, of the largest process */
    atomic_int failed;
    atomic_uint points;
    struct {
        double x, y;
    } curve[CURVE_POINTS];
} * shared;

/* One thread of the process that is replayed here. `done` is what others wait for: stored with release after
   each operation, so that who sees the count sees the slot, too. */
struct replayed_thread {
    _Alignas(64) _Atomic(uint64_t) done;
    atomic_int started;
    pthread_t handle;
};
static struct replayed_thread *replayed;
static const struct plan_process *process;

static _Noreturn void fail(const char *message)
{
    dprintf(STDERR_FILENO, "replay: %s\n", message);
    if (shared)
        atomic_store(&shared->failed, 1);
    _exit(3);
}

static void *pages(size_t size, int flags)
{
    void *memory = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("cannot map memory");
    return memory;
}

/* Resident memory less what is of files and shared: the allocator's, as the plan and the counters are not. */
static uint64_t anonymous_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        fail("cannot read /proc/self/statm");
    text[length] = 0;
    char *at;
    strtoul(text, &at, 10);
    uint64_t resident = strtoul(at, &at, 10);
    uint64_t of_files = strtoul(at, &at, 10);
    return (resident - of_files) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void look_at_memory(void)
{
    uint64_t bytes = anonymous_bytes(), peak = atomic_load(&shared->peak);
    while (bytes > peak && !atomic_compare_exchange_weak(&shared->peak, &peak, bytes))
        ;
    unsigned index = atomic_fetch_add(&shared->points, 1);
    if (index < CURVE_POINTS) {
        shared->curve[index].x = (double)atomic_load(&shared->done) / (double)header->operation_count;
        shared->curve[index].y = (double)bytes;
    }
}

static void count(uint64_t step)
{
    uint64_t done = atomic_fetch_add(&shared->done, step) + step, look = atomic_load(&shared->next_look);
    if (done >= look &&
        atomic_compare_exchange_strong(&shared->next_look, &look, done + header->operation_count / 400 + 1))
        look_at_memory();
}

static void fill(struct slot *slot, unsigned char *block, size_t size)
{
    if (!block)
        fail("out of memory");
    for (size_t offset = 0; offset < size; offset += 4096)
        block[offset] = 1;
    if (size >= sizeof(uintptr_t))
        memcpy(block, &slot, sizeof slot);
    slot->block = block;
    slot->size = size;
}

static void check(const struct slot *slot)
{
    if (slot->size >= sizeof(uintptr_t) && memcmp(slot->block, &slot, sizeof slot) != 0)
        fail("a block was overwritten by another");
}

static void wait_for(const struct replayed_thread *thread, uint64_t done)
{
    for (unsigned tries = 0; atomic_load_explicit(&thread->done, memory_order_acquire) < done; tries++) {
        if (tries > 1000)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        else if (tries > 50)
            sched_yield();
    }
}

static void *run_thread(void *argument);

static void start_thread(struct replayed_thread *thread)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    if (pthread_create(&thread->handle, &attributes, run_thread, thread) != 0)
        fail("cannot start a thread");
    pthread_attr_destroy(&attributes);
    atomic_store_explicit(&thread->started, 1, memory_order_release);
}

static void run_process(const struct plan_process *which);

static void fork_process(const struct plan_process *child)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("cannot fork");
    if (pid == 0) {
        run_process(child);
        _exit(0);
    }
}

static void execute(const struct plan_operation *operation)
{
    struct slot *slot = &slots[operation->slot];
    switch (operation->code) {
    case PLAN_MALLOC:
        fill(slot, malloc(operation->size), operation->size);
        break;
    case PLAN_CALLOC:
        fill(slot, calloc(1, operation->size), operation->size);
        break;
    case PLAN_REALLOC: {
        check(slot);
        unsigned char *block = realloc(slot->block, operation->size);
        if (slot->size >= sizeof slot && operation->size >= sizeof slot && block &&
            memcmp(block, &slot, sizeof slot) != 0)
            fail("realloc lost what was in the block");
        fill(slot, block, operation->size);
        break;
    }
    case PLAN_ALIGNED: {
        size_t alignment = (size_t)1 << operation->alignment;
        void *block = NULL;
        if (posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment,
                           operation->size) != 0)
            block = NULL;
        if ((uintptr_t)block % alignment != 0)
            fail("a misaligned block");
        fill(slot, block, operation->size);
        break;
    }
    case PLAN_FREE:
        check(slot);
        free(slot->block);
        break;
    case PLAN_START:
        start_thread(&replayed[operation->slot]);
        break;
    case PLAN_WAIT:
        wait_for(&replayed[operation->slot], operation->size);
        break;
    case PLAN_FORK:
        fork_process(&processes[operation->slot]);
        break;
    default:
        fail("the plan is corrupt");
    }
}

static void run_operations(struct replayed_thread *self)
{
    const struct plan_thread *plan = &threads[process->first_thread + (size_t)(self - replayed)];
    for (uint64_t i = 0; i < plan->operation_count; i++) {
        execute(&operations[plan->first_operation + i]);
        atomic_store_explicit(&self->done, i + 1, memory_order_release);
        if ((i + 1) % COUNT_EVERY == 0)
            count(COUNT_EVERY);
    }
    count(plan->operation_count % COUNT_EVERY);
}

static void *run_thread(void *argument)
{
    run_operations(argument);
    return NULL;
}

/* In the thread that is the process's first: of a fresh process, or the one that forked. */
static void run_process(const struct plan_process *which)
{
    process = which;
    replayed = pages(which->thread_count * sizeof *replayed, MAP_PRIVATE);
    run_operations(&replayed[which->main_thread]);
    for (uint32_t t = 0; t < which->thread_count; t++) {
        if (t == which->main_thread || threads[which->first_thread + t].operation_count == 0)
            continue;
        while (!atomic_load_explicit(&replayed[t].started, memory_order_acquire))
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        pthread_join(replayed[t].handle, NULL);
    }
    look_at_memory();
    for (int status; waitpid(-1, &status, 0) > 0;)
        if (status != 0)
            fail("a forked process failed");
}

static void map_plan(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat information;
    if (fd < 0 || fstat(fd, &information) != 0 || information.st_size < (off_t)sizeof *header)
        fail("cannot read the plan");
    const unsigned char *bytes = mmap(NULL, (size_t)information.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE,
                                      fd, 0);
    if (bytes == MAP_FAILED)
        fail("cannot map the plan");
    header = (const void *)bytes;
    processes = (const void *)(bytes + sizeof *header);
    threads = (const void *)(processes + header->process_count);
    operations = (const void *)(threads + header->thread_count);
    if (header->magic != PLAN_MAGIC ||
        (const unsigned char *)(operations + header->operation_count) != bytes + information.st_size)
        fail("this is no plan");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void write_report(const char *path, double seconds)
{
    Dl_info information;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    FILE *file = fopen(path, "a");
    if (!file || !address || !dladdr(address, &information))
        fail("cannot write the report");
    fprintf(file, "{\"malloc\": \"%s\"}\n", information.dli_fname);
    fprintf(file,
            "{\"replay\": {\"seconds\": %.9f, \"operations\": %llu, \"events\": %llu, \"peak\": %llu}}\n",
            seconds, (unsigned long long)header->operation_count, (unsigned long long)header->event_count,
            (unsigned long long)atomic_load(&shared->peak));
    fprintf(
        file,
        "{\"curve\": \"rss\", \"x_unit\": \"fraction of the trace\", \"y_unit\": \"bytes\", \"points\": [");
    unsigned points = atomic_load(&shared->points);
    for (unsigned i = 0; i < (points < CURVE_POINTS ? points : CURVE_POINTS); i++)
        fprintf(file, "%s[%.6g, %.9g]", i ? ", " : "", shared->curve[i].x, shared->curve[i].y);
    fprintf(file, "]}\n");
    if (fclose(file) != 0)
        fail("cannot write the report");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: replay PLAN REPORT\n");
        return 2;
    }
    map_plan(argv[1]);
    shared = pages(sizeof *shared, MAP_SHARED);
    slots = pages(header->slot_count * sizeof *slots, MAP_PRIVATE | MAP_NORESERVE);
    double start = now();
    for (uint32_t p = 0; p < header->process_count; p++) {
        if (!processes[p].is_root)
            continue;
        int status;
        fork_process(&processes[p]);
        if (wait(&status) < 0 || status != 0 || atomic_load(&shared->failed))
            fail("a replayed process failed");
    }
    write_report(argv[2], now() - start);
    return 0;
}
