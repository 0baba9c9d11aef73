/* trace.c: whatever a trace file holds, its reader takes it or says what is wrong with it, and nothing else.

   An input is a byte and the file; unless the byte is odd, the checksums are put right first, or hardly any input
   would get past them. */
#include "fuzz.h"

#include <setjmp.h>
#include <stdbool.h>
#include <sys/mman.h>

/* ---- the reader's way out, and what it leaves behind when it takes it ---- */

static jmp_buf rejected;
static void *kept[4096];
static size_t kept_count;
static void *mapped;
static size_t mapped_size;

static _Noreturn void leave(int status)
{
    expect(status == 2);
    longjmp(rejected, 1);
}

static void *keep(void *old, void *p)
{
    size_t i = 0;
    while (i < kept_count && (!old || kept[i] != old))
        i++;
    expect(i < sizeof kept / sizeof *kept);
    kept_count += i == kept_count;
    kept[i] = p;
    return p;
}

/* What no machine has is out of memory here, too. */
enum { MEMORY_MAX = 256 << 20 };

static void *keep_calloc(size_t count, size_t size)
{
    size_t bytes;
    bool possible = !__builtin_mul_overflow(count, size, &bytes) && bytes <= MEMORY_MAX;
    return possible ? keep(NULL, calloc(count, size)) : NULL;
}

static void *keep_realloc(void *p, size_t size) { return size <= MEMORY_MAX ? keep(p, realloc(p, size)) : NULL; }

static void *keep_mmap(size_t size, int file)
{
    mapped_size = size;
    return mapped = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
}

static void unkeep_mmap(void)
{
    if (mapped)
        munmap(mapped, mapped_size);
    mapped = NULL;
}

static void say_nothing(void) {}

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#define exit leave
#define calloc keep_calloc
#define realloc keep_realloc
#define mmap(address, size, protection, flags, file, offset) keep_mmap(size, file)
#define munmap(p, size) unkeep_mmap()
#define fprintf(...) say_nothing()
#define vfprintf(stream, format, arguments) ((void)(format), say_nothing())
#define fputc(...) say_nothing()
#include "bench/trace/read.c"
#undef exit
#undef calloc
#undef realloc
#undef mmap
#undef munmap
#undef fprintf
#undef vfprintf
#undef fputc

static void put_checksums_right(uint8_t *bytes, size_t size)
{
    struct trace_chunk chunk;
    for (size_t at = 0; size - at >= sizeof chunk; at += sizeof chunk + chunk.payload) {
        memcpy(&chunk, bytes + at, sizeof chunk);
        if (chunk.payload > size - at - sizeof chunk)
            return;
        chunk.checksum = trace_chunk_checksum(&chunk, bytes + at + sizeof chunk);
        memcpy(bytes + at, &chunk, sizeof chunk);
    }
}

/* What was taken is within the bounds that the reader promises. */
static void trace_check(const struct trace *trace)
{
    uint64_t events = 0;
    for (size_t i = 0; i < trace->process_count; i++) {
        const struct trace_process *process = &trace->processes[i];
        expect(trace_find(trace, process->identity) == process && strlen(process->command) < TRACE_PAYLOAD_LIMIT);
        for (uint64_t j = 0; j < process->event_count; j++) {
            const struct trace_event *event = &process->events[j];
            expect(event->kind <= TRACE_FORK && event->thread < process->thread_count && event->alignment <= 40);
            expect(event->sequence >= process->first_sequence && event->end_sequence <= process->last_sequence);
            expect(event->size <= (uint64_t)1 << 47 && event->sequence <= event->end_sequence);
        }
        events += process->event_count;
    }
    expect(events == trace->event_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *bytes = malloc(size);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2 == 0)
        put_checksums_right(bytes, size - 1);
    int memory = memfd_create("trace", MFD_CLOEXEC);
    expect(memory >= 0 && write(memory, bytes, size - 1) == (ssize_t)size - 1);
    free(bytes);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    static struct trace trace;
    if (setjmp(rejected) == 0) {
        trace_read(&trace, path);
        trace_check(&trace);
    }
    close(memory);
    unkeep_mmap();
    while (kept_count > 0)
        free(kept[--kept_count]);
    return 0;
}
