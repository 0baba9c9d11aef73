/* footprint.h: for the workloads that ask about memory: resident memory over live bytes, step by step. What
   the process had before the first block (its text, libraries and tables) is taken off. */
#ifndef BENCH_FOOTPRINT_H
#define BENCH_FOOTPRINT_H

#include "../workload.h"

enum { FOOTPRINT_STEPS = 512 };

typedef struct {
    size_t baseline;
    size_t count;
    double sum_of_ratios, worst_ratio;
    size_t ratios;
    point resident[FOOTPRINT_STEPS], live[FOOTPRINT_STEPS];
} footprint;

void footprint_begin(footprint *f);
/* `x` is the caller's clock (step or seconds). Live sets below 1 MiB are drawn, but give no ratio: dividing
   by next to nothing says nothing. */
void footprint_step(footprint *f, double x, size_t live_bytes);
/* Counters rss_over_live (mean) and rss_over_live_worst, and the curves "rss" and "live". */
void footprint_report(const footprint *f, gbench_state *state, const char *x_unit);

#endif
