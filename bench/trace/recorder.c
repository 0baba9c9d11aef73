/* recorder.c: per-thread buffers of events, and the trace file. The file is named by BRIM_TRACE_FILE; it is
   opened for each chunk, because programs close descriptors that they do not know. Without the variable, or
   when the file cannot be opened (it is renamed when the recording is closed), events are dropped.

   Synchronization: a thread writes to its own buffer while it holds the buffer's `busy`; whoever flushes a
   foreign buffer (at exit) takes `busy`, too. An event that finds its own buffer busy comes from a signal
   handler that interrupted the recorder, and is dropped. `list_lock` guards the list of buffers, and is taken
   before any `busy`. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "format.h"

enum {
    BUFFER_PAYLOAD = 64 * 1024 - 256,
    EVENT_MOST = 64, /* bytes of the longest event, generously */
    COMMAND_LINE_MOST = 4096,
};

struct buffer {
    struct buffer *next; /* in the list of all buffers, for good */
    atomic_int busy;
    atomic_int owned; /* by a thread that lives */
    uint32_t thread;
    uint32_t used, events;
    uint64_t sequence, address;             /* of the last event */
    uint64_t chunk_sequence, chunk_address; /* of the last event before the chunk */
    unsigned char payload[BUFFER_PAYLOAD];
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct buffer *all_buffers;
static _Atomic(uint64_t) sequence;
static atomic_uint thread_count;
static uint64_t process_identity, forked_identity, forked_sequence;
static char file_name[4096];
static pthread_key_t thread_key;
static atomic_int state; /* 0: not set up, 1: being set up, 2: ready, 3: nothing to record to */

static __thread struct buffer *own __attribute__((tls_model("initial-exec")));
static __thread uint32_t own_thread __attribute__((tls_model("initial-exec"))); /* number + 1; 0: none yet */
static __thread int inside __attribute__((tls_model("initial-exec")));
static __thread int ending __attribute__((tls_model("initial-exec")));

static void append_chunk(struct trace_chunk *chunk, const void *payload)
{
    chunk->magic = TRACE_MAGIC;
    chunk->process = process_identity;
    chunk->checksum = trace_chunk_checksum(chunk, payload);
    int fd = open(file_name, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return;
    struct iovec parts[] = {{chunk, sizeof *chunk}, {(void *)(uintptr_t)payload, chunk->payload}};
    size_t whole = sizeof *chunk + chunk->payload;
    /* A short write (the disk is full) leaves a file that the reader rejects, which is right. */
    if (writev(fd, parts, 2) != (ssize_t)whole)
        atomic_store(&state, 3);
    close(fd);
}

/* The caller holds `busy`. */
static void flush_buffer(struct buffer *buffer)
{
    if (buffer->events == 0)
        return;
    struct trace_chunk chunk = {.kind = TRACE_EVENTS,
                                .thread = buffer->thread,
                                .payload = buffer->used,
                                .events = buffer->events,
                                .sequence = buffer->chunk_sequence,
                                .address = buffer->chunk_address};
    append_chunk(&chunk, buffer->payload);
    buffer->used = buffer->events = 0;
    buffer->chunk_sequence = buffer->sequence;
    buffer->chunk_address = buffer->address;
}

static void write_process(uint64_t parent, uint64_t fork_sequence)
{
    unsigned char payload[16 + COMMAND_LINE_MOST];
    memcpy(payload, &parent, 8);
    memcpy(payload + 8, &fork_sequence, 8);
    ssize_t length = 0;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = read(fd, payload + 16, COMMAND_LINE_MOST);
        close(fd);
    }
    struct trace_chunk chunk = {.kind = TRACE_PROCESS, .payload = 16 + (uint32_t)(length > 0 ? length : 0)};
    append_chunk(&chunk, payload);
}

static uint64_t new_identity(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t mixed = ((uint64_t)getpid() << 40) ^ ((uint64_t)t.tv_sec << 30) ^ (uint64_t)t.tv_nsec;
    static _Atomic(uint64_t) calls;
    mixed = (mixed + atomic_fetch_add(&calls, 1)) * 0x9e3779b97f4a7c15u;
    return mixed | 1; /* 0 means none */
}

/* A buffer of a thread that ended, or a new one. */
static struct buffer *take_buffer(void)
{
    pthread_mutex_lock(&list_lock);
    struct buffer *buffer = all_buffers;
    while (buffer && atomic_exchange(&buffer->owned, 1))
        buffer = buffer->next;
    if (!buffer) {
        void *pages = mmap(NULL, sizeof *buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) {
            pthread_mutex_unlock(&list_lock);
            return NULL;
        }
        buffer = pages;
        atomic_store(&buffer->owned, 1);
        buffer->next = all_buffers;
        all_buffers = buffer;
    }
    pthread_mutex_unlock(&list_lock);
    if (!own_thread)
        own_thread = atomic_fetch_add(&thread_count, 1) + 1;
    buffer->thread = own_thread - 1;
    buffer->used = buffer->events = 0;
    buffer->sequence = buffer->chunk_sequence = 0;
    buffer->address = buffer->chunk_address = 0;
    return buffer;
}

static void release_own(void)
{
    struct buffer *buffer = own;
    own = NULL;
    while (atomic_exchange_explicit(&buffer->busy, 1, memory_order_acquire))
        sched_yield();
    flush_buffer(buffer);
    atomic_store_explicit(&buffer->busy, 0, memory_order_release);
    atomic_store(&buffer->owned, 0);
}

/* After this an event of the thread (in later destructors, in libc's own clean-up) is written out by
   itself. */
static void thread_ends(void *unused)
{
    (void)unused;
    int saved = errno;
    ending = 1;
    inside = 1;
    if (own)
        release_own();
    inside = 0;
    errno = saved;
}

static void flush_all(void)
{
    pthread_mutex_lock(&list_lock);
    for (struct buffer *buffer = all_buffers; buffer; buffer = buffer->next) {
        /* Our own can be busy when a signal handler ends the process: then its last events are lost. */
        if (atomic_exchange_explicit(&buffer->busy, 1, memory_order_acquire)) {
            if (buffer == own)
                continue;
            while (atomic_exchange_explicit(&buffer->busy, 1, memory_order_acquire))
                sched_yield();
        }
        flush_buffer(buffer);
        atomic_store_explicit(&buffer->busy, 0, memory_order_release);
    }
    pthread_mutex_unlock(&list_lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&list_lock);
    forked_identity = new_identity();
    forked_sequence = 0;
    struct buffer *buffer = own;
    if (!buffer || inside || atomic_exchange_explicit(&buffer->busy, 1, memory_order_acquire))
        return;
    forked_sequence = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
    if (buffer->used + EVENT_MOST > BUFFER_PAYLOAD)
        flush_buffer(buffer);
    unsigned char *out = buffer->payload + buffer->used;
    uint64_t gap = forked_sequence - buffer->sequence - 1;
    *out++ = TRACE_FORK | TRACE_SEQUENCE_FOLLOWS;
    for (; gap >= 0x80; gap >>= 7)
        *out++ = (unsigned char)(gap | 0x80);
    *out++ = (unsigned char)gap;
    memcpy(out, &forked_identity, 8);
    out += 8;
    buffer->used = (uint32_t)(out - buffer->payload);
    buffer->events++;
    buffer->sequence = forked_sequence;
    /* Nothing of ours may be in the child's copy of the buffer. */
    flush_buffer(buffer);
    atomic_store_explicit(&buffer->busy, 0, memory_order_release);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&list_lock);
}

