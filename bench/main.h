/* main.h: the command line of the workload program, as far as it is not Google Benchmark's. */
#ifndef BENCH_MAIN_H
#define BENCH_MAIN_H

struct command_line {
    double scale;       /* --scale=FACTOR: all fixed amounts of work times this */
    const char *report; /* --report=FILE: curves and the allocator's file go there, a line of JSON each */
    const char *folder; /* where this program lies: its helpers lie beside it */
};
extern struct command_line command_line;

#endif
