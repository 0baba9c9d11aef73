/* tree: eight children build one tree together, and their parent reads it.

     tree [KEYS [KILLS]]

   A family heap is shared by a process and all that it forks, and needs no file. It lies at one address in all of them,
   so that plain pointers do; offsets are for heaps whose processes are no family.

   The parent can be told to kill so many of the children at random moments, and to start another in the place of each:
   the tree changes by single stores, so that it is whole at every moment, and what a killed child had allocated and not
   yet put into the tree is all that is lost. */
#include <brim.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

enum { CHILDREN = 8 };

struct node {
    struct node *left, *right;
    unsigned long key;
    char *label; /* a block of its own, of any length */
};

struct tree {
    pthread_mutex_t lock; /* robust: a child that dies with it leaves it to the next */
    struct node *root;
};

static struct tree *tree_create(struct brim_heap *heap)
{
    struct tree *tree = brim_heap_calloc(heap, 1, sizeof *tree);
    if (!tree)
        fail_heap("the tree");
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&tree->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return tree;
}

/* The place where the key is, or would be. Lock held. */
static struct node **tree_place(struct tree *tree, unsigned long key)
{
    struct node **place = &tree->root;
    while (*place && (*place)->key != key)
        place = key < (*place)->key ? &(*place)->left : &(*place)->right;
    return place;
}

/* Who comes second frees the first one's label, whoever that was, and puts its own there. */
static void tree_put(struct brim_heap *heap, struct tree *tree, unsigned long key, int child)
{
    char *label = brim_heap_malloc(heap, 16 + key % 200);
    if (!label)
        fail_heap("a label");
    snprintf(label, 16, "%d %lu", child, key % 1000000);
    if (pthread_mutex_lock(&tree->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&tree->lock); /* there is nothing to be mended: see above */
    struct node **place = tree_place(tree, key), *node = *place;
    char *old = node ? node->label : NULL;
    if (!node) {
        node = brim_heap_calloc(heap, 1, sizeof *node);
        if (!node)
            fail_heap("a node");
        node->key = key;
    }
    node->label = label;
    atomic_thread_fence(memory_order_release); /* a node is complete before it is in the tree */
    *(struct node *volatile *)place = node;
    pthread_mutex_unlock(&tree->lock);
    brim_heap_free(heap, old);
}

/* Scatters the numbers, each to a number of its own: the tree stays flat. */
static unsigned long scatter(unsigned long n) { return n * 0x9e3779b97f4a7c15ul; }

/* Frees the nodes in the order of their keys; returns how many were where they belong. */
static unsigned long tree_free(struct brim_heap *heap, struct node *node, unsigned long *least)
{
    if (!node)
        return 0;
    unsigned long right = tree_free(heap, node->left, least);
    int child;
    unsigned long number;
    bool labelled = sscanf(node->label, "%d %lu", &child, &number) == 2 && number == node->key % 1000000;
    right += node->key >= *least && labelled;
    *least = node->key;
    right += tree_free(heap, node->right, least);
    brim_heap_free(heap, node->label);
    brim_heap_free(heap, node);
    return right;
}

static int free_block(void *block, size_t size, void *heap)
{
    (void)size;
    brim_heap_free(heap, block);
    return 0;
}

static pid_t start_child(struct brim_heap *heap, struct tree *tree, unsigned long keys, int child)
{
    pid_t process = fork();
    if (process < 0)
        fail("fork");
    if (process > 0)
        return process;
    /* Each key is put by two of the children; who comes in the place of a killed one puts all of them again. */
    for (unsigned long i = 0; i < 2 * keys; i++)
        tree_put(heap, tree, scatter(((unsigned long)child * keys + i) % (CHILDREN * keys)), child);
    _exit(0);
}

int main(int count, char **arguments)
{
    unsigned long keys = count > 1 ? strtoul(arguments[1], NULL, 10) : 20000;
    unsigned long kills = count > 2 ? strtoul(arguments[2], NULL, 10) : 0;
    struct brim_heap *heap = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options),
        .kind = BRIM_HEAP_FAMILY,
    });
    if (!heap)
        fail_heap("a family heap");
    struct tree *tree = tree_create(heap);

    pid_t children[CHILDREN];
    for (int child = 0; child < CHILDREN; child++)
        children[child] = start_child(heap, tree, keys, child);
    srandom(1);
    for (unsigned long i = 0; i < kills; i++) {
        int child = (int)(random() % CHILDREN);
        nanosleep(&(struct timespec){.tv_nsec = random() % 2000000}, NULL);
        kill(children[child], SIGKILL);
        if (waitpid(children[child], NULL, 0) != children[child])
            fail("waitpid");
        children[child] = start_child(heap, tree, keys, child);
    }
    bool good = true;
    for (int child = 0; child < CHILDREN; child++) {
        int status;
        good = waitpid(children[child], &status, 0) > 0 && status == 0 && good;
    }

    char fault[200];
    if (brim_heap_check(heap, fault, sizeof fault) != 0)
        fail("the heap: %s", fault);
    struct brim_heap_stats stats;
    brim_heap_stats(heap, &stats, sizeof stats);
    printf("%zu blocks, %zu KiB\n", stats.blocks, stats.live / 1024);
    unsigned long least = 0, right = tree_free(heap, tree->root, &least);
    brim_heap_free(heap, tree);
    brim_heap_stats(heap, &stats, sizeof stats);
    printf("%lu nodes in order; %zu blocks were lost in %lu kills\n", right, stats.blocks, kills);
    good = good && right == CHILDREN * keys;

    /* What killed children had in hand can be found, too. */
    brim_heap_walk(heap, free_block, heap);
    if (brim_heap_check(heap, fault, sizeof fault) != 0)
        fail("the heap: %s", fault);
    brim_heap_stats(heap, &stats, sizeof stats);
    brim_heap_destroy(heap);
    return good && stats.blocks == 0 ? 0 : 1;
}