/* Only this thread is left; what the others' buffers hold is the parent's, and their flags mean nothing. */
static void after_fork_in_child(void)
{
    uint64_t parent = process_identity;
    process_identity = forked_identity;
    for (struct buffer *buffer = all_buffers; buffer; buffer = buffer->next) {
        buffer->used = buffer->events = 0;
        buffer->chunk_sequence = buffer->sequence;
        buffer->chunk_address = buffer->address;
        atomic_store(&buffer->busy, 0);
        if (buffer != own)
            atomic_store(&buffer->owned, 0);
    }
    list_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (atomic_load(&state) == 2)
        write_process(parent, forked_sequence);
}

static int set_up(void)
{
    int expected = 0;
    if (!atomic_compare_exchange_strong(&state, &expected, 1)) {
        while (atomic_load(&state) == 1)
            sched_yield();
        return atomic_load(&state) == 2;
    }
    const char *name = getenv("BRIM_TRACE_FILE");
    if (!name || strlen(name) >= sizeof file_name || pthread_key_create(&thread_key, thread_ends) != 0) {
        atomic_store(&state, 3);
        return 0;
    }
    strcpy(file_name, name);
    process_identity = new_identity();
    atomic_store(&state, 2);
    write_process(0, 0);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    return 1;
}

static inline unsigned char *put(unsigned char *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (unsigned char)(value | 0x80);
    *out++ = (unsigned char)value;
    return out;
}

