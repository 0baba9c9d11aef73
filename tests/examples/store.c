/* store: keys and values in a file, for any number of programs at a time.

     store FILE put KEY VALUE       store FILE delete KEY
     store FILE get KEY             store FILE list

   How it stays whole when a writer is killed is told in store.h. Status 1 if there is no such key. */
#include "store.h"

static void list(struct store *store)
{
    store_lock(store);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = brim_get(store->heap, store->table->buckets[i]); entry;
             entry = brim_get(store->heap, entry->next))
            printf("%.*s\t%zu\n", (int)entry->key_length, entry->bytes, entry->value_length);
    store_unlock(store);
}

int main(int count, char **arguments)
{
    const char *command = count > 2 ? arguments[2] : "";
    bool putting = count == 5 && strcmp(command, "put") == 0, getting = count == 4 && strcmp(command, "get") == 0;
    bool deleting = count == 4 && strcmp(command, "delete") == 0, listing = count == 3 && strcmp(command, "list") == 0;
    if (!putting && !getting && !deleting && !listing)
        fail("usage: store FILE put KEY VALUE | get KEY | delete KEY | list");

    struct store store;
    store_open(&store, arguments[1]);
    bool found = true;
    if (putting && !store_put(&store, arguments[3], arguments[4], strlen(arguments[4])))
        fail_heap(arguments[1]);
    if (deleting)
        found = store_delete(&store, arguments[3]);
    if (getting) {
        size_t length;
        char *value = store_get(&store, arguments[3], &length);
        found = value != NULL;
        if (found)
            printf("%.*s\n", (int)length, value);
        free(value);
    }
    if (listing)
        list(&store);
    store_close(&store);
    return found ? 0 : 1;
}
