/* read.c: see read.h. Two passes over the mapped file: the first checks every chunk and counts, the second
   decodes. */
#include "read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *file;

static _Noreturn __attribute__((format(printf, 1, 2))) void reject(const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s: ", file);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        reject("not enough memory to read the trace");
    return memory;
}

struct reader {
    const unsigned char *bytes;
    size_t size;
    struct trace *trace;
    size_t process_capacity;
};

/* A chunk's header is copied out: nothing aligns it in the file. */
static struct trace_chunk chunk_at(const struct reader *reader, size_t offset)
{
    struct trace_chunk chunk;
    if (reader->size - offset < sizeof chunk)
        reject("cut off: the chunk at byte %zu is not complete", offset);
    memcpy(&chunk, reader->bytes + offset, sizeof chunk);
    if (chunk.magic != TRACE_MAGIC)
        reject(offset == 0 ? "not a trace file" : "corrupt: no chunk begins at byte %zu", offset);
    if (chunk.payload > TRACE_PAYLOAD_LIMIT || chunk.kind > TRACE_END)
        reject("corrupt: the chunk at byte %zu has an impossible header", offset);
    if (reader->size - offset - sizeof chunk < chunk.payload)
        reject("cut off: the chunk at byte %zu is not complete", offset);
    if (trace_chunk_checksum(&chunk, reader->bytes + offset + sizeof chunk) != chunk.checksum)
        reject("corrupt: the chunk at byte %zu does not match its checksum", offset);
    return chunk;
}

struct trace_process *trace_find(const struct trace *trace, uint64_t identity)
{
    /* From the end: chunks of the newest process are looked up most. */
    for (size_t i = trace->process_count; i > 0; i--)
        if (trace->processes[i - 1].identity == identity)
            return &trace->processes[i - 1];
    return NULL;
}

static void add_process(struct reader *reader, const struct trace_chunk *chunk, const unsigned char *payload,
                        size_t offset)
{
    struct trace *trace = reader->trace;
    if (chunk->payload < 16)
        reject("corrupt: the process at byte %zu has no parent field", offset);
    if (trace_find(trace, chunk->process))
        reject("corrupt: the process at byte %zu is in the file already", offset);
    if (trace->process_count == reader->process_capacity) {
        reader->process_capacity = reader->process_capacity ? 2 * reader->process_capacity : 16;
        trace->processes = realloc(trace->processes, reader->process_capacity * sizeof *trace->processes);
        if (!trace->processes)
            reject("not enough memory to read the trace");
    }
    struct trace_process *process = &trace->processes[trace->process_count++];
    memset(process, 0, sizeof *process);
    process->identity = chunk->process;
    memcpy(&process->parent, payload, 8);
    memcpy(&process->fork_sequence, payload + 8, 8);
    size_t length = chunk->payload - 16;
    char *command = zeroed(length + 1, 1);
    memcpy(command, payload + 16, length);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)command[i] < ' ')
            command[i] = i + 1 < length ? ' ' : 0;
    process->command = command;
}

static uint32_t thread_index(struct trace_process *process, uint32_t number)
{
    for (uint32_t i = process->thread_count; i > 0; i--)
        if (process->thread_numbers[i - 1] == number)
            return i - 1;
    if ((process->thread_count & (process->thread_count - 1)) == 0) {
        size_t capacity = process->thread_count ? 2 * (size_t)process->thread_count : 1;
        process->thread_numbers = realloc(process->thread_numbers,
                                          capacity * sizeof *process->thread_numbers);
        if (!process->thread_numbers)
            reject("not enough memory to read the trace");
    }
    process->thread_numbers[process->thread_count] = number;
    return process->thread_count++;
}

static void check_chunks(struct reader *reader)
{
    struct trace *trace = reader->trace;
    int ended = 0;
    for (size_t offset = 0; offset < reader->size;) {
        struct trace_chunk chunk = chunk_at(reader, offset);
        const unsigned char *payload = reader->bytes + offset + sizeof chunk;
        if (ended)
            reject("corrupt: there is something after the end, at byte %zu", offset);
        if (chunk.kind == TRACE_PROCESS) {
            add_process(reader, &chunk, payload, offset);
        } else if (chunk.kind == TRACE_EVENTS) {
            struct trace_process *process = trace_find(trace, chunk.process);
            if (!process)
                reject("corrupt: the events at byte %zu belong to no process", offset);
            if (chunk.events > chunk.payload)
                reject("corrupt: the chunk at byte %zu has more events than bytes", offset);
            process->event_count += chunk.events;
            trace->event_count += chunk.events;
        } else {
            uint64_t count;
            if (chunk.payload != sizeof count)
                reject("corrupt: the end at byte %zu is not an end", offset);
            memcpy(&count, payload, sizeof count);
            if (count != trace->chunk_count)
                reject("corrupt: %llu chunks were recorded, %llu are here", (unsigned long long)count,
                       (unsigned long long)trace->chunk_count);
            ended = 1;
        }
        trace->chunk_count++;
        offset += sizeof chunk + chunk.payload;
    }
    if (!ended)
        reject("cut off: the end of the recording is missing");
}

/* Decodes within [at, end); reading past the end is an error of the file. */
struct cursor {
    const unsigned char *at, *end;
    size_t chunk_offset;
};

