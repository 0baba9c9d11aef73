/* brim's statistics by API: what the fields say, beside blocks whose number and size are known, and that they can be
   asked for at any moment. */
#include "../api/blocks.h"
#include "../api/fresh.h"

#include <brim.h>
#include <pthread.h>
#include <stdatomic.h>

CONTRACT_OF(statistics);

static struct brim_stats stats_now(void)
{
    struct brim_stats stats;
    check(brim_stats_get(&stats, sizeof stats) == 0);
    return stats;
}

static const struct brim_class_stats *class_of(const struct brim_stats *stats, size_t size)
{
    for (size_t i = 0; i < stats->classes; i++)
        if (stats->by_class[i].block_size == size)
            return &stats->by_class[i];
    check(!"there is such a class");
    return NULL;
}

/* What must hold at every moment in which only this thread allocates. */
static void check_sums(const struct brim_stats *stats)
{
    struct mallinfo2 info = mallinfo2();
    check(stats->heap == info.arena && stats->live == info.uordblks && stats->free == info.fordblks);
    check(stats->live + stats->free == stats->heap && stats->heap <= stats->heap_peak);
    check(stats->mappings + stats->guard_live == info.hblks);
    check(stats->mapped + stats->guard_live * page_size() == info.hblkhd);
    check(stats->mappings <= stats->mappings_peak && stats->mapped <= stats->mapped_peak);
    check(stats->break_end - stats->break_base >= stats->heap + stats->foreign || stats->regions > 1);
    check(stats->classes > 10 && stats->classes <= BRIM_STATS_CLASSES);
    size_t slabs = 0, live = 0, of_arenas = 0, live_of_arenas = 0;
    for (size_t i = 0; i < stats->classes; i++) {
        const struct brim_class_stats *row = &stats->by_class[i];
        check(i == 0 || row->block_size > row[-1].block_size);
        size_t blocks = row->live + row->free + row->unformed;
        check(blocks == row->slabs * (row->slab_size / row->block_size));
        check(row->waste == row->slabs * row->slab_size - row->live * row->block_size);
        slabs += row->slabs;
        live += row->live * row->block_size;
    }
    check(live + stats->runs_live <= stats->live);
    struct brim_arena_stats row;
    for (size_t first = 0, count = 1; first < count; first++) {
        count = brim_stats_arenas(&row, first, 1);
        check(row.id == first && row.remote_free <= row.free);
        of_arenas += row.slabs;
        live_of_arenas += row.live;
        check(count == stats->arenas + 1);
    }
    check(of_arenas == slabs && live_of_arenas == live);
}

FRESH(guarded_blocks)
{
    struct brim_stats stats = stats_now();
    check(stats.guard_slots == 0 && stats.guard_live == 0 && stats.guard_taken == 0);
    check(brim_option_set("sample_guard_slots", 30) == 0 && brim_option_set("sample_guard", 1) == 0);
    void *blocks[20];
    for (int i = 0; i < 20; i++)
        blocks[i] = malloc(100);
    for (int i = 0; i < 7; i++)
        free(blocks[i]);
    check(brim_option_set("sample_guard", 0) == 0);
    stats = stats_now();
    check(stats.guard_slots == 30 && stats.guard_live == 13 && stats.guard_taken == 20);
    check_sums(&stats);
    for (int i = 7; i < 20; i++)
        free(blocks[i]);
    check(stats_now().guard_live == 0 && stats_now().guard_taken == 20);
}

FRESH(small_blocks)
{
    enum { COUNT = 1000, SIZE = 1000 };
    static void *blocks[COUNT];
    struct brim_stats before = stats_now();
    check_sums(&before);
    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(SIZE);
    struct brim_stats full = stats_now();
    check_sums(&full);
    /* All blocks of this size; a few of those that were borrowed from a larger class's slab may be elsewhere. */
    check(class_of(&full, 1024)->live >= class_of(&before, 1024)->live + COUNT);
    check(full.live >= before.live + COUNT * SIZE);
    for (int i = 0; i < COUNT; i += 2)
        free(blocks[i]);
    struct brim_stats half = stats_now();
    check_sums(&half);
    check(class_of(&full, 1024)->live - class_of(&half, 1024)->live == COUNT / 2);
    check(class_of(&half, 1024)->free + class_of(&half, 1024)->unformed >= COUNT / 2);
    check(half.free >= full.free + COUNT / 2 * SIZE - 64 * KIB);
    for (int i = 1; i < COUNT; i += 2)
        free(blocks[i]);
    struct brim_stats after = stats_now();
    check_sums(&after);
    check(class_of(&after, 1024)->live == class_of(&before, 1024)->live);
    check(after.heap_peak >= full.heap);
}

