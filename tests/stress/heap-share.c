/* heap-share.c: threads and processes allocate from one heap, pass blocks to each other through a board that is in
   the heap itself, and free what they receive; processes are killed meanwhile, at any instruction. Afterwards every
   block on the board is whole, the heap is right in every respect, and nothing is lost but what a killed thread had in
   its hand.

   heap-share threads KIND [THREADS [STEPS]]     KIND: private, family, file, locked
   heap-share kill KIND [KILLS]                  KIND: family, file */
#include "stress.h"

#include <brim.h>
#include <sys/mman.h>

enum { MAIL = 64, SLOTS = 24, SEATS = 16, PROCESSES = 3, THREADS = 2, IN_HAND = 3 };

/* A block names its size and repeats a number over it. */
struct parcel {
    uint64_t size, number, words[];
};

struct board {
    _Atomic brim_offset mail[MAIL];
    _Atomic brim_offset slots[SEATS][SLOTS];
};

static struct brim_heap *heap;
static struct board *board;
static char path[64];
static enum brim_heap_kind kind;

static struct brim_heap *open_heap(void)
{
    struct brim_heap_options options = {.size = sizeof options, .kind = kind, .limit = (size_t)4 << 30};
    if (kind == BRIM_HEAP_FILE) {
        options.path = path;
        options.flags = BRIM_HEAP_OR_OPEN;
    }
    struct brim_heap *opened = brim_heap_create(&options);
    if (!opened)
        fail("no heap: %s (errno %d)", brim_heap_strerror(brim_heap_error()), errno);
    return opened;
}

static void check_heap(void)
{
    char fault[200];
    if (brim_heap_check(heap, fault, sizeof fault) != 0)
        fail("%s", fault);
}

/* ---- parcels ---- */

static struct parcel *parcel_new(struct random *random)
{
    size_t size = random_usual_size(random, 256 * KIB);
    if (size < sizeof(struct parcel))
        size = sizeof(struct parcel);
    struct parcel *parcel = brim_heap_malloc(heap, size);
    require(parcel && brim_heap_usable_size(heap, parcel) >= size);
    parcel->size = size;
    parcel->number = random_next(random);
    for (size_t i = 0; i < (size - sizeof *parcel) / sizeof(uint64_t); i++)
        parcel->words[i] = parcel->number;
    return parcel;
}

static void parcel_verify(const struct parcel *parcel)
{
    require(parcel->size >= sizeof *parcel && parcel->size <= 256 * KIB);
    for (size_t i = 0; i < (parcel->size - sizeof *parcel) / sizeof(uint64_t); i++)
        require(parcel->words[i] == parcel->number);
}

static void parcel_end(struct parcel *parcel)
{
    parcel_verify(parcel);
    brim_heap_free(heap, parcel);
}

/* ---- work ---- */

static void step(struct random *random, size_t seat)
{
    _Atomic brim_offset *place = random_below(random, 3) == 0
                                     ? &board->mail[random_below(random, MAIL)]
                                     : &board->slots[seat][random_below(random, SLOTS)];
    struct parcel *parcel = random_below(random, 2) == 0 ? parcel_new(random) : NULL;
    struct parcel *got = brim_heap_pointer(heap, atomic_exchange(place, brim_heap_offset(heap, parcel)));
    if (got && random_below(random, 8) == 0) {
        parcel_verify(got);
        got = brim_heap_realloc(heap, got, got->size);
        require(got);
    }
    if (got)
        parcel_end(got);
}

struct worker {
    pthread_t thread;
    size_t seat, steps;
    uint64_t stream;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct random random = random_stream(worker->stream);
    for (size_t i = 0; i < worker->steps; i++)
        step(&random, worker->seat);
    return NULL;
}

/* ---- the count ---- */

static size_t on_board(void)
{
    size_t count = 0;
    for (size_t i = 0; i < MAIL; i++) {
        const struct parcel *parcel = brim_heap_pointer(heap, board->mail[i]);
        if (parcel)
            parcel_verify(parcel), count++;
    }
    for (size_t seat = 0; seat < SEATS; seat++)
        for (size_t i = 0; i < SLOTS; i++) {
            const struct parcel *parcel = brim_heap_pointer(heap, board->slots[seat][i]);
            if (parcel)
                parcel_verify(parcel), count++;
        }
    return count;
}

static bool is_on_board(const void *block)
{
    brim_offset offset = brim_heap_offset(heap, block);
    for (size_t i = 0; i < MAIL; i++)
        if (board->mail[i] == offset)
            return true;
    for (size_t seat = 0; seat < SEATS; seat++)
        for (size_t i = 0; i < SLOTS; i++)
            if (board->slots[seat][i] == offset)
                return true;
    return block == board;
}

struct lost {
    void *blocks[SEATS * IN_HAND];
    size_t count;
};

static int find_lost(void *block, size_t size, void *argument)
{
    (void)size;
    struct lost *lost = argument;
    if (!is_on_board(block)) {
        require(lost->count < SEATS * IN_HAND);
        lost->blocks[lost->count++] = block;
    }
    return 0;
}