static inline unsigned char *put_address(unsigned char *out, struct buffer *buffer, const void *block)
{
    uint64_t address = (uintptr_t)block / 8;
    out = put(out, zigzag((int64_t)(address - buffer->address)));
    buffer->address = address;
    return out;
}

struct event {
    enum trace_event_kind kind;
    const void *block, *old_block;
    size_t size;
    unsigned alignment; /* logarithm */
    uint64_t began;     /* sequence number taken before a realloc; 0: take one now */
};

static inline void encode(struct buffer *buffer, const struct event *event)
{
    uint64_t number = event->began;
    /* Relaxed: what orders two threads' calls of the allocator orders their increments of one counter,
       too. */
    uint64_t last = number;
    if (!number)
        last = number = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
    else
        last = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
    uint64_t gap = number - buffer->sequence - 1;
    unsigned char *out = buffer->payload + buffer->used;
    *out++ = (unsigned char)(event->kind | (gap ? TRACE_SEQUENCE_FOLLOWS : 0));
    if (gap)
        out = put(out, gap);
    switch (event->kind) {
    case TRACE_ALIGNED:
        out = put(out, event->alignment);
        __attribute__((fallthrough));
    case TRACE_MALLOC:
    case TRACE_CALLOC:
        out = put(out, event->size);
        out = put_address(out, buffer, event->block);
        break;
    case TRACE_REALLOC:
        out = put_address(out, buffer, event->old_block);
        out = put(out, event->size);
        out = put_address(out, buffer, event->block);
        out = put(out, last - number);
        break;
    case TRACE_FREE:
        out = put_address(out, buffer, event->block);
        break;
    case TRACE_FORK:
        break;
    }
    buffer->sequence = last;
    buffer->used = (uint32_t)(out - buffer->payload);
    buffer->events++;
}

static __attribute__((noinline, cold)) struct buffer *first_event(void)
{
    int saved = errno;
    inside = 1;
    if (atomic_load(&state) == 2 || set_up()) {
        own = take_buffer();
        if (own && !ending)
            pthread_setspecific(thread_key, own);
    }
    inside = 0;
    errno = saved;
    return own;
}

static __attribute__((noinline, cold)) void make_room(struct buffer *buffer)
{
    int saved = errno;
    flush_buffer(buffer);
    errno = saved;
}

static void record(const struct event *event)
{
    if (__builtin_expect(inside || atomic_load_explicit(&state, memory_order_relaxed) == 3, 0))
        return;
    struct buffer *buffer = own;
    if (__builtin_expect(!buffer, 0) && !(buffer = first_event()))
        return;
    if (__builtin_expect(atomic_exchange_explicit(&buffer->busy, 1, memory_order_acquire), 0))
        return;
    if (__builtin_expect(buffer->used + EVENT_MOST > BUFFER_PAYLOAD, 0))
        make_room(buffer);
    encode(buffer, event);
    atomic_store_explicit(&buffer->busy, 0, memory_order_release);
    if (__builtin_expect(ending, 0)) {
        int saved = errno;
        inside = 1;
        release_own();
        inside = 0;
        errno = saved;
    }
}

void recorder_allocated(void *block, size_t size)
{
    record(&(struct event){.kind = TRACE_MALLOC, .block = block, .size = size});
}

void recorder_cleared(void *block, size_t size)
{
    record(&(struct event){.kind = TRACE_CALLOC, .block = block, .size = size});
}

void recorder_aligned(void *block, size_t alignment, size_t size)
{
    unsigned logarithm = alignment > 1 ? 63u - (unsigned)__builtin_clzll(alignment) : 0;
    record(&(struct event){.kind = TRACE_ALIGNED, .block = block, .size = size, .alignment = logarithm});
}

void recorder_freeing(void *block)
{
    record(&(struct event){.kind = TRACE_FREE, .block = block});
}

uint64_t recorder_realloc_begin(void)
{
    return atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
}

void recorder_realloc_end(uint64_t began, void *old_block, size_t size, void *block)
{
    record(&(struct event){
        .kind = TRACE_REALLOC, .block = block, .old_block = old_block, .size = size, .began = began});
}

void recorder_flush(void)
{
    if (inside || atomic_load(&state) != 2)
        return;
    int saved = errno;
    inside = 1;
    flush_all();
    inside = 0;
    errno = saved;
}

__attribute__((destructor)) static void process_ends(void)
{
    recorder_flush();
}
