/* glibc.c: mallopt, malloc_trim, mallinfo, mallinfo2, malloc_stats, malloc_info; and brim_option_get and
   brim_option_set, which set the same values by name.

   glibc's words on our heap. "arena" in its statistics is a heap with memory of its own, so a region here: number 0
   is the break region, further ones exist only where the break was blocked. Its fast blocks are the blocks on the free
   lists of slabs; the rest is free runs, and pages of slabs that are not formed. What no block can use (the end of
   a slab behind its last block, the slice that we share with somebody else's part of the break) counts as in use,
   as glibc's own headers do. Everything is gathered under the heap's locks and written without them. */
#include "glibc.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

/* ---- settings ---- */

/* mallopt(3): setting any of the four parameters disables the dynamic adjustment of the threshold. */
static void freeze_threshold(void) { store_relaxed(mapping_policy.dynamic, false); }

RARE void setting_put(enum option option, size_t value)
{
    switch (option) {
    case OPTION_mmap_threshold:
        store_relaxed(mapping_policy.threshold, value);
        freeze_threshold();
        break;
    case OPTION_mmap_threshold_max: store_relaxed(mapping_policy.threshold_max, value); break;
    case OPTION_mmap_threshold_dynamic: store_relaxed(mapping_policy.dynamic, value != 0); break;
    case OPTION_mmap_max:
        store_relaxed(mapping_policy.count_max, value);
        freeze_threshold();
        break;
    case OPTION_trim_threshold:
        store_relaxed(region_policy.trim_explicit, true);
        store_relaxed(region_policy.trim_threshold, value);
        thread_order(ORDER_LOOK); /* at what threads keep */
        if (thread_home)
            thread_leave(thread_enter());
        freeze_threshold();
        break;
    case OPTION_top_pad:
        store_relaxed(region_policy.top_pad, value);
        store_relaxed(region_policy.many_pad, value);
        freeze_threshold();
        break;
    case OPTION_many_pad: store_relaxed(region_policy.many_pad, value); break;
    case OPTION_perturb: alloc_set_perturb((unsigned char)value); break;
    case OPTION_foreign_free: store_relaxed(foreign_all, value != 0); break;
    case OPTION_sample_guard_slots: store_relaxed(guard.slots_wanted, value); break;
    case OPTION_sample_guard:
        if (load_relaxed(guard.interval) == 0)
            alloc_release(alloc_allocate(1)); /* the heap shall be the first on the break, though all blocks be guarded */
        guard_sample((uint32_t)value);
        break;
    case OPTION_stats: stats_report_at_exit((int)value); break;
    default: break; /* what has no effect, or has had it */
    }
}

RARE size_t setting_get(enum option option)
{
    size_t value = 0;
    switch (option) {
    case OPTION_mmap_threshold: return load_relaxed(mapping_policy.threshold);
    case OPTION_mmap_threshold_max: return load_relaxed(mapping_policy.threshold_max);
    case OPTION_mmap_threshold_dynamic: return load_relaxed(mapping_policy.dynamic);
    case OPTION_mmap_max: return load_relaxed(mapping_policy.count_max);
    case OPTION_trim_threshold: return load_relaxed(region_policy.trim_threshold);
    case OPTION_top_pad: return load_relaxed(region_policy.top_pad);
    case OPTION_many_pad: return load_relaxed(region_policy.many_pad);
    case OPTION_perturb: return load_relaxed(perturb_byte);
    case OPTION_foreign_free: return load_relaxed(foreign_all);
    case OPTION_sample_guard_slots: return load_relaxed(guard.slots_wanted);
    case OPTION_sample_guard: return load_relaxed(guard.interval);
    case OPTION_stats: return (size_t)stats_report_format();
    case OPTION_hardened: return load_relaxed(hardened_features) != 0;
    case OPTION_hardened_zero: return hardened_has(HARDENED_ZERO);
    case OPTION_hardened_random: return hardened_has(HARDENED_RANDOM);
    case OPTION_hardened_quarantine: return hardened_has(HARDENED_QUARANTINE);
    case OPTION_hardened_canary: return hardened_has(HARDENED_CANARY);
    case OPTION_hardened_guard: return hardened_has(HARDENED_GUARD);
    default: option_given(option, &value); return value;
    }
}

