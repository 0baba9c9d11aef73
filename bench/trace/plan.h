/* plan.h: a trace made ready for replay: for each process its threads, for each thread its operations, with
   block addresses replaced by slots and the order between threads made explicit. The file is mapped, not
   read: it costs the replaying process no memory of its own.

   Layout: plan_header, plan_process[process_count], plan_thread[thread_count],
   plan_operation[operation_count]. */
#ifndef TRACE_PLAN_H
#define TRACE_PLAN_H

#include <stdint.h>

#define PLAN_MAGIC 0x314e4c50u /* "PLN1" */

enum plan_code {
    PLAN_MALLOC,
    PLAN_CALLOC,
    PLAN_REALLOC,
    PLAN_ALIGNED, /* alignment is a logarithm */
    PLAN_FREE,
    PLAN_START, /* slot is a thread of the process: create it */
    PLAN_WAIT,  /* until thread `slot` has done `size` operations */
    PLAN_FORK,  /* slot is a process of the plan */
};

struct plan_operation {
    uint32_t slot;
    uint8_t code, alignment;
    uint16_t unused;
    uint64_t size;
};

struct plan_thread {
    uint64_t first_operation, operation_count;
};

struct plan_process {
    uint32_t first_thread, thread_count;
    uint32_t main_thread; /* within the process */
    uint32_t is_root;     /* not forked by another process of the plan */
};

struct plan_header {
    uint32_t magic, process_count, thread_count, slot_count;
    uint64_t operation_count;
    uint64_t event_count; /* of the trace */
    uint64_t unknown_frees, implied_frees;
};

#endif
