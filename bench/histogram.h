/* histogram.h: latencies, counted in log-linear buckets (as HdrHistogram has them, of which Debian has no C
   package): each power of two is cut into 32 equal buckets, so a value is known to 3 %, from 1 ns to 2^63 ns,
   in 15 KiB. Each thread counts into a histogram of its own; they are added up afterwards. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#include "workload.h"

enum {
    HISTOGRAM_SUB_BITS = 5,
    HISTOGRAM_SUBS = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_BUCKETS = 60 * HISTOGRAM_SUBS
};

typedef struct {
    uint64_t total, largest;
    uint64_t counts[HISTOGRAM_BUCKETS];
} histogram;

/* Values below 32 have a bucket each; above, the 5 bits after the leading one choose within the power of
   two. */
static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUBS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift + 1) * HISTOGRAM_SUBS + (unsigned)(value >> shift) - HISTOGRAM_SUBS;
}

/* The largest value that falls into the bucket. */
static inline uint64_t histogram_bucket_end(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUBS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_SUBS - 1;
    return (((uint64_t)(bucket % HISTOGRAM_SUBS + HISTOGRAM_SUBS) + 1) << shift) - 1;
}

static inline void histogram_add(histogram *h, uint64_t value)
{
    h->counts[histogram_bucket(value)]++;
    h->total++;
    if (value > h->largest)
        h->largest = value;
}

void histogram_merge(histogram *into, const histogram *from);
/* The value that `fraction` of all values do not exceed; 0 for an empty histogram. */
uint64_t histogram_percentile(const histogram *h, double fraction);
/* Sets the counters p50, p99, p99.9, p99.99 and max (nanoseconds) of the benchmark, and reports the whole
   curve: x is 1 / (1 - fraction), so that the tail has room. */
void histogram_report(const histogram *h, gbench_state *state);

#endif
