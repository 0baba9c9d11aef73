/* histogram_test: the bounds that histogram.h promises, over its whole range, and percentiles against sorted
   values. */
#include "histogram.h"

static int failures;

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                            \
        }                                                          \
    } while (0)

/* What the library around histogram.c would bring; these tests need none of it. */
void gbench_set_counter(gbench_state *state, const char *name, double value, int flags)
{
    (void)state, (void)name, (void)value, (void)flags;
}
void report_curve(const char *name, const char *x_unit, const char *y_unit, const point *points, size_t count)
{
    (void)name, (void)x_unit, (void)y_unit;
    CHECK(count > 0 && count <= 64);
    for (size_t i = 1; i < count; i++)
        CHECK(points[i].x > points[i - 1].x && points[i].y >= points[i - 1].y);
}

static void check_buckets(void)
{
    unsigned last = 0;
    for (unsigned bit = 0; bit < 63; bit++) {
        for (uint64_t offset = 0; offset < 70; offset++) {
            uint64_t value = ((uint64_t)1 << bit) + offset * (((uint64_t)1 << bit) / 70);
            unsigned bucket = histogram_bucket(value);
            CHECK(bucket < HISTOGRAM_BUCKETS && bucket >= last);
            last = bucket;
            CHECK(histogram_bucket_end(bucket) >= value);
            CHECK(bucket == 0 || histogram_bucket_end(bucket - 1) < value);
            CHECK((double)(histogram_bucket_end(bucket) - value) <= (double)value / HISTOGRAM_SUBS);
        }
    }
}

static int by_value(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static void check_percentiles(void)
{
    enum { COUNT = 100000 };
    static uint64_t values[COUNT];
    static histogram whole, halves[2];
    random_source source = {1};
    for (int i = 0; i < COUNT; i++) {
        values[i] = random_next(&source) >> random_below(&source, 60);
        histogram_add(&whole, values[i]);
        histogram_add(&halves[i & 1], values[i]);
    }
    histogram_merge(&halves[0], &halves[1]);
    CHECK(memcmp(&halves[0], &whole, sizeof whole) == 0);
    qsort(values, COUNT, sizeof values[0], by_value);
    static const double fractions[] = {0.00001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    for (size_t i = 0; i < COUNT_OF(fractions); i++) {
        size_t rank = (size_t)(fractions[i] * COUNT + 0.999999);
        double exact = (double)values[rank > 0 ? rank - 1 : 0];
        double found = (double)histogram_percentile(&whole, fractions[i]);
        CHECK(found >= exact && found <= exact * (1 + 1.0 / HISTOGRAM_SUBS) + 1);
    }
    CHECK(histogram_percentile(&whole, 1) == values[COUNT - 1]);
    histogram_report(&whole, NULL);
}

int main(void)
{
    static histogram empty, one;
    CHECK(histogram_percentile(&empty, 0.5) == 0);
    histogram_add(&one, 12345);
    CHECK(histogram_percentile(&one, 0) == 12345 && histogram_percentile(&one, 0.9999) == 12345);
    check_buckets();
    check_percentiles();
    printf("%d failures\n", failures);
    return failures != 0;
}
