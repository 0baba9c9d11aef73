/* runs.h: a model of a heap of runs, for the tests of the region. It takes, resizes and releases runs at
   random, knows of each what must be in it, and compares the tiling of every region with what it holds.
   Include it after the region's rooms. */
#ifndef TESTS_UNIT_RUNS_H
#define TESTS_UNIT_RUNS_H

struct run {
    struct slice *head;
    size_t slices;
    uint64_t stamp;
};

struct runs {
    struct run run[600];
    size_t count;
    size_t slices; /* in all of them */
    struct random random;
};

static uintptr_t run_address(const struct run *run)
{
    return slice_address(region_of_slice(run->head), run->head);
}

/* Two words of each page of the run: what a reader would notice first. */
static uint64_t *page_word(uintptr_t run, size_t page, bool last)
{
    return (uint64_t *)(run + page * os_page_size + (last ? os_page_size - sizeof(uint64_t) : 0));
}

static void run_stamp(const struct run *run, size_t from_slice)
{
    size_t pages_per_slice = SLICE_SIZE / os_page_size;
    for (size_t page = from_slice * pages_per_slice; page < run->slices * pages_per_slice; page++)
        for (int last = 0; last < 2; last++)
            *page_word(run_address(run), page, last) = run->stamp + page;
}

static void run_verify(const struct run *run, size_t slices)
{
    for (size_t page = 0; page < slices * (SLICE_SIZE / os_page_size); page++) {
        check(*page_word(run_address(run), page, false) == run->stamp + page);
        check(*page_word(run_address(run), page, true) == run->stamp + page);
    }
}

static void expect_zero(uintptr_t address, size_t slices)
{
    for (size_t page = 0; page < slices * (SLICE_SIZE / os_page_size); page++)
        check(*page_word(address, page, false) == 0 && *page_word(address, page, true) == 0);
}

/* Takes a run and keeps it; NULL if there is no memory. */
static struct run *runs_take(struct runs *runs, const struct run_request *request)
{
    bool zero = false;
    check(runs->count < COUNT_OF(runs->run));
    struct slice *head = region_take(request, &zero);
    if (!head)
        return NULL;
    struct run *run = &runs->run[runs->count++];
    *run = (struct run){.head = head, .slices = request->slices, .stamp = random_next(&runs->random)};
    runs->slices += run->slices;
    check(run_kind(head) == RUN_DETACHED && run_length(head) == request->slices);
    check(run_address(run) % (request->alignment * SLICE_SIZE) == 0);
    check(region_of((void *)run_address(run)) == region_of_slice(head));
    check(region_of((void *)(run_address(run) + request->slices * SLICE_SIZE - 1)) == region_of_slice(head));
    if (zero)
        expect_zero(run_address(run), run->slices);
    run_publish(head, RUN_MEDIUM);
    run_stamp(run, 0);
    return run;
}

static struct run *runs_any(struct runs *runs)
{
    return &runs->run[random_below(&runs->random, runs->count)];
}

static void runs_release(struct runs *runs, struct run *run)
{
    run_verify(run, run->slices);
    runs->slices -= run->slices;
    region_release(run->head);
    *run = runs->run[--runs->count];
}

static void runs_resize(struct runs *runs, struct run *run, size_t slices)
{
    size_t before = run->slices;
    bool done = region_resize(run->head, slices);
    check(done || slices > before);
    if (done) {
        run->slices = slices;
        runs->slices = runs->slices - before + slices;
    }
    check(run_kind(run->head) == RUN_MEDIUM && run_length(run->head) == run->slices);
    run_verify(run, min_size(before, run->slices));
    run_stamp(run, min_size(before, run->slices));
}

static void runs_release_all(struct runs *runs)
{
    while (runs->count > 0)
        runs_release(runs, runs_any(runs));
}

static struct run_request random_request(struct random *random)
{
    size_t most = random_one_in(random, 16) ? 200 : 24;
    return (struct run_request){.slices = random_between(random, 1, random_one_in(random, 2) ? 3 : most),
                                .alignment = (size_t)1
                                             << (random_one_in(random, 8) ? random_below(random, 6) : 0),
                                .many = random_one_in(random, 4),
                                .grow = true};
}

/* Is the tiling of all regions what the model holds? And are clean free slices zero? */
static void runs_check(const struct runs *runs)
{
    size_t medium = 0, slices = 0;
    for (size_t i = 0; i < load_relaxed(region_count); i++) {
        struct region *region = &regions[i];
        check(region_valid(region));
        size_t length;
        for (size_t at = 0; at < load_relaxed(region->count); at += length) {
            const struct slice *head = &region->map[at];
            length = run_length(head);
            check(run_kind(head) == RUN_MEDIUM || run_kind(head) == RUN_FREE ||
                  run_kind(head) == RUN_FOREIGN);
            medium += run_kind(head) == RUN_MEDIUM;
            slices += run_kind(head) == RUN_MEDIUM ? length : 0;
            for (size_t j = at; run_kind(head) == RUN_FREE && j < at + length; j++)
                if (!dirty_test(region, j))
                    expect_zero(region->base + (j << SLICE_SHIFT), 1);
        }
        for (size_t bit = load_relaxed(region->count); bit < region->map_open; bit++)
            check(region->is_break || !dirty_test(region, bit));
    }
    check(medium == runs->count && slices == runs->slices);
    for (size_t i = 0; i < runs->count; i++) {
        const struct run *run = &runs->run[i];
        check(run_kind(run->head) == RUN_MEDIUM && run_length(run->head) == run->slices);
    }
}

/* Random use that keeps about `slices` live. */
static void runs_run(struct runs *runs, size_t steps, size_t slices)
{
    for (size_t step = 0; step < steps; step++) {
        bool more = runs->slices < slices && runs->count < COUNT_OF(runs->run);
        size_t choice = random_below(&runs->random, 8);
        if (choice == 0 && runs->count > 0) {
            struct run *run = runs_any(runs);
            runs_resize(runs, run, random_between(&runs->random, 1, run->slices + run->slices / 2 + 2));
        } else if (runs->count == 0 || choice <= (more ? 5 : 2)) {
            if (runs->count == COUNT_OF(runs->run))
                continue;
            struct run_request request = random_request(&runs->random);
            check(runs_take(runs, &request));
        } else {
            runs_release(runs, runs_any(runs));
        }
        if (step % 128 == 0)
            runs_check(runs);
    }
    runs_check(runs);
}

#endif