/* Counts, and frees, what is neither on the board nor the board. */
static size_t free_lost(void)
{
    struct lost lost = {.count = 0};
    require(brim_heap_walk(heap, find_lost, &lost) == 0);
    for (size_t i = 0; i < lost.count; i++)
        brim_heap_free(heap, lost.blocks[i]);
    return lost.count;
}

static void find_board(void)
{
    board = brim_heap_root(heap);
    if (board)
        return;
    board = brim_heap_calloc(heap, 1, sizeof *board);
    require(board && brim_heap_set_root(heap, board) == 0);
}

static void clear_board(void)
{
    for (size_t i = 0; i < MAIL; i++)
        brim_heap_free(heap, brim_heap_pointer(heap, board->mail[i]));
    for (size_t seat = 0; seat < SEATS; seat++)
        for (size_t i = 0; i < SLOTS; i++)
            brim_heap_free(heap, brim_heap_pointer(heap, board->slots[seat][i]));
    brim_heap_free(heap, board);
    struct brim_heap_stats stats;
    require(brim_heap_stats(heap, &stats, sizeof stats) == 0);
    require(stats.blocks == 0 && stats.live == 0);
    check_heap();
}

/* ---- the two modes ---- */

static void threads(size_t count, size_t steps)
{
    require(count <= SEATS);
    heap = open_heap();
    find_board();
    struct worker workers[SEATS];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < count; i++) {
            workers[i] = (struct worker){.seat = i, .steps = steps / 4, .stream = (uint64_t)round * 100 + i};
            require(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
        }
        for (size_t i = 0; i < count; i++)
            pthread_join(workers[i].thread, NULL);
        check_heap();
        struct brim_heap_stats stats;
        require(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == on_board() + 1);
    }
    clear_board();
    require(brim_heap_destroy(heap) == 0);
}

static void killed_child(size_t place, uint64_t stream)
{
    if (kind == BRIM_HEAP_FILE) {
        heap = open_heap();
        board = brim_heap_root(heap);
        require(board);
    }
    struct worker workers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.seat = place * THREADS + i, .steps = SIZE_MAX, .stream = stream * THREADS + i};
        if (i != 0)
            require(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    work(&workers[0]);
}

static void sleep_us(size_t us)
{
    struct timespec time = {0, (long)us * 1000};
    nanosleep(&time, NULL);
}

static void kills(size_t count)
{
    struct random random = random_stream(0);
    uint64_t stream = 1;
    size_t lost = 0, killed = 0;
    if (kind != BRIM_HEAP_FILE)
        heap = open_heap();
    while (killed < count) {
        if (kind == BRIM_HEAP_FILE)
            heap = open_heap();
        find_board();
        check_heap();
        size_t here = free_lost();
        require(here <= PROCESSES * THREADS * IN_HAND);
        lost += here;
        on_board();
        check_heap();
        if (kind == BRIM_HEAP_FILE)
            brim_heap_close(heap);
        pid_t children[PROCESSES];
        for (size_t i = 0; i < PROCESSES; i++) {
            children[i] = fork();
            require(children[i] >= 0);
            if (children[i] == 0) {
                killed_child(i, stream + i);
                _exit(3);
            }
        }
        stream += PROCESSES;
        for (size_t i = 0; i < PROCESSES; i++) {
            sleep_us(random_below(&random, 4) == 0 ? random_below(&random, 40000) : random_below(&random, 4000));
            require(kill(children[i], SIGKILL) == 0);
            int status;
            /* The others go on; so the dead one is reaped at once or when they have had their time. */
            if (random_below(&random, 2) == 0)
                sleep_us(random_below(&random, 2000));
            require(waitpid(children[i], &status, 0) == children[i]);
            if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                fail("a child ended by itself, status %x", (unsigned)status);
            killed++;
        }
    }
    if (kind == BRIM_HEAP_FILE)
        heap = open_heap();
    check_heap();
    free_lost();
    find_board();
    struct brim_heap_stats stats;
    require(brim_heap_stats(heap, &stats, sizeof stats) == 0 && stats.blocks == on_board() + 1);
    printf("%zu kills, %zu recoveries, %zu blocks were in hand, the heap is %zu KiB\n", killed, stats.recovered, lost,
           stats.heap / KIB);
    clear_board();
    require(brim_heap_destroy(heap) == 0);
}

int main(int count, char **arguments)
{
    static const char *const names[] = {NULL, "private", "family", "file", NULL, "locked"};
    if (count < 3)
        fail("heap-share threads|kill KIND [...]");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i] && strcmp(names[i], arguments[2]) == 0)
            kind = (enum brim_heap_kind)i;
    require(kind != 0);
    snprintf(path, sizeof path, "/tmp/brim-heap-share-%d", (int)getpid());
    unlink(path);
    if (strcmp(arguments[1], "kill") == 0)
        kills(argument(count, arguments, 3, 300));
    else
        threads(argument(count, arguments, 3, 4), argument(count, arguments, 4, 200000));
    unlink(path);
    return 0;
}
