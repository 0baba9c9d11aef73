/* mapping.c: the table of mappings against a model, mappings themselves, and what the threshold learns. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/print.c"

#include "allocator/options.c"
#include "allocator/os.c"

#include "allocator/regret.h"

#include "allocator/classes.h"

#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "allocator/mapping.c"

#if defined(__x86_64__)
#include "step.h"
#endif

static struct random dice;

static void mapping_begin(void)
{
    os_init();
    dice = random_begin();
}

TestSuite(mapping, .init = mapping_begin);

/* ---- the table: entries of mappings that do not exist ---- */

enum { FAKES = 3000 };

static struct {
    uintptr_t pointer;
    struct mapping what;
    bool noted;
} fakes[FAKES];

/* Many of the pointers share a few places of the smaller tables. */
static void fakes_begin(void)
{
    for (size_t i = 0; i < FAKES; i++) {
        uintptr_t pointer;
        bool crowded = i % 2, known;
        do {
            pointer = (random_below(&dice, (size_t)1 << 34) + 1) << 12;
            known = false;
            for (size_t j = 0; j < i && !known; j++)
                known = fakes[j].pointer == pointer;
        } while (known || (crowded && (mapping_hash(pointer) & 63) >= 4));
        fakes[i].pointer = pointer;
        fakes[i].what = (struct mapping){.base = pointer,
                                         .length = os_page_size * random_between(&dice, 1, 1000),
                                         .request = random_between(&dice, 1, 4096)};
    }
}

static void fakes_check(void)
{
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < FAKES; i++) {
        lock_acquire(&mappings.lock);
        const struct mapping *entry = mapping_find(fakes[i].pointer);
        check(!entry == !fakes[i].noted);
        check(!entry || (entry->base == fakes[i].what.base && entry->length == fakes[i].what.length &&
                         entry->request == fakes[i].what.request));
        lock_release(&mappings.lock);
        check(mapping_usable_size((void *)fakes[i].pointer) == (fakes[i].noted ? fakes[i].what.length : 0));
        count += fakes[i].noted;
        bytes += fakes[i].noted ? fakes[i].what.length : 0;
    }
    struct mapping_totals totals = mapping_totals();
    check(totals.count == count && totals.bytes == bytes);
    check(totals.count_peak >= count && totals.bytes_peak >= bytes);
    check(mapping_valid());
    check(mappings.used < load_relaxed(mappings.table)->capacity); /* or a search would not end */
}

static void fake_note(size_t i, bool note)
{
    if (note) {
        check(mapping_insert(fakes[i].pointer, &fakes[i].what));
    } else {
        struct mapping erased = mapping_erase(fakes[i].pointer);
        check(erased.base == fakes[i].what.base && erased.length == fakes[i].what.length);
        check(mapping_erase(fakes[i].pointer).length == 0);
    }
    fakes[i].noted = note;
}

Test(mapping, table_at_random)
{
    fakes_begin();
    size_t target = 20, among = 40;
    for (int step = 0; step < 60000; step++) {
        if (step % 2000 == 0) { /* few among few: tombstones; many among many: growth */
            among = random_between(&dice, 40, FAKES);
            target = random_below(&dice, among);
        }
        size_t i = random_below(&dice, among);
        bool more = mapping_totals().count < target;
        if (fakes[i].noted != more)
            fake_note(i, more);
        if (step % 4000 == 0)
            fakes_check();
    }
    fakes_check();
    for (size_t i = 0; i < FAKES; i++)
        if (fakes[i].noted)
            fake_note(i, false);
    fakes_check();
}

/* The same few addresses, mapped and unmapped for ever, do not make the table grow. */
Test(mapping, table_of_a_churner_stays_small)
{
    fakes_begin();
    for (int step = 0; step < 20000; step++) {
        size_t i = random_below(&dice, FAKES);
        fake_note(i, true);
        fake_note(i, false);
    }
    check(load_relaxed(mappings.table)->capacity == 64);
    fakes_check();
}

