/* histogram.c: reading latencies out of a histogram. Counting is inline, in the header. */
#include "histogram.h"

void histogram_merge(histogram *into, const histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    if (from->largest > into->largest)
        into->largest = from->largest;
}

uint64_t histogram_percentile(const histogram *h, double fraction)
{
    if (h->total == 0)
        return 0;
    double exact = fraction * (double)h->total;
    uint64_t wanted = (uint64_t)exact;
    if ((double)wanted < exact)
        wanted++;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= wanted && seen > 0) {
            uint64_t end = histogram_bucket_end(i);
            return end < h->largest ? end : h->largest;
        }
    }
    return h->largest;
}

void histogram_report(const histogram *h, gbench_state *state)
{
    gbench_set_counter(state, "p50", (double)histogram_percentile(h, 0.5), GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "p99", (double)histogram_percentile(h, 0.99), GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "p99.9", (double)histogram_percentile(h, 0.999), GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "p99.99", (double)histogram_percentile(h, 0.9999), GBENCH_COUNTER_PLAIN);
    gbench_set_counter(state, "max", (double)h->largest, GBENCH_COUNTER_PLAIN);

    point curve[64];
    size_t count = 0;
    /* Four steps to each decimal of the tail, to 99.99 % and not beyond what the sample holds. */
    static const double steps[] = {1.0, 1.8, 3.2, 5.6};
    for (double decade = 1; decade <= 1e4 && decade <= (double)h->total; decade *= 10) {
        for (size_t i = 0; i < COUNT_OF(steps) && (decade < 1e4 || i == 0); i++) {
            double inverse = decade * steps[i];
            curve[count++] = (point){inverse, (double)histogram_percentile(h, 1 - 1 / inverse)};
        }
    }
    report_curve("latency", "1/(1-p)", "ns", curve, count);
}
