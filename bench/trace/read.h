/* read.h: a trace file, checked and decoded. Whatever is wrong with a file ends in a message that names the
   place; nothing in a file is believed before it was checked. */
#ifndef TRACE_READ_H
#define TRACE_READ_H

#include "format.h"

struct trace_event {
    uint64_t address, old_address, size;
    uint64_t sequence, end_sequence; /* they differ for REALLOC only */
    uint64_t child;                  /* FORK */
    uint32_t thread;                 /* index within the process, dense */
    uint8_t kind, alignment;
};

struct trace_process {
    uint64_t identity, parent, fork_sequence;
    const char *command;        /* printable, in memory of the trace */
    struct trace_event *events; /* by thread in the order of the file; see `order` */
    uint64_t event_count;
    uint32_t thread_count;
    uint32_t *thread_numbers; /* dense index -> number in the file */
    uint64_t first_sequence, last_sequence;
};

struct trace {
    struct trace_process *processes;
    size_t process_count;
    uint64_t chunk_count, event_count, byte_count;
};

/* Reads the whole file; ends the program with exit status 2 and a message if it is not a complete, intact
   trace. */
void trace_read(struct trace *trace, const char *path);
/* The process with the identity, or NULL. */
struct trace_process *trace_find(const struct trace *trace, uint64_t identity);

#endif