Test(mapping, table_that_cannot_grow)
{
    fakes_begin();
    struct rlimit limit = {1, RLIM_INFINITY}; /* any mapping fails */
    fake_note(0, true);
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    size_t noted = 1;
    while (noted < FAKES && mapping_insert(fakes[noted].pointer, &fakes[noted].what))
        fakes[noted++].noted = true;
    check(noted == load_relaxed(mappings.table)->capacity - 1);
    fakes_check();
    limit.rlim_cur = RLIM_INFINITY;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    while (noted < FAKES)
        fake_note(noted++, true);
    fakes_check();
}

/* ---- mappings ---- */

static bool is_zero(const void *p, size_t size)
{
    const unsigned char *bytes = p;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void *expect_mapping(size_t alignment, size_t size)
{
    unsigned char *p = mapping_allocate(alignment, size);
    check(p && (uintptr_t)p % max_size(alignment, os_page_size) == 0);
    check(mapping_usable_size(p) == align_up(max_size(size, 1), os_page_size));
    check(is_zero(p, mapping_usable_size(p)));
    check(mapping_contains(p) && mapping_contains(p + mapping_usable_size(p) - 1));
    check(mapping_usable_size(p + 1) == 0 && mapping_usable_size(p + 16) == 0);
    return p;
}

static void expect_release(void *p)
{
    size_t trim_threshold;
    check(mapping_release(p, &trim_threshold));
    check(mapping_usable_size(p) == 0 && !mapping_contains(p));
    check(!mapping_release(p, &trim_threshold) && trim_threshold == 0);
}

static void expect_unmapped(const void *p, size_t size)
{
    unsigned char vector[1];
    for (size_t at = 0; at < size; at += os_page_size)
        check(mincore((char *)p + at, os_page_size, vector) != 0 && errno == ENOMEM);
}

Test(mapping, life)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 131049, 1 << 20, (1 << 20) + 1};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        unsigned char *p = expect_mapping(16, sizes[i]);
        memset(p, 0xab, mapping_usable_size(p));
        size_t size = mapping_usable_size(p);
        check(mapping_totals().count == 1 && mapping_totals().bytes == size);
        expect_release(p);
        expect_unmapped(p, size);
    }
    check(mapping_totals().count == 0 && mapping_totals().bytes == 0 && mapping_totals().count_peak == 1);
}

/* Nothing but the aligned part stays mapped, so far as others' mappings do not follow. */
Test(mapping, alignment)
{
    for (size_t alignment = 1; alignment <= (size_t)1 << 32; alignment *= 2) {
        unsigned char *p = expect_mapping(alignment, 3 * os_page_size);
        check(mapping_find((uintptr_t)p)->base == (uintptr_t)p);
        expect_release(p);
    }
    check(!mapping_allocate((size_t)1 << 62, 1) && !mapping_allocate((size_t)1 << 63, 1));
    check(mapping_totals().count == 0);
}

Test(mapping, impossible_sizes)
{
    static const size_t sizes[] = {SIZE_MAX,     SIZE_MAX - 4095,     SIZE_MAX / 2 + 1,
                                   SIZE_MAX / 2, SIZE_MAX / 2 - 4096, (size_t)1 << 47};
    unsigned char *p = expect_mapping(16, 5 * os_page_size);
    memset(p, 0xab, 5 * os_page_size);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t alignment = 16; alignment != 0; alignment <<= 12)
            check(!mapping_allocate(alignment, sizes[i]));
        check(!mapping_resize(p, sizes[i]));
        check(mapping_usable_size(p) == 5 * os_page_size && p[0] == 0xab && p[5 * os_page_size - 1] == 0xab);
    }
    check(mapping_totals().count == 1 && mapping_valid());
}

Test(mapping, count_limit)
{
    mapping_policy.count_max = 0;
    check(!mapping_allocate(16, 1 << 20));
    mapping_policy.count_max = 3;
    void *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = expect_mapping(16, 1 << 18);
    check(!mapping_allocate(16, 1 << 18));
    expect_release(p[1]);
    p[1] = expect_mapping(16, 1 << 18);
    check(!mapping_allocate(16, 1 << 18));
}

