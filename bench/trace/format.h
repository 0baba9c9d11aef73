/* format.h: the trace file. It is a sequence of chunks, each appended with one write, so that threads and
   processes can share the file without a lock and a program that is killed leaves whole chunks.

   Every integer is little-endian. A chunk is a header (below) and `payload` bytes. Kinds:
     PROCESS  a process, or a new program in it, begins. Payload: u64 parent (0: none), u64 sequence number of
              the FORK event in the parent, then the command line, arguments separated by NUL.
     EVENTS   events of one thread, in its order. `sequence` and `address` are where the differences start.
     END      the recording was closed. Payload: u64 chunks before this one. A file without it was cut off.

   An event is a byte and varints (7 bits per byte, low ones first, the top bit says that more follow). The
   low 3 bits of the byte are the kind of event; bit 3 is set when a varint follows with the difference between
   the sequence number and the one expected (that of the thread's last event, plus 1). Sequence numbers are
   one counter for all threads of a process. Addresses are zigzag differences to the last address of the
   thread, in units of 8 bytes.
     MALLOC, CALLOC   size, address
     REALLOC          old address, size, new address, and the number of events between its beginning and its
                      end: the old block is gone at the beginning, the new one is there at the end
     ALIGNED          logarithm of the alignment, size, address
     FREE             address
     FORK             u64 (8 bytes) identity of the child

   A block's address enters the trace after the allocator gave it and leaves it before the allocator gets it
   back, so in the order of sequence numbers no address is live twice. Calls that fail, and free(NULL), are
   not recorded. */
#ifndef TRACE_FORMAT_H
#define TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the trace file is little-endian"
#endif

#define TRACE_MAGIC 0x31435254u /* "TRC1" */

enum trace_chunk_kind { TRACE_PROCESS, TRACE_EVENTS, TRACE_END };
enum trace_event_kind { TRACE_MALLOC, TRACE_CALLOC, TRACE_REALLOC, TRACE_ALIGNED, TRACE_FREE, TRACE_FORK };
enum { TRACE_KIND_MASK = 7, TRACE_SEQUENCE_FOLLOWS = 8, TRACE_PAYLOAD_LIMIT = 1 << 20 };

struct trace_chunk {
    uint32_t magic;
    uint32_t kind;
    uint64_t process; /* identity, unlike any other in the file */
    uint32_t thread;  /* number within the process, from 0 */
    uint32_t payload; /* bytes that follow */
    uint32_t events;
    uint32_t checksum; /* of header and payload, with this field 0 */
    uint64_t sequence; /* of the thread's event before the first one here */
    uint64_t address;  /* of the thread's event before the first one here, in units of 8 bytes */
};
_Static_assert(sizeof(struct trace_chunk) == 48, "the header has no padding");

/* Multiply and fold, a word at a time: each step is a bijection of the state, so a change of one word always
   shows in it, and the mixing at the end spreads it over the 32 bits that are kept. Cheap enough to run while
   the program waits. A tail of less than a word is filled with zeros. */
static inline uint64_t trace_checksum(const void *data, size_t size, uint64_t state)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = 0;
        __builtin_memcpy(&word, bytes + i, size - i < 8 ? size - i : 8);
        state = (state ^ word) * 0x9e3779b97f4a7c15u;
        state ^= state >> 29;
    }
    return state;
}

static inline uint32_t trace_chunk_checksum(const struct trace_chunk *chunk, const void *payload)
{
    struct trace_chunk header = *chunk;
    header.checksum = 0;
    uint64_t state = trace_checksum(payload, chunk->payload, trace_checksum(&header, sizeof header, 1));
    return (uint32_t)(state ^ state >> 32);
}

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

#endif
