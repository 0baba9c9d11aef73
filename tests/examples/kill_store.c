/* kill_store: kills writers of a store (store.h) at random moments, and looks at what is left: every operation that was
   completed must be there, the one that was under way must be done or not, and the heap must be right.

     kill_store FILE [ROUNDS [SEED]]

   In each round one writer works and is killed, or three, each on keys of its own: they are killed one after the other,
   and those that are left go on with what the first one leaves. Then all is judged. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "store.h"

enum { WRITERS = 3, KEYS = 32 };

/* What a writer has done, in memory that outlives it. */
struct journal {
    unsigned long version[KEYS]; /* of the last completed operation on the key; 0: there is none */
    int pending;                 /* the key of the operation under way, or -1 */
    unsigned long pending_version;
    unsigned long operations, last_version;
};

static uint64_t mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
    n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
    return n ^ (n >> 31);
}

static uint64_t random_state;
static uint64_t random_below(uint64_t limit) { return mix(random_state += 0x9e3779b97f4a7c15) % limit; }

/* ---- values: each follows from its version ---- */

static char value_bytes[400000];

static size_t make_value(unsigned long version)
{
    uint64_t chance = mix(version);
    /* Mostly small, some of several slices: slabs and runs, in steps that make both grow and shrink. */
    size_t length = chance % 8 == 0 ? chance / 8 % sizeof value_bytes : chance / 8 % 3000;
    for (size_t i = 0; i < length; i++)
        value_bytes[i] = (char)(version * 131 + i * 7 + (i >> 8));
    return length;
}

static const char *key_name(int writer, int key)
{
    static char name[32];
    snprintf(name, sizeof name, "key %d of %d", key, writer);
    return name;
}

/* ---- the writer ---- */

static _Noreturn void write_until_killed(const char *path, struct journal *journal, int writer)
{
    struct store store;
    store_open(&store, path);
    for (;;) {
        int key = (int)random_below(KEYS);
        bool deleting = random_below(4) == 0;
        unsigned long version = deleting ? 0 : (journal->last_version += WRITERS); /* no two writers have the same */
        size_t length = deleting ? 0 : make_value(version);
        journal->pending_version = version;
        atomic_signal_fence(memory_order_seq_cst);
        journal->pending = key;
        atomic_signal_fence(memory_order_seq_cst);
        if (deleting)
            store_delete(&store, key_name(writer, key));
        else if (!store_put(&store, key_name(writer, key), value_bytes, length))
            fail_heap("put");
        atomic_signal_fence(memory_order_seq_cst);
        journal->version[key] = version;
        atomic_signal_fence(memory_order_seq_cst);
        journal->pending = -1;
        journal->operations++;
    }
}

/* ---- the judge ---- */

static int count_block(void *block, size_t size, void *argument)
{
    (void)block, (void)size;
    ++*(size_t *)argument;
    return 0;
}

static bool has_version(struct store *store, const char *key, unsigned long version)
{
    size_t length = 0, expected = version ? make_value(version) : 0;
    char *value = store_get(store, key, &length);
    bool same = version ? value && length == expected && memcmp(value, value_bytes, length) == 0 : !value;
    free(value);
    return same;
}

/* Returns how many blocks the killed writers had left behind. */
static size_t judge(const char *path, struct journal *journals, unsigned long kills)
{
    struct store store;
    store_open(&store, path);
    char fault[200];
    if (brim_heap_check(store.heap, fault, sizeof fault) != 0)
        fail("after %lu kills the heap is wrong: %s", kills, fault);
    size_t keys = 0;
    for (int writer = 0; writer < WRITERS; writer++) {
        struct journal *journal = &journals[writer];
        for (int key = 0; key < KEYS; key++) {
            const char *name = key_name(writer, key);
            if (!has_version(&store, name, journal->version[key])) {
                if (key != journal->pending || !has_version(&store, name, journal->pending_version))
                    fail("after %lu kills %s has not the value of its last operation", kills, name);
                journal->version[key] = journal->pending_version;
            }
            keys += journal->version[key] != 0;
        }
        journal->pending = -1;
    }
    size_t blocks = 0;
    if (brim_heap_walk(store.heap, count_block, &blocks) != 0)
        fail_heap("walk");
    if (blocks != keys + 1) /* and the table */
        fail("after %lu kills there are %zu blocks for %zu keys", kills, blocks, keys);
    store_close(&store);
    return store.swept;
}

static void wait_for_kill(pid_t writer)
{
    int status;
    kill(writer, SIGKILL);
    while (waitpid(writer, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid: %s", strerror(errno));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail("a writer ended by itself, status %#x", (unsigned)status);
}

static void sleep_for_up_to(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)random_below((uint64_t)microseconds * 1000)}, NULL);
}

int main(int count, char **arguments)
{
    if (count < 2)
        fail("usage: kill_store FILE [ROUNDS [SEED]]");
    unsigned long rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 1000;
    random_state = count > 3 ? strtoul(arguments[3], NULL, 10) : 1;
    size_t journal_bytes = WRITERS * sizeof(struct journal);
    struct journal *journals = mmap(NULL, journal_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (journals == MAP_FAILED)
        fail("no memory");
    for (int i = 0; i < WRITERS; i++) {
        journals[i].pending = -1;
        journals[i].last_version = (unsigned long)i + 1;
    }

    unsigned long kills = 0, operations = 0;
    size_t swept = 0, in_the_middle = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        int number = round % 4 == 3 ? WRITERS : 1, first = (int)random_below(WRITERS);
        pid_t writers[WRITERS];
        for (int i = 0; i < number; i++) {
            int writer = (first + i) % WRITERS;
            random_state += round + 1;
            writers[i] = fork();
            if (writers[i] < 0)
                fail("fork: %s", strerror(errno));
            if (writers[i] == 0)
                write_until_killed(arguments[1], &journals[writer], writer);
        }
        for (int i = 0; i < number; i++, kills++) {
            sleep_for_up_to(i == 0 ? 5000 : 1000);
            wait_for_kill(writers[i]);
        }
        for (int i = 0; i < WRITERS; i++)
            in_the_middle += journals[i].pending >= 0;
        swept += judge(arguments[1], journals, kills);
    }

    struct store store;
    struct brim_heap_stats stats;
    store_open(&store, arguments[1]);
    brim_heap_stats(store.heap, &stats, sizeof stats);
    for (int i = 0; i < WRITERS; i++)
        operations += journals[i].operations;
    printf("%lu rounds, %lu kills, %lu operations, %zu of them interrupted; %zu blocks swept; %zu processes recovered; "
           "%zu KiB\n",
           rounds, kills, operations, in_the_middle, swept, stats.recovered, stats.heap / 1024);
    store_close(&store);
    return 0;
}
