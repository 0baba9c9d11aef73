/* compile.h: from a trace to a plan for replay. */
#ifndef TRACE_COMPILE_H
#define TRACE_COMPILE_H

#include "read.h"

/* Writes the plan to `path`; ends the program with exit status 2 and a message when that cannot be done. */
void compile_trace(const struct trace *trace, const char *path);

#endif