static uint64_t take(struct cursor *cursor)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (cursor->at == cursor->end)
            break;
        unsigned char byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    reject("corrupt: an event in the chunk at byte %zu is not complete", cursor->chunk_offset);
}

static uint64_t take_address(struct cursor *cursor, uint64_t *last)
{
    *last += (uint64_t)unzigzag(take(cursor));
    return *last;
}

/* Numbers grow from 1 on, and so are never 0. */
static uint64_t advance_sequence(struct cursor *cursor, uint64_t *last, uint64_t by)
{
    if (__builtin_add_overflow(*last, by, last))
        reject("corrupt: impossible sequence numbers in the chunk at byte %zu", cursor->chunk_offset);
    return *last;
}

static void decode_event(struct cursor *cursor, struct trace_event *event, uint64_t *sequence,
                         uint64_t *address)
{
    if (cursor->at == cursor->end)
        reject("corrupt: the chunk at byte %zu has fewer events than it says", cursor->chunk_offset);
    unsigned char first = *cursor->at++;
    event->kind = first & TRACE_KIND_MASK;
    if (event->kind > TRACE_FORK || first & ~(TRACE_KIND_MASK | TRACE_SEQUENCE_FOLLOWS))
        reject("corrupt: there is an unknown event in the chunk at byte %zu", cursor->chunk_offset);
    advance_sequence(cursor, sequence, 1);
    if (first & TRACE_SEQUENCE_FOLLOWS)
        advance_sequence(cursor, sequence, take(cursor));
    event->sequence = event->end_sequence = *sequence;
    switch (event->kind) {
    case TRACE_ALIGNED: {
        uint64_t alignment = take(cursor);
        if (alignment > 40)
            reject("corrupt: an impossible alignment in the chunk at byte %zu", cursor->chunk_offset);
        event->alignment = (uint8_t)alignment;
    }
        __attribute__((fallthrough));
    case TRACE_MALLOC:
    case TRACE_CALLOC:
        event->size = take(cursor);
        event->address = take_address(cursor, address);
        break;
    case TRACE_REALLOC:
        event->old_address = take_address(cursor, address);
        event->size = take(cursor);
        event->address = take_address(cursor, address);
        event->end_sequence = advance_sequence(cursor, sequence, take(cursor));
        break;
    case TRACE_FREE:
        event->address = take_address(cursor, address);
        break;
    default:
        if (cursor->end - cursor->at < 8)
            reject("corrupt: an event in the chunk at byte %zu is not complete", cursor->chunk_offset);
        memcpy(&event->child, cursor->at, 8);
        cursor->at += 8;
    }
    if (event->size > (uint64_t)1 << 47)
        reject("corrupt: an impossible size in the chunk at byte %zu", cursor->chunk_offset);
}

static void decode_chunks(struct reader *reader)
{
    struct trace *trace = reader->trace;
    for (size_t i = 0; i < trace->process_count; i++) {
        struct trace_process *process = &trace->processes[i];
        process->events = zeroed(process->event_count, sizeof *process->events);
        process->event_count = 0;
    }
    for (size_t offset = 0; offset < reader->size;) {
        struct trace_chunk chunk;
        memcpy(&chunk, reader->bytes + offset, sizeof chunk);
        const unsigned char *payload = reader->bytes + offset + sizeof chunk;
        if (chunk.kind == TRACE_EVENTS) {
            struct trace_process *process = trace_find(trace, chunk.process);
            struct cursor cursor = {payload, payload + chunk.payload, offset};
            uint64_t sequence = chunk.sequence, address = chunk.address;
            uint32_t thread = thread_index(process, chunk.thread);
            for (uint32_t i = 0; i < chunk.events; i++) {
                struct trace_event *event = &process->events[process->event_count++];
                event->thread = thread;
                decode_event(&cursor, event, &sequence, &address);
                if (process->first_sequence == 0 || event->sequence < process->first_sequence)
                    process->first_sequence = event->sequence;
                if (event->end_sequence > process->last_sequence)
                    process->last_sequence = event->end_sequence;
            }
            if (cursor.at != cursor.end)
                reject("corrupt: the chunk at byte %zu has more events than it says", offset);
            if (process->last_sequence - process->first_sequence > (uint64_t)1 << 36)
                reject("corrupt: impossible sequence numbers in the chunk at byte %zu", offset);
        }
        offset += sizeof chunk + chunk.payload;
    }
}

void trace_read(struct trace *trace, const char *path)
{
    file = path;
    memset(trace, 0, sizeof *trace);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat information;
    if (fd < 0 || fstat(fd, &information) != 0)
        reject("%s", strerror(errno));
    if (!S_ISREG(information.st_mode))
        reject("not a regular file");
    if (information.st_size == 0)
        reject("cut off: the file is empty");
    struct reader reader = {.size = (size_t)information.st_size, .trace = trace};
    reader.bytes = mmap(NULL, reader.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (reader.bytes == MAP_FAILED)
        reject("%s", strerror(errno));
    close(fd);
    trace->byte_count = reader.size;
    check_chunks(&reader);
    decode_chunks(&reader);
    munmap((void *)(uintptr_t)reader.bytes, reader.size);
}