Test(mapping, resize)
{
    unsigned char *p = expect_mapping(16, 300000), *fence;
    for (size_t i = 0; i < 300000; i++)
        p[i] = (unsigned char)(i / 256 + 1);
    size_t size = 300000;
    for (int step = 0; step < 200; step++) {
        size_t wanted = random_between(&dice, 1, (size_t)1 << random_between(&dice, 10, 24));
        fence = random_one_in(&dice, 3) ? expect_mapping(16, 4096) : NULL; /* so that it must move */
        p = mapping_resize(p, wanted);
        check(p && mapping_usable_size(p) == align_up(wanted, os_page_size));
        size_t kept = min_size(size, wanted);
        for (size_t i = 0; i < kept; i += 255)
            check(p[i] == (unsigned char)(i / 256 + 1));
        for (size_t i = kept; i < wanted; i++)
            p[i] = (unsigned char)(i / 256 + 1);
        size = wanted;
        check(mapping_totals().count == 1u + (fence != NULL) && mapping_valid());
        if (fence)
            expect_release(fence);
    }
    expect_release(p);
}

/* A mapping that cannot move or grow is as it was; shrinking it always works. */
Test(mapping, resize_without_memory)
{
    unsigned char *p = expect_mapping(16, 64 * os_page_size);
    memset(p, 0xab, 64 * os_page_size);
    struct rlimit limit = {1, RLIM_INFINITY};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(!mapping_resize(p, 65 * os_page_size));
    check(mapping_usable_size(p) == 64 * os_page_size);
    check(mapping_resize(p, 64 * os_page_size - 1) == p && mapping_resize(p, 10 * os_page_size) == p);
    check(mapping_usable_size(p) == 10 * os_page_size && p[0] == 0xab && p[10 * os_page_size - 1] == 0xab);
    check(!mapping_allocate(16, 1 << 20) && mapping_totals().count == 1);
    expect_release(p);
}

Test(mapping, resize_of_what_is_none)
{
    char *p = expect_mapping(16, 1 << 20), line[80];
    snprintf(line, sizeof line, "brim: invalid pointer passed to realloc: %p", (void *)(p + os_page_size));
    expect_fatal(line, mapping_resize(p + os_page_size, 1));
}

Test(mapping, nothing_is_found_in_an_empty_table)
{
    size_t trim_threshold = 1;
    check(mapping_usable_size(&dice) == 0 && !mapping_contains(&dice) && mapping_valid());
    check(!mapping_release(&dice, &trim_threshold) && trim_threshold == 0);
    check(mapping_usable_size(NULL) == 0 && !mapping_contains(NULL) &&
          !mapping_release(NULL, &trim_threshold));
    expect_mapping(16, 1);
    check(mapping_usable_size(NULL) == 0 && !mapping_contains(NULL) &&
          !mapping_release(NULL, &trim_threshold));
    check(mapping_usable_size((void *)1) == 0 && mapping_usable_size((void *)UINTPTR_MAX) == 0);
}

/* ---- the threshold ---- */

static size_t learned_from(size_t size)
{
    size_t trim_threshold, before = mapping_policy.threshold;
    check(mapping_release(expect_mapping(16, size), &trim_threshold));
    check(trim_threshold == (mapping_policy.threshold != before ? 2 * mapping_policy.threshold : 0));
    return mapping_policy.threshold;
}

/* The figures are glibc's, by experiment. */
Test(mapping, threshold_learns)
{
    check(mapping_policy.threshold == 131072);
    check(learned_from(131049) == 135168);
    check(learned_from(131049) == 135168); /* no lower, no higher */
    check(learned_from(1 << 20) == 1052672);
    check(learned_from(200000) == 1052672);
    check(learned_from(31 << 20) == (31 << 20) + 4096);
    check(learned_from(33 << 20) == (31 << 20) + 4096); /* beyond the most that it learns */
    check(padded_size(31 << 20) < mapping_policy.threshold);
}

Test(mapping, threshold_is_frozen)
{
    mapping_policy.dynamic = false;
    check(learned_from(1 << 20) == 131072);
}

/* A realloc that moves a mapping teaches nothing. */
Test(mapping, threshold_ignores_realloc)
{
    void *p = expect_mapping(16, 1 << 20);
    for (int i = 0; i < 5; i++) {
        expect_mapping(16, 4096);
        check((p = mapping_resize(p, (size_t)(i + 2) << 20)));
        check(mapping_policy.threshold == 131072);
    }
}

