/* stats.c: see stats.h. */
#include "stats.h"

#include "print.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one region ---- */

/* Blocks of the slab that are free. The remote list is read first: what its owner takes over meanwhile is counted
   twice rather than never, and no more than all blocks can be. */
static size_t slab_count_free(const struct slice *slab, size_t formed)
{
    size_t remote = REMOTE_COUNT(load_acquire(slab->remote));
    return min_size(remote + slab_free_count(slab), formed);
}

/* False if no block of it is live: all of it is free then. */
static bool count_slab(const struct slice *slab, struct region_statistics *out)
{
    const struct size_class *row = slab_class(slab);
    struct class_count *count = &out->classes[slab->size_class];
    size_t formed = load_relaxed(slab->formed), free_blocks = slab_count_free(slab, formed);
    count->slabs++;
    count->formed += formed;
    count->free += free_blocks;
    out->small_free += free_blocks;
    out->small_free_bytes += free_blocks * row->block_size;
    out->unformed_slabs += formed < row->capacity;
    out->unformed_bytes += (row->capacity - formed) * row->block_size;
    if (free_blocks == formed)
        out->unformed_bytes += row->slices * SLICE_SIZE - row->capacity * (size_t)row->block_size;
    return free_blocks < formed;
}

static void count_free_run(size_t slices, struct region_statistics *out)
{
    struct run_count *group = &out->free_runs[min_size(63 - (size_t)__builtin_clzll(slices), RUN_GROUPS - 1)];
    size_t bytes = slices << SLICE_SHIFT;
    group->shortest = group->count == 0 ? bytes : min_size(group->shortest, bytes);
    group->longest = max_size(group->longest, bytes);
    group->count++;
    group->bytes += bytes;
}

RARE void region_statistics(struct region *region, struct region_statistics *out)
{
    memset(out, 0, sizeof *out);
    lock_acquire(&region->growth);
    lock_acquire(&region->lock);
    size_t count = load_relaxed(region->count), length, top = 0; /* slices at the end with nothing live */
    for (size_t i = 0; i < count; i += length) {
        const struct slice *head = &region->map[i];
        bool live = true;
        length = run_length(head);
        switch (run_kind(head)) {
        case RUN_SLAB: live = count_slab(head, out); break;
        case RUN_MEDIUM:
            out->medium++;
            out->medium_bytes += length << SLICE_SHIFT;
            break;
        case RUN_CACHED: out->dirty_bytes += length << SLICE_SHIFT; __attribute__((fallthrough));
        case RUN_FREE:
        case RUN_PURGING:
        case RUN_DETACHED:
            count_free_run(length, out);
            live = false;
            break;
        case RUN_FOREIGN:
        case RUN_INSIDE: break;
        }
        top = live ? 0 : top + length;
    }
    out->system = region->system;
    out->system_peak = region->system_peak;
    out->dirty_bytes += region->dirty_slices << SLICE_SHIFT;
    out->returned = region->discarded;
    if (count != 0) {
        uintptr_t whole = region->base + (count << SLICE_SHIFT);
        out->foreign = region->end - region->base - region->system;
        out->margin = region->end > whole ? region->end - whole : 0;
        out->top = (top << SLICE_SHIFT) + out->margin;
    }
    lock_release(&region->lock);
    lock_release(&region->growth);
}

RARE size_t statistics_run_bytes(const struct region_statistics *statistics)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < RUN_GROUPS; i++)
        bytes += statistics->free_runs[i].bytes;
    return bytes;
}

RARE size_t statistics_pieces(const struct region_statistics *statistics)
{
    size_t pieces = statistics->unformed_slabs + (statistics->margin != 0 && statistics->top == statistics->margin);
    for (unsigned i = 0; i < RUN_GROUPS; i++)
        pieces += statistics->free_runs[i].count;
    return pieces;
}

RARE size_t statistics_free(const struct region_statistics *statistics)
{
    return statistics_run_bytes(statistics) + statistics->small_free_bytes + statistics->unformed_bytes +
           statistics->margin;
}

