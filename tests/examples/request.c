/* request: what each request allocates lies in a heap of its own, and ends with it.

     request [REQUESTS [THREADS]]

   The code that handles a request calls malloc, strdup and whatever else allocates, and frees nothing: while a heap is
   in use by brim_heap_use, malloc takes from it. brim_heap_destroy ends all blocks at once. */
#include <brim.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "say.h"

struct word {
    struct word *next;
    char *text;
};

/* Stands for code that knows nothing of heaps. Returns how many words there are; leaves them all behind. */
static size_t handle(const char *text, struct word **words)
{
    size_t count = 0;
    char *copy = strdup(text), *rest = copy, *word;
    if (!copy)
        fail("no memory");
    while ((word = strsep(&rest, " "))) {
        struct word *entry = malloc(sizeof *entry);
        if (!entry || asprintf(&entry->text, "%s!", word) < 0)
            fail("no memory");
        entry->next = *words;
        *words = entry;
        count++;
    }
    return count;
}

static unsigned long requests = 100;

static void *serve(void *unused)
{
    (void)unused;
    enum { WORDS = 20000 };
    static const char one[] = "word after ";
    for (unsigned long i = 0; i < requests; i++) {
        struct brim_heap *heap = brim_heap_create(&(struct brim_heap_options){
            .size = sizeof(struct brim_heap_options),
            .kind = BRIM_HEAP_PRIVATE,
            .limit = (size_t)64 << 20,
        });
        if (!heap)
            fail_heap("a heap for the request");

        struct brim_heap *before = brim_heap_use(heap);
        struct word *words = NULL;
        char *text = malloc(WORDS / 2 * (sizeof one - 1) + 1);
        if (!text)
            fail("no memory");
        for (size_t at = 0; at < WORDS / 2; at++)
            memcpy(text + at * (sizeof one - 1), one, sizeof one);
        text[WORDS / 2 * (sizeof one - 1) - 1] = '\0';
        size_t count = handle(text, &words);
        brim_heap_use(before);

        bool right = count == WORDS && brim_heap_of(words) == heap && strcmp(words->text, "after!") == 0;
        if (!right)
            fail("a request went wrong: %zu words", count);
        brim_heap_destroy(heap);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    if (count > 1)
        requests = strtoul(arguments[1], NULL, 10);
    unsigned long threads = count > 2 ? strtoul(arguments[2], NULL, 10) : 4;
    pthread_t thread[64];
    if (threads < 1 || threads > 64)
        fail("from 1 to 64 threads");
    for (unsigned long i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, serve, NULL) != 0)
            fail("pthread_create");
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%lu requests\n", requests * threads);
    return 0;
}