Test(mapping, padded_size)
{
    check(padded_size(0) == 32 && padded_size(24) == 32 && padded_size(25) == 48);
    check(padded_size(131048) == 131056 && padded_size(131049) == 131072);
}

/* ---- threads ---- */

static void *churn(void *argument)
{
    struct random random = {(uintptr_t)argument};
    struct {
        unsigned char *p;
        size_t size;
    } own[30] = {{0}};
    for (int step = 0; step < 4000; step++) {
        size_t i = random_below(&random, 30), size = random_between(&random, 1, 60000), trim_threshold;
        if (!own[i].p) {
            own[i].p = mapping_allocate((size_t)1 << random_between(&random, 4, 16), size);
            check(own[i].p && own[i].p[0] == 0 && own[i].p[size - 1] == 0);
        } else if (random_one_in(&random, 3)) {
            check(own[i].p[0] == i + 1);
            check((own[i].p = mapping_resize(own[i].p, size)) && own[i].p[0] == i + 1);
        } else {
            check(own[i].p[0] == i + 1 && own[i].p[own[i].size - 1] == i + 1);
            check(mapping_release(own[i].p, &trim_threshold));
            own[i].p = NULL;
            continue;
        }
        own[i].size = size;
        own[i].p[0] = own[i].p[size - 1] = (unsigned char)(i + 1);
        check(mapping_usable_size(own[i].p) >= size && mapping_contains(own[i].p + size - 1));
    }
    for (size_t i = 0, trim_threshold; i < 30; i++)
        check(!own[i].p || mapping_release(own[i].p, &trim_threshold));
    return NULL;
}

Test(mapping, threads)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)random_next(&dice)) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    check(mapping_totals().count == 0 && mapping_totals().bytes == 0 && mapping_valid());
}

/* ---- fork ---- */

#if defined(__x86_64__)

static void *subject, *bystander;

static void operation_allocate(void) { subject = mapping_allocate(16, 100000); }
static void operation_release(void)
{
    size_t trim_threshold;
    mapping_release(subject, &trim_threshold);
}
static void operation_resize(void) { subject = mapping_resize(subject, 300000); }

static void verify(enum step_part part)
{
    check(mapping_valid());
    check(mapping_usable_size(bystander) == align_up(12345, os_page_size) && *(char *)bystander == 1);
    void *p = expect_mapping(16, 200000);
    expect_release(p);
    expect_release(bystander);
    if (part != STEP_OTHER && mapping_usable_size(subject) != 0)
        check(mapping_resize(subject, 1));
    check(mapping_valid());
}

static void step_operation(void (*operation)(void))
{
    const struct mapping_table *table = load_relaxed(mappings.table);
    struct step step = {.operation = operation,
                        .repair = mapping_after_fork,
                        .verify = verify,
                        .locks = {&mappings.lock},
                        .watched = {{&mappings, sizeof mappings}, {table, table->bytes}}};
    check(step_through(&step) >= 10);
    check(mapping_valid());
}

Test(mapping, fork_at_every_instruction)
{
    bystander = expect_mapping(16, 12345);
    *(char *)bystander = 1;
    step_operation(operation_allocate);
    step_operation(operation_resize);
    step_operation(operation_release);
}

/* The same where the table moves to a larger one. */
Test(mapping, fork_while_the_table_grows)
{
    bystander = expect_mapping(16, 12345);
    *(char *)bystander = 1;
    while ((mappings.used + 1) * 4 <= load_relaxed(mappings.table)->capacity * 3)
        expect_mapping(16, 1);
    const struct mapping_table *before = load_relaxed(mappings.table);
    struct step step = {.operation = operation_allocate,
                        .repair = mapping_after_fork,
                        .verify = verify,
                        .locks = {&mappings.lock},
                        .watched = {{&mappings, sizeof mappings}}}; /* the old table goes away meanwhile */
    check(step_through(&step) >= 10);
    check(load_relaxed(mappings.table) != before && mapping_valid());
}

#endif