/* ---- all regions ---- */

static void stats_add_region(struct brim_stats *stats, const struct region_statistics *region)
{
    stats->heap += region->system;
    stats->heap_peak += region->system_peak;
    stats->free += statistics_free(region);
    stats->free_dirty += region->dirty_bytes;
    stats->runs += region->medium;
    stats->runs_live += region->medium_bytes;
    stats->foreign += region->foreign;
    stats->returned += region->returned;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct class_count *count = &region->classes[i];
        struct brim_class_stats *row = &stats->by_class[i];
        row->slabs += count->slabs;
        row->live += count->formed - count->free;
        row->free += count->free;
        row->unformed += count->slabs * size_classes[i].capacity - count->formed;
    }
}

RARE void stats_gather(struct brim_stats *stats)
{
    static_assert(CLASS_COUNT <= BRIM_STATS_CLASSES, "there is a row for each class");
    memset(stats, 0, sizeof *stats);
    stats->regions = load_acquire(region_count);
    for (size_t i = 0; i < stats->regions; i++) {
        struct region_statistics statistics;
        region_statistics(&regions[i], &statistics);
        stats_add_region(stats, &statistics);
        lock_acquire(&regions[i].growth);
        stats->metadata += region_metadata(&regions[i]);
        if (regions[i].is_break) {
            stats->break_base = regions[i].base;
            stats->break_end = regions[i].end;
            stats->break_blocked = regions[i].blocked;
            stats->break_top = statistics.top;
        }
        lock_release(&regions[i].growth);
    }
    stats->live = stats->heap - stats->free;
    stats->purge_budget = region_purge_budget();
    struct mapping_totals mapped = mapping_totals();
    stats->mappings = mapped.count;
    stats->mapped = mapped.bytes;
    stats->mappings_peak = mapped.count_peak;
    stats->mapped_peak = mapped.bytes_peak;
    stats->arenas = arena_count();
    struct guard_totals guarded = guard_totals();
    stats->guard_slots = guarded.slots;
    stats->guard_live = guarded.live;
    stats->guard_taken = guarded.taken;
    stats->metadata += mapped.table_bytes + guarded.metadata_bytes + stats->arenas * sizeof(struct arena);
    stats->classes = CLASS_COUNT;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        struct brim_class_stats *row = &stats->by_class[i];
        row->block_size = size_classes[i].block_size;
        row->slab_size = size_classes[i].slices * SLICE_SIZE;
        row->waste = row->slabs * row->slab_size - row->live * row->block_size;
    }
}

COLD_EXPORT int brim_stats_get(struct brim_stats *stats, size_t size)
{
    if (!stats)
        return EINVAL;
    struct brim_stats all;
    stats_gather(&all);
    memset(stats, 0, size);
    memcpy(stats, &all, min_size(size, sizeof all));
    return 0;
}

/* ---- arenas ---- */

static void arenas_add_slab(const struct slice *slab, struct brim_arena_stats *rows, size_t first, size_t count)
{
    uint64_t remote = load_acquire(slab->remote);
    size_t at = REMOTE_ID(remote) - first;
    if (at >= count)
        return;
    size_t size = slab_class(slab)->block_size, formed = load_relaxed(slab->formed);
    size_t free_blocks = slab_count_free(slab, formed);
    rows[at].slabs++;
    rows[at].live += (formed - free_blocks) * size;
    rows[at].free += slab_class(slab)->slices * SLICE_SIZE - (formed - free_blocks) * size;
    rows[at].remote_free += REMOTE_COUNT(remote) * size;
}

COLD_EXPORT size_t brim_stats_arenas(struct brim_arena_stats *rows, size_t first, size_t count)
{
    size_t total = arena_count() + (size_t)1;
    count = first < total ? min_size(count, total - first) : 0;
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct brim_arena_stats){
            .id = first + i,
            .in_use = first + i != 0 && load_relaxed(arena_by_id((uint32_t)(first + i))->state) == ARENA_ACTIVE};
    for (size_t at = 0; count != 0 && at < load_acquire(region_count); at++) {
        struct region *region = &regions[at];
        lock_acquire(&region->lock);
        for (size_t i = 0, length; i < load_relaxed(region->count); i += length) {
            length = run_length(&region->map[i]);
            if (run_kind(&region->map[i]) == RUN_SLAB)
                arenas_add_slab(&region->map[i], rows, first, count);
        }
        lock_release(&region->lock);
    }
    return total;
}

