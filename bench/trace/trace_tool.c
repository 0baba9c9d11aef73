/* trace_tool: what is done with a trace file outside of recording and replay.

   usage: trace_tool seal FILE          append the end of the recording
          trace_tool info FILE          check it, and say what is in it
          trace_tool compile FILE PLAN  check it, and write the plan for replay

   Exit status 2 and one line on stderr if the file is cut off, corrupt, or no trace. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compile.h"

static _Noreturn void fail(const char *file, const char *message)
{
    fprintf(stderr, "%s: %s\n", file, message);
    exit(2);
}

/* Counts whole chunks; what is not one is left for the reader to reject. */
static void seal(const char *path)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        fail(path, strerror(errno));
    uint64_t count = 0;
    struct trace_chunk chunk;
    for (off_t offset = 0; pread(fd, &chunk, sizeof chunk, offset) == (ssize_t)sizeof chunk;) {
        if (chunk.magic != TRACE_MAGIC)
            fail(path, "corrupt: it cannot be closed");
        count++;
        offset += (off_t)(sizeof chunk + chunk.payload);
    }
    struct {
        struct trace_chunk chunk;
        uint64_t count;
    } end = {{.magic = TRACE_MAGIC, .kind = TRACE_END, .payload = sizeof count}, count};
    end.chunk.checksum = trace_chunk_checksum(&end.chunk, &end.count);
    if (write(fd, &end, sizeof end) != (ssize_t)sizeof end || close(fd) != 0)
        fail(path, strerror(errno));
}

static void describe(const struct trace *trace)
{
    printf("%llu events, %zu processes, %.1f bytes per event\n", (unsigned long long)trace->event_count,
           trace->process_count,
           trace->event_count ? (double)trace->byte_count / (double)trace->event_count : 0.0);
    for (size_t i = 0; i < trace->process_count; i++) {
        const struct trace_process *process = &trace->processes[i];
        printf("%10llu events, %3u threads%s: %.100s\n", (unsigned long long)process->event_count,
               process->thread_count, process->parent ? ", forked" : "", process->command);
    }
}

int main(int argc, char **argv)
{
    struct trace trace;
    if (argc == 3 && strcmp(argv[1], "seal") == 0) {
        seal(argv[2]);
    } else if (argc == 3 && strcmp(argv[1], "info") == 0) {
        trace_read(&trace, argv[2]);
        describe(&trace);
    } else if (argc == 4 && strcmp(argv[1], "compile") == 0) {
        trace_read(&trace, argv[2]);
        compile_trace(&trace, argv[3]);
    } else {
        fprintf(stderr, "usage: trace_tool seal FILE | info FILE | compile FILE PLAN\n");
        return 2;
    }
    return 0;
}
