/* region_fork.c: region_after_fork, when the fork came at any instruction of any operation on runs. */
#include "unit.h"

#include "allocator/base.h"
#include "allocator/sync.h"

#include "allocator/diag.c"
#include "allocator/os.c"
#include "allocator/regret.h"
#include "allocator/classes.h"
#include "allocator/hardening.c"
#include "allocator/region.c"
#include "allocator/region_memory.c"

#include "runs.h"
#include "step.h"

static struct runs runs;

/* The run that the operation is about: not among those of the model. */
static struct run subject;

static void region_begin(void)
{
    os_init();
    runs.random = random_begin();
}

TestSuite(region_fork, .init = region_begin);

static struct run *take(size_t slices)
{
    return runs_take(&runs, &(struct run_request){.slices = slices, .alignment = 1, .grow = true});
}

static void release_number(size_t number) { runs_release(&runs, &runs.run[number]); }

/* A run of the model becomes the subject. */
static void choose_subject(struct run *run)
{
    subject = *run;
    runs.slices -= run->slices;
    *run = runs.run[--runs.count];
}

/* The heap can be walked, what is live is untouched, and taking and releasing go on. */
static void verify(enum step_part part)
{
    for (size_t i = 0; i < load_relaxed(region_count); i++) {
        check(region_valid(&regions[i]));
        if (part != STEP_OTHER) /* nothing is lost */
            for (size_t at = 0, length; at < load_relaxed(regions[i].count); at += length) {
                length = run_length(&regions[i].map[at]);
                check(run_kind(&regions[i].map[at]) != RUN_DETACHED);
            }
        check(regions[i].detached == 0);
    }
    for (size_t i = 0; i < runs.count; i++)
        run_verify(&runs.run[i], runs.run[i].slices);
    for (size_t slices = 1; slices <= 4; slices++) /* what is free fits together with what is not */
        take(slices);
    runs_release_all(&runs);
    region_trim_all(0);
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
}

/* ---- the operations ---- */

static struct run_request request;

static void operation_take(void)
{
    bool zero;
    subject.head = region_take(&request, &zero);
    run_publish(subject.head, RUN_MEDIUM);
}

/* As slab_create does it. */
static void operation_take_slab(void)
{
    bool zero;
    struct slice *head = region_take(&request, &zero);
    for (size_t i = 1; i < request.slices; i++)
        head[i].back = (uint32_t)(i * sizeof *head);
    store_relaxed(head->owner, (struct arena *)&subject);
    run_publish(head, RUN_SLAB);
}

static void operation_release(void) { region_release(subject.head); }
static void operation_resize(void) { region_resize(subject.head, request.slices); }
static void operation_trim(void) { region_trim_all(0); }

static void step_operation(void (*operation)(void))
{
    const struct region *region = &regions[0];
    struct step step = {.operation = operation,
                        .repair = region_after_fork,
                        .verify = verify,
                        .locks = {&regions_lock},
                        .watched = {{regions, 3 * sizeof *regions}, {&region_count, sizeof region_count}}};
    if (load_relaxed(region_count) != 0) {
        size_t slices = min_size(load_relaxed(region->count) + 20, region->map_open);
        step.watched[2].start = region->map;
        step.watched[2].size = slices * sizeof(struct slice);
        step.watched[3].start = region->dirty;
        step.watched[3].size = 64;
        step.locks[1] = &regions[0].growth;
        step.locks[2] = &regions[0].lock;
    }
    check(step_through(&step) >= 10);
    for (size_t i = 0; i < load_relaxed(region_count); i++)
        check(region_valid(&regions[i]));
}

/* Free runs and live ones by turns: 2 1 3 1 4 1 ... slices, the ones live, and a live run at the top. */
static void checkered(void)
{
    static const size_t holes[] = {2, 3, 4, 8, 8};
    region_policy.trim_threshold = SIZE_MAX;
    for (size_t i = 0; i < COUNT_OF(holes); i++) {
        take(holes[i]);
        take(1);
    }
    for (size_t i = COUNT_OF(holes); i-- > 0;)
        release_number(2 * i);
    runs_check(&runs);
}

Test(region_fork, take_a_whole_run)
{
    checkered();
    request = (struct run_request){.slices = 3, .alignment = 1};
    step_operation(operation_take);
}

Test(region_fork, take_the_middle_of_a_run)
{
    checkered();
    request = (struct run_request){.slices = 3, .alignment = 4};
    step_operation(operation_take);
}

Test(region_fork, take_a_slab)
{
    checkered();
    request = (struct run_request){.slices = 4, .alignment = 1};
    step_operation(operation_take_slab);
}

/* The neighbours of the released run: live or free, in all combinations. */
Test(region_fork, release)
{
    for (int neighbours = 0; neighbours < 4; neighbours++) {
        struct slice *low = take(3)->head, *middle = take(4)->head, *high = take(2)->head;
        region_policy.trim_threshold = SIZE_MAX;
        take(1);
        for (size_t i = runs.count; i-- > 0;)
            if ((runs.run[i].head == low && neighbours & 1) || (runs.run[i].head == high && neighbours & 2))
                release_number(i);
        for (size_t i = runs.count; i-- > 0;)
            if (runs.run[i].head == middle)
                choose_subject(&runs.run[i]);
        step_operation(operation_release);
    }
}

Test(region_fork, resize)
{
    checkered();
    struct run *run = take(8);
    choose_subject(run);
    request.slices = 3;
    step_operation(operation_resize);
    request.slices = 6;
    step_operation(operation_resize);
    request.slices = 8; /* the neighbour, whole */
    step_operation(operation_resize);
    request.slices = 1;
    step_operation(operation_resize);
}

Test(region_fork, grow)
{
    take(1);
    request = (struct run_request){.slices = 10, .alignment = 1, .grow = true};
    step_operation(operation_take);
    check(sbrk(1000) != (void *)-1); /* a hole is described, too */
    step_operation(operation_take);
}

Test(region_fork, grow_for_the_first_time)
{
    request = (struct run_request){.slices = 1, .alignment = 1, .grow = true};
    step_operation(operation_take);
}

Test(region_fork, grow_elsewhere)
{
    take(1);
    void *above = (void *)align_up((uintptr_t)sbrk(0), os_page_size);
    check(mmap(above, os_page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          above);
    request = (struct run_request){.slices = 10, .alignment = 1, .grow = true};
    step_operation(operation_take);
    check(load_relaxed(region_count) == 2);
    step_operation(operation_take);
}

Test(region_fork, trim_the_top)
{
    region_policy.trim_threshold = SIZE_MAX;
    take(1);
    take(10);
    release_number(1);
    step_operation(operation_trim);
}

Test(region_fork, purge)
{
    checkered();
    step_operation(operation_trim);
}

/* What a release does unprompted, all at once. */
Test(region_fork, release_trims_and_purges)
{
    checkered();
    choose_subject(take(12));
    region_policy.trim_explicit = true;
    region_policy.trim_threshold = 0;
    step_operation(operation_release);
}