/* Calls for all arenas, some at a time, with `row` at each. */
enum { ARENA_BATCH = 32 };
#define FOR_ARENAS(row)                                                                                                \
    for (size_t first_ = 0, total_ = 1; first_ < total_; first_ += ARENA_BATCH)                                        \
        for (struct brim_arena_stats rows_[ARENA_BATCH],                                                               \
             *row = (total_ = brim_stats_arenas(rows_, first_, ARENA_BATCH), rows_);                                   \
             row < rows_ + min_size(ARENA_BATCH, total_ - first_); row++)

/* ---- text ---- */


static const char *limit_text(size_t limit, char text[static 24])
{
    if (limit == SIZE_MAX)
        return "no limit";
    snprintf(text, 24, "%zu", limit);
    return text;
}

RARE void print_text(struct print *out, const struct brim_stats *stats)
{
    char limit[24];
    print(out, "brim: statistics of process %d, in bytes\n", (int)getpid());
    print(out, "  heap       %12zu, peak %zu: live %zu, free %zu (in resident runs of pages up to %zu)\n", stats->heap,
          stats->heap_peak, stats->live, stats->free, stats->free_dirty);
    print(out, "  break      %#zx to %#zx, free at the top %zu, foreign %zu%s; %zu other regions\n", stats->break_base,
          stats->break_end, stats->break_top, stats->foreign, stats->break_blocked ? ", blocked" : "",
          stats->regions > 1 ? stats->regions - 1 : 0);
    print(out, "  given back %12zu; free memory that may be kept: %s\n", stats->returned,
          limit_text(stats->purge_budget, limit));
    print(out, "  mappings   %12zu in %zu, peak %zu in %zu\n", stats->mapped, stats->mappings, stats->mapped_peak,
          stats->mappings_peak);
    print(out, "  runs       %12zu in %zu\n", stats->runs_live, stats->runs);
    print(out, "  metadata   %12zu\n", stats->metadata);
    if (stats->guard_slots != 0)
        print(out, "  guarded    %12zu live in %zu slots, %zu since the start\n", stats->guard_live, stats->guard_slots,
              stats->guard_taken);
    print(out, "  %8s %8s %10s %10s %10s %12s\n", "class", "slabs", "live", "free", "unformed", "waste");
    for (size_t i = 0; i < stats->classes; i++) {
        const struct brim_class_stats *row = &stats->by_class[i];
        if (row->slabs != 0)
            print(out, "  %8zu %8zu %10zu %10zu %10zu %12zu\n", row->block_size, row->slabs, row->live, row->free,
                  row->unformed, row->waste);
    }
    print(out, "  %8s %8s %8s %12s %12s %12s\n", "arena", "", "slabs", "live", "free", "remote free");
    FOR_ARENAS(row) {
        const char *state = row->id == 0 ? "nobody's" : row->in_use ? "in use" : "idle";
        print(out, "  %8zu %8s %8zu %12zu %12zu %12zu\n", row->id, state, row->slabs, row->live, row->free,
              row->remote_free);
    }
}

/* ---- JSON ---- */

