/* footprint.c: see footprint.h. */
#include "footprint.h"

void footprint_begin(footprint *f)
{
    memset(f, 0, sizeof *f);
    f->baseline = resident_bytes();
}

void footprint_step(footprint *f, double x, size_t live_bytes)
{
    size_t resident = resident_bytes();
    resident = resident > f->baseline ? resident - f->baseline : 0;
    if (f->count < FOOTPRINT_STEPS) {
        f->resident[f->count] = (point){x, (double)resident};
        f->live[f->count] = (point){x, (double)live_bytes};
        f->count++;
    }
    if (live_bytes >= MIB) {
        double ratio = (double)resident / (double)live_bytes;
        f->sum_of_ratios += ratio;
        f->ratios++;
        if (ratio > f->worst_ratio)
            f->worst_ratio = ratio;
    }
}

void footprint_report(const footprint *f, gbench_state *state, const char *x_unit)
{
    double mean = f->ratios ? f->sum_of_ratios / (double)f->ratios : 0;
    gbench_set_counter(state, "rss_over_live", mean, GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "rss_over_live_worst", f->worst_ratio, GBENCH_COUNTER_PLAIN);
    report_curve("rss", x_unit, "bytes", f->resident, f->count);
    report_curve("live", x_unit, "bytes", f->live, f->count);
}