/* BRIM_HARDENED says what those protections are that are not set by themselves. */
COLD uint8_t hardened_wanted(void)
{
    static const struct {
        enum option option;
        uint8_t feature;
    } rows[] = {{OPTION_hardened_zero, HARDENED_ZERO},
                {OPTION_hardened_random, HARDENED_RANDOM},
                {OPTION_hardened_quarantine, HARDENED_QUARANTINE},
                {OPTION_hardened_canary, HARDENED_CANARY},
                {OPTION_hardened_guard, HARDENED_GUARD}};
    uint8_t wanted = load_relaxed(hardened_features);
    size_t value;
    if (option_given(OPTION_hardened, &value))
        wanted = value != 0 ? HARDENED_ALL : 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (option_given(rows[i].option, &value))
            wanted = value != 0 ? wanted | rows[i].feature : wanted & (uint8_t)~rows[i].feature;
    return wanted;
}

COLD void settings_init(char *const environment[])
{
    options_init(environment);
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        size_t value;
        if (option_given(i, &value))
            setting_put(i, value);
    }
    uint8_t features = hardened_wanted();
    if (features != load_relaxed(hardened_features))
        hardened_start(features);
}

COLD_EXPORT int brim_option_get(const char *name, size_t *value)
{
    enum option option = option_find(name);
    if (option == OPTION_COUNT)
        return ENOENT;
    *value = setting_get(option);
    return 0;
}

COLD_EXPORT int brim_option_set(const char *name, size_t value)
{
    enum option option = option_find(name);
    if (option == OPTION_COUNT)
        return ENOENT;
    if (option_when(option) != ANY_TIME)
        return EPERM;
    if (!option_in_bounds(option, value))
        return EINVAL;
    setting_put(option, value);
    return 0;
}

/* mallopt(3). Sizes are ints there; negative ones extend to huge ones, so that -1 turns off what it limits. */
COLD_EXPORT int PUBLIC(mallopt)(int parameter, int value)
{
    enum { FAST_BLOCK_MAX = 160 }; /* what glibc's bins could hold; there are none here */
    switch (parameter) {
    case M_MMAP_THRESHOLD: setting_put(OPTION_mmap_threshold, (size_t)value); break;
    case M_TRIM_THRESHOLD: setting_put(OPTION_trim_threshold, (size_t)value); break;
    case M_TOP_PAD: setting_put(OPTION_top_pad, (size_t)value); break;
    case M_MMAP_MAX: setting_put(OPTION_mmap_max, value > 0 ? (size_t)value : 0); break;
    case M_PERTURB: setting_put(OPTION_perturb, (unsigned char)value); break;
    case M_MXFAST: return (size_t)value <= FAST_BLOCK_MAX;
    default: break; /* M_ARENA_MAX, M_ARENA_TEST, M_CHECK_ACTION, unknown ones: accepted, as glibc does */
    }
    return 1;
}

/* malloc_trim(3): pages of slabs in which no block is live, of the calling thread's arena and of those that nobody
   owns; free runs; the top above `pad`. Other threads' arenas are theirs alone: each does its own share when its
   thread next leaves the fast path. */
COLD_EXPORT int PUBLIC(malloc_trim)(size_t pad)
{
    int saved_errno = errno;
    bool any = thread_trim();
    any |= region_trim_all(pad);
    errno = saved_errno;
    return any;
}

/* ---- statistics ---- */

/* Guarded blocks are pages of their own, like mappings. The peaks need not have been at the same time. */
RARE struct mapping_totals mapped_totals(void)
{
    struct mapping_totals totals = mapping_totals();
    struct guard_totals guarded = guard_totals();
    totals.count += guarded.live;
    totals.bytes += guarded.live * os_page_size;
    totals.count_peak += guarded.open_peak;
    totals.bytes_peak += guarded.open_peak * os_page_size;
    return totals;
}

COLD_EXPORT struct mallinfo2 PUBLIC(mallinfo2)(void)
{
    struct mallinfo2 info = {0};
    for (size_t i = 0; i < load_acquire(region_count); i++) {
        struct region_statistics statistics;
        region_statistics(&regions[i], &statistics);
        info.arena += statistics.system;
        info.ordblks += statistics_pieces(&statistics);
        info.smblks += statistics.small_free;
        info.fsmblks += statistics.small_free_bytes;
        info.fordblks += statistics_free(&statistics);
        if (i == 0)
            info.keepcost = statistics.top;
    }
    info.uordblks = info.arena - info.fordblks;
    struct mapping_totals mapped = mapped_totals();
    info.hblks = mapped.count;
    info.hblkhd = mapped.bytes;
    return info;
}