FRESH(large_blocks)
{
    check(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    struct brim_stats before = stats_now();
    check(before.purge_budget == SIZE_MAX);
    void *run = malloc(100000), *mapping = malloc(10 * MIB);
    struct brim_stats held = stats_now();
    check_sums(&held);
    check(held.runs == before.runs + 1 && held.runs_live >= before.runs_live + 100000);
    check(held.mappings == before.mappings + 1 && held.mapped >= before.mapped + 10 * MIB);
    free(mapping);
    free(run);
    struct brim_stats after = stats_now();
    check_sums(&after);
    check(after.runs == before.runs && after.runs_live == before.runs_live);
    check(after.mappings == before.mappings && after.mapped == before.mapped);
    check(after.mapped_peak >= 10 * MIB && after.mappings_peak >= 1);
    check(after.break_top >= 100000 && after.free_dirty >= 100000);
    check(malloc_trim(0) == 1);
    struct brim_stats trimmed = stats_now();
    check_sums(&trimmed);
    check(trimmed.returned > after.returned && trimmed.break_end < after.break_end);
    check(trimmed.break_end == (size_t)sbrk(0));
}

FRESH(somebody_elses_break)
{
    check(malloc(100));
    struct brim_stats before = stats_now();
    check(sbrk(300000) != (void *)-1);
    for (int i = 0; i < 3000; i++)
        check(malloc(1000));
    struct brim_stats after = stats_now();
    check_sums(&after);
    check(after.foreign >= before.foreign + 300000 && after.heap >= 3000000);
    check(after.break_end - after.break_base == after.heap + after.foreign);
}

Test(statistics, tell_blocks)
{
    expect_fresh(small_blocks);
    expect_fresh(large_blocks);
    expect_fresh(somebody_elses_break);
    expect_fresh(guarded_blocks);
}

/* Blocks of a thread, freed by another. */
enum { THREAD_BLOCKS = 3000 };
static void *of_thread[THREAD_BLOCKS];
static pthread_barrier_t barrier;

static void *allocate_and_wait(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < THREAD_BLOCKS; i++)
        of_thread[i] = malloc(500);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

FRESH(arenas_of_threads)
{
    pthread_t thread;
    struct brim_arena_stats rows[8];
    pthread_barrier_init(&barrier, NULL, 2);
    check(malloc(1));
    check(pthread_create(&thread, NULL, allocate_and_wait, NULL) == 0);
    pthread_barrier_wait(&barrier);
    check(brim_stats_arenas(rows, 0, 8) == 3);
    check(rows[1].in_use && rows[2].in_use && rows[0].id == 0 && rows[2].id == 2);
    check(rows[0].live + rows[2].live >= THREAD_BLOCKS * 500);
    struct brim_stats held = stats_now();
    check_sums(&held);
    for (size_t i = 0; i < THREAD_BLOCKS; i++)
        free(of_thread[i]);
    struct brim_stats freed = stats_now();
    check_sums(&freed);
    check(freed.live + THREAD_BLOCKS * 500 <= held.live);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    check(brim_stats_arenas(rows, 0, 8) == 3);
    check(rows[1].in_use && !rows[2].in_use);
    /* Rows beyond the last are untouched; only those asked for are written. */
    rows[1].id = 99;
    check(brim_stats_arenas(rows, 2, 1) == 3 && rows[0].id == 2 && rows[1].id == 99);
    check(brim_stats_arenas(rows, 3, 8) == 3 && rows[0].id == 2);
}

Test(statistics, tell_arenas)
{
    expect_fresh(arenas_of_threads);
}

FRESH(of_another_version)
{
    unsigned char bytes[sizeof(struct brim_stats) + 64];
    struct brim_stats stats = stats_now();
    memset(bytes, 0xee, sizeof bytes);
    check(brim_stats_get((struct brim_stats *)(void *)bytes, 16) == 0);
    check(memcmp(bytes, &stats, 16) == 0 && first_other_than(bytes + 16, sizeof bytes - 16, 0xee) == sizeof bytes - 16);
    /* A program of a later version than the library: what the library does not know is 0. */
    check(brim_stats_get((struct brim_stats *)(void *)bytes, sizeof bytes) == 0);
    check(memcmp(bytes, &stats, sizeof stats) == 0 && first_other_than(bytes + sizeof stats, 64, 0) == 64);
    check(brim_stats_get(NULL, 0) == EINVAL);
    check(brim_stats_print(1, 0) == EINVAL && brim_stats_print(1, 3) == EINVAL);
}

Test(statistics, keep_to_the_size_that_is_passed)
{
    expect_fresh(of_another_version);
}

/* Asked for all the time, in every form, while threads allocate, hand over, end and begin: sums are sums. */
static atomic_int stop, ended;
static _Atomic(void *) handed_over[64];

static void *churn(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 20000 && !stop; i++) {
        state = state * 1103515245u + 12345u;
        void *block = malloc(1 + (state >> 16) % ((state >> 4) % 64 ? 2000 : 200000));
        free(atomic_exchange(&handed_over[(state >> 8) % 64], block));
    }
    return NULL;
}

static void *churn_in_many_threads(void *unused)
{
    (void)unused;
    for (uintptr_t seed = 1; !stop; seed++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, churn, (void *)seed) == 0);
        pthread_join(thread, NULL);
        ended++;
    }
    return NULL;
}

FRESH(any_moment)
{
    enum { THREADS = 3, ENDED = 150, ROUNDS = 100 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, churn_in_many_threads, NULL) == 0);
    int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    FILE *file = fopen("/dev/null", "w");
    for (int round = 0; round < ROUNDS || ended < ENDED; round++) {
        struct brim_stats stats = stats_now();
        struct brim_arena_stats rows[4];
        check(stats.live + stats.free == stats.heap);
        for (size_t i = 0; i < stats.classes; i++) {
            const struct brim_class_stats *row = &stats.by_class[i];
            check(row->live + row->free + row->unformed == row->slabs * (row->slab_size / row->block_size));
        }
        struct mallinfo2 info = mallinfo2();
        check(info.uordblks + info.fordblks == info.arena);
        check(brim_stats_arenas(rows, 0, 4) >= 2);
        check(brim_stats_print(sink, round % 2 ? BRIM_STATS_JSON : BRIM_STATS_TEXT) == 0);
        check(malloc_info(0, file) == 0);
        if (round % 50 == 0)
            malloc_trim(0);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    fclose(file);
    close(sink);
}

Test(statistics, can_be_asked_for_at_any_moment)
{
    expect_fresh(any_moment);
}
