/* store.h: keys and values in a file, that a kill -9 at any instruction leaves whole.

   Who has the lock (flock of FILE.lock: it ends with its holder) may change the store. Each change is made ready beside
   it and takes effect by a single store of 8 bytes, so that whoever comes next finds the old state or the new one.
   What a killed writer can leave besides are blocks that nothing refers to: `writing` then still says so, and the next
   one frees what cannot be reached (store_sweep). */
#ifndef STORE_H
#define STORE_H

#include <brim.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "say.h"

typedef brim_ref(struct entry) entry_ref; /* one name: a brim_ref that is written out is a type of its own each time */

struct entry {
    entry_ref next;
    size_t key_length, value_length;
    char bytes[]; /* the key, then the value */
};

enum { BUCKETS = 1024 };

struct table { /* the root of the heap */
    _Atomic int writing;
    entry_ref buckets[BUCKETS];
};

struct store {
    struct brim_heap *heap;
    struct table *table;
    int lock;
    size_t swept; /* blocks that killed writers had left */
};

/* ---- what makes it safe ---- */

/* All that was written before can be seen by who sees this. */
static inline void publish(struct store *store, entry_ref *place, struct entry *entry)
{
    atomic_thread_fence(memory_order_release);
    *(volatile brim_offset *)&place->offset = brim_heap_offset(store->heap, entry);
}

struct reachable {
    struct store *store;
    void **blocks;
    size_t count;
};

static inline int compare_pointers(const void *a, const void *b)
{
    const void *const *left = a, *const *right = b;
    return (*left > *right) - (*left < *right);
}

static inline int free_unless_reachable(void *block, size_t size, void *argument)
{
    (void)size;
    struct reachable *reachable = argument;
    bool found = reachable->count > 0 &&
                 bsearch(&block, reachable->blocks, reachable->count, sizeof block, compare_pointers);
    if (!found) {
        brim_heap_free(reachable->store->heap, block);
        reachable->store->swept++;
    }
    return 0;
}

/* Puts down the entries, or only counts them where `blocks` is NULL. */
static inline size_t collect_entries(struct store *store, void **blocks)
{
    size_t count = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = brim_get(store->heap, store->table->buckets[i]); entry;
             entry = brim_get(store->heap, entry->next), count++)
            if (blocks)
                blocks[count] = entry;
    return count;
}

/* Frees every block that is neither the table nor an entry of it. Lock held. */
static inline void store_sweep(struct store *store)
{
    struct reachable reachable = {.store = store};
    if (store->table) {
        reachable.count = collect_entries(store, NULL) + 1;
        reachable.blocks = malloc(reachable.count * sizeof(void *));
        if (!reachable.blocks)
            fail("no memory");
        reachable.blocks[collect_entries(store, reachable.blocks)] = store->table;
        qsort(reachable.blocks, reachable.count, sizeof(void *), compare_pointers);
    }
    if (brim_heap_walk(store->heap, free_unless_reachable, &reachable) != 0)
        fail_heap("looking for lost blocks");
    free(reachable.blocks);
}

static inline void store_lock(struct store *store)
{
    while (flock(store->lock, LOCK_EX) != 0)
        if (errno != EINTR)
            fail("the lock of the store: %s", strerror(errno));
    if (store->table && atomic_load(&store->table->writing))
        store_sweep(store);
    if (store->table)
        atomic_store(&store->table->writing, 1);
}

static inline void store_unlock(struct store *store)
{
    atomic_store(&store->table->writing, 0);
    flock(store->lock, LOCK_UN);
}

/* ---- what it is for ---- */

static inline void store_open(struct store *store, const char *path)
{
    *store = (struct store){0};
    char lock_path[4096];
    if (snprintf(lock_path, sizeof lock_path, "%s.lock", path) >= (int)sizeof lock_path)
        fail("%s: the name is too long", path);
    store->lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock < 0)
        fail("%s: %s", lock_path, strerror(errno));
    store->heap = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options),
        .kind = BRIM_HEAP_FILE,
        .path = path,
        .flags = BRIM_HEAP_OR_OPEN,
    });
    if (!store->heap)
        fail_heap(path);
    store_lock(store);
    store->table = brim_heap_root(store->heap);
    if (!store->table) {
        store_sweep(store); /* a creator that was killed */
        store->table = brim_heap_calloc(store->heap, 1, sizeof *store->table);
        if (!store->table)
            fail_heap(path);
        atomic_store(&store->table->writing, 1);
        brim_heap_set_root(store->heap, store->table);
    } else if (atomic_load(&store->table->writing)) {
        store_sweep(store);
    }
    store_unlock(store);
}

static inline void store_close(struct store *store)
{
    brim_heap_close(store->heap);
    close(store->lock);
}

/* The place of the key's entry; if there is none, its bucket's first place, with `*entry` NULL. Lock held. */
static inline entry_ref *store_find(struct store *store, const char *key, size_t length, struct entry **entry)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)key[i]) * 0x100000001b3;
    entry_ref *first = &store->table->buckets[hash % BUCKETS];
    for (entry_ref *place = first; (*entry = brim_get(store->heap, *place)); place = &(*entry)->next)
        if ((*entry)->key_length == length && memcmp((*entry)->bytes, key, length) == 0)
            return place;
    return first;
}

/* False, and nothing has changed, if there is no room. */
static inline bool store_put(struct store *store, const char *key, const void *value, size_t length)
{
    size_t key_length = strlen(key);
    store_lock(store);
    struct entry *old, *entry = brim_heap_malloc(store->heap, sizeof *entry + key_length + length);
    if (entry) {
        entry_ref *place = store_find(store, key, key_length, &old);
        entry->next.offset = old ? old->next.offset : place->offset;
        entry->key_length = key_length;
        entry->value_length = length;
        memcpy(entry->bytes, key, key_length);
        memcpy(entry->bytes + key_length, value, length);
        publish(store, place, entry);
        brim_heap_free(store->heap, old);
    }
    store_unlock(store);
    return entry != NULL;
}

/* False if there is no such key. */
static inline bool store_delete(struct store *store, const char *key)
{
    struct entry *old;
    store_lock(store);
    entry_ref *place = store_find(store, key, strlen(key), &old);
    if (old) {
        publish(store, place, brim_get(store->heap, old->next));
        brim_heap_free(store->heap, old);
    }
    store_unlock(store);
    return old != NULL;
}

/* A copy of the value, to be freed by free; NULL if there is no such key. */
static inline void *store_get(struct store *store, const char *key, size_t *length)
{
    struct entry *entry;
    void *value = NULL;
    store_lock(store);
    store_find(store, key, strlen(key), &entry);
    if (entry) {
        *length = entry->value_length;
        value = malloc(*length + 1);
        if (!value)
            fail("no memory");
        memcpy(value, entry->bytes + entry->key_length, *length);
    }
    store_unlock(store);
    return value;
}

#endif