COLD_EXPORT struct mallinfo PUBLIC(mallinfo)(void)
{
    struct mallinfo2 wide = PUBLIC(mallinfo2)();
    return (struct mallinfo){(int)wide.arena,    (int)wide.ordblks,  (int)wide.smblks,   (int)wide.hblks,
                             (int)wide.hblkhd,   (int)wide.usmblks,  (int)wide.fsmblks,  (int)wide.uordblks,
                             (int)wide.fordblks, (int)wide.keepcost};
}

/* One heap at least, as glibc has even before its first block. */
static size_t heap_count(void) { return max_size(load_acquire(region_count), 1); }

/* The figures of glibc's mallinfo(3) in the lines that scripts know. glibc cuts the bytes to 32 bits; we do not. Like
   glibc's it is no cancellation point, and no other thread's output comes between its lines. */
COLD_EXPORT void PUBLIC(malloc_stats)(void)
{
    int cancellation;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellation);
    flockfile(stderr);
    size_t system = 0, in_use = 0;
    for (size_t i = 0, heaps = heap_count(); i < heaps; i++) {
        struct region_statistics statistics;
        region_statistics(&regions[i], &statistics);
        size_t used = statistics.system - statistics_free(&statistics);
        fprintf(stderr, "Arena %zu:\nsystem bytes     = %10zu\nin use bytes     = %10zu\n", i, statistics.system,
                used);
        system += statistics.system;
        in_use += used;
    }
    struct mapping_totals mapped = mapped_totals();
    fprintf(stderr,
            "Total (incl. mmap):\nsystem bytes     = %10zu\nin use bytes     = %10zu\n"
            "max mmap regions = %10zu\nmax mmap bytes   = %10zu\n",
            system + mapped.bytes, in_use + mapped.bytes, mapped.count_peak, mapped.bytes_peak);
    funlockfile(stderr);
    pthread_setcancelstate(cancellation, &cancellation);
}

struct heap_totals {
    size_t fast, fast_bytes, rest, rest_bytes, system, system_peak;
};

static void info_sizes(FILE *out, const struct region_statistics *statistics)
{
    static const char row[] = "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n";
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        size_t size = size_classes[i].block_size, count = statistics->classes[i].free;
        if (count != 0)
            fprintf(out, row, i != 0 ? size_classes[i - 1].block_size + (size_t)1 : 1, size, count * size, count);
    }
    for (unsigned i = 0; i < RUN_GROUPS; i++) {
        const struct run_count *group = &statistics->free_runs[i];
        if (group->count != 0)
            fprintf(out, row, group->shortest, group->longest, group->bytes, group->count);
    }
}

RARE void info_system(FILE *out, size_t system, size_t peak)
{
    fprintf(out,
            "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n"
            "<aspace type=\"total\" size=\"%zu\"/>\n<aspace type=\"mprotect\" size=\"%zu\"/>\n",
            system, peak, system, system);
}

LAST static void info_heap(FILE *out, size_t number, struct heap_totals *totals)
{
    struct region_statistics statistics;
    region_statistics(&regions[number], &statistics);
    size_t rest = statistics_pieces(&statistics);
    size_t rest_bytes = statistics_free(&statistics) - statistics.small_free_bytes;
    fprintf(out, "<heap nr=\"%zu\">\n<sizes>\n", number);
    info_sizes(out, &statistics);
    fprintf(out,
            "</sizes>\n<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n",
            statistics.small_free, statistics.small_free_bytes, rest, rest_bytes);
    info_system(out, statistics.system, statistics.system_peak);
    fprintf(out, "</heap>\n");
    totals->fast += statistics.small_free;
    totals->fast_bytes += statistics.small_free_bytes;
    totals->rest += rest;
    totals->rest_bytes += rest_bytes;
    totals->system += statistics.system;
    totals->system_peak += statistics.system_peak;
}

/* malloc_info(3): version 1 of glibc's XML. */
COLD_EXPORT int PUBLIC(malloc_info)(int options, FILE *out)
{
    if (options != 0)
        return EINVAL;
    struct heap_totals totals = {0};
    fprintf(out, "<malloc version=\"1\">\n");
    for (size_t i = 0, heaps = heap_count(); i < heaps; i++)
        info_heap(out, i, &totals);
    struct mapping_totals mapped = mapped_totals();
    fprintf(out,
            "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n",
            totals.fast, totals.fast_bytes, totals.rest, totals.rest_bytes, mapped.count, mapped.bytes);
    info_system(out, totals.system, totals.system_peak);
    fprintf(out, "</malloc>\n");
    return 0;
}