RARE void print_json(struct print *out, const struct brim_stats *stats)
{
    print(out,
          "{\"pid\":%d,\"heap\":{\"bytes\":%zu,\"peak\":%zu,\"live\":%zu,\"free\":%zu,\"free_dirty\":%zu,"
          "\"regions\":%zu},",
          (int)getpid(), stats->heap, stats->heap_peak, stats->live, stats->free, stats->free_dirty, stats->regions);
    print(out, "\"break\":{\"base\":%zu,\"end\":%zu,\"top\":%zu,\"foreign\":%zu,\"blocked\":%s},", stats->break_base,
          stats->break_end, stats->break_top, stats->foreign, stats->break_blocked ? "true" : "false");
    print(out, "\"purge\":{\"returned\":%zu,\"budget\":", stats->returned);
    if (stats->purge_budget == SIZE_MAX)
        print(out, "null},"); /* no limit; the number itself is more than JSON's readers can hold */
    else
        print(out, "%zu},", stats->purge_budget);
    print(out, "\"mappings\":{\"count\":%zu,\"bytes\":%zu,\"count_peak\":%zu,\"bytes_peak\":%zu},", stats->mappings,
          stats->mapped, stats->mappings_peak, stats->mapped_peak);
    print(out, "\"guarded\":{\"slots\":%zu,\"live\":%zu,\"taken\":%zu},", stats->guard_slots, stats->guard_live,
          stats->guard_taken);
    print(out, "\"runs\":{\"count\":%zu,\"live\":%zu},\"metadata\":%zu,\"classes\":[", stats->runs, stats->runs_live,
          stats->metadata);
    const char *separator = "";
    for (size_t i = 0; i < stats->classes; i++) {
        const struct brim_class_stats *row = &stats->by_class[i];
        if (row->slabs == 0)
            continue;
        print(out,
              "%s{\"block_size\":%zu,\"slab_size\":%zu,\"slabs\":%zu,\"live\":%zu,\"free\":%zu,\"unformed\":%zu,"
              "\"waste\":%zu}",
              separator, row->block_size, row->slab_size, row->slabs, row->live, row->free, row->unformed,
              row->waste);
        separator = ",";
    }
    print(out, "],\"arenas\":[");
    FOR_ARENAS(row)
        print(out, "%s{\"id\":%zu,\"in_use\":%s,\"slabs\":%zu,\"live\":%zu,\"free\":%zu,\"remote_free\":%zu}",
              row->id != 0 ? "," : "", row->id, row->in_use ? "true" : "false", row->slabs, row->live, row->free,
              row->remote_free);
    print(out, "]}\n");
}

COLD_EXPORT int brim_stats_print(int fd, int format)
{
    if (format != BRIM_STATS_TEXT && format != BRIM_STATS_JSON)
        return EINVAL;
    struct brim_stats stats;
    stats_gather(&stats);
    struct print out = {.fd = fd};
    if (format == BRIM_STATS_JSON)
        print_json(&out, &stats);
    else
        print_text(&out, &stats);
    print_flush(&out);
    return 0;
}

/* ---- at exit ----
   Many programs close stderr before they end, and some open something else under its number: so the report goes to
   a copy of what stderr was when it was asked for, and only if that is still the same file. */

static struct {
    _Atomic int format;
    int copy; /* 0: none */
    dev_t device;
    ino_t file;
} exit_report;

static int stats_report_format(void) { return load_relaxed(exit_report.format); }

RARE void stats_report_at_exit(int format)
{
    enum { OUT_OF_THE_WAY = 100 }; /* programs that expect the lowest free number shall find it */
    int saved_errno = errno;
    struct stat stderr_now;
    if (format != 0 && exit_report.copy <= 0 && fstat(STDERR_FILENO, &stderr_now) == 0) {
        exit_report.device = stderr_now.st_dev;
        exit_report.file = stderr_now.st_ino;
        exit_report.copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    }
    store_relaxed(exit_report.format, format);
    errno = saved_errno;
}

static bool is_stderr_then(int fd)
{
    struct stat now;
    return fd > 0 && fstat(fd, &now) == 0 && now.st_dev == exit_report.device && now.st_ino == exit_report.file;
}

__attribute__((destructor(101), cold)) static void stats_at_exit(void)
{
    int format = stats_report_format();
    if (format == 0)
        return;
    if (is_stderr_then(exit_report.copy))
        brim_stats_print(exit_report.copy, format);
    else if (is_stderr_then(STDERR_FILENO))
        brim_stats_print(STDERR_FILENO, format);
}
