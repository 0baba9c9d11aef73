/* recorder.h: what the interposed functions tell the recorder. None of these allocates, changes errno, or
   records an event that happens inside the recorder itself. */
#ifndef TRACE_RECORDER_H
#define TRACE_RECORDER_H

#include <stddef.h>
#include <stdint.h>

void recorder_allocated(void *block, size_t size);
void recorder_cleared(void *block, size_t size);
void recorder_aligned(void *block, size_t alignment, size_t size);
void recorder_freeing(void *block); /* before the allocator gets it back */
/* Around a realloc that moves or resizes: begin before the call; end after it, unless it failed. */
uint64_t recorder_realloc_begin(void);
void recorder_realloc_end(uint64_t began, void *old_block, size_t size, void *block);
/* Writes out what all threads hold: before exec, _exit and abort. */
void recorder_flush(void);

#endif
