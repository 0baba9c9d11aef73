/* locality: how well the blocks of one structure lie together after the heap has been fragmented. First
   500,000 blocks of 16 to 512 bytes are allocated and 75 % of them freed at random; then a list and a binary
   tree of 64-byte nodes are built into what is left, and the walks over them are timed: the allocator's time
   is not, only the cache and TLB misses of its placement. After Grunwald, Zorn and Henderson, "Improving the
   Cache Locality of Memory Allocation" (PLDI 1993). One iteration is one visit of a node. */
#include "../workload.h"

enum { FRAGMENTS = 500000, NODES = 200000, NODE_SIZE = 64 };

struct node {
    struct node *left, *right;
    uint64_t key;
    char payload[NODE_SIZE - 3 * sizeof(uint64_t)];
};

static void fragment(void **blocks)
{
    random_source source = {13};
    for (int i = 0; i < FRAGMENTS; i++)
        blocks[i] = stamped_malloc(16 + random_below(&source, 497));
    for (int i = 0; i < FRAGMENTS; i++) {
        if (random_below(&source, 4) == 0)
            continue;
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

static struct node *new_node(uint64_t key)
{
    struct node *node = must(malloc(sizeof *node));
    *node = (struct node){.key = key};
    return node;
}

/* A chain through `right`, in the order of allocation. */
static struct node *build_list(void)
{
    struct node *first = NULL, **end = &first;
    for (uint64_t i = 0; i < NODES; i++) {
        *end = new_node(i);
        end = &(*end)->right;
    }
    return first;
}

static struct node *build_tree(void)
{
    struct node *root = NULL;
    random_source source = {17};
    for (int i = 0; i < NODES; i++) {
        struct node *node = new_node(random_next(&source)), **place = &root;
        while (*place)
            place = node->key < (*place)->key ? &(*place)->left : &(*place)->right;
        *place = node;
    }
    return root;
}

static uint64_t walk(const struct node *node)
{
    uint64_t sum = 0;
    for (; node; node = node->right) {
        sum += node->key;
        if (node->left)
            sum += walk(node->left);
    }
    return sum;
}

static void release(struct node *node)
{
    while (node) {
        struct node *next = node->right;
        release(node->left);
        free(node);
        node = next;
    }
}

static void run(gbench_state *state, void *context)
{
    int tree = (int)(intptr_t)context;
    void **blocks = private_pages(FRAGMENTS * sizeof *blocks);
    fragment(blocks);
    struct node *root = tree ? build_tree() : build_list();
    uint64_t sum = walk(root);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        for (int64_t done = 0; done < n; done += NODES)
            if (walk(root) != sum)
                workload_fail("a node was overwritten");
    gbench_set_items_processed(state, gbench_iteration_count(state));
    release(root);
    for (int i = 0; i < FRAGMENTS; i++)
        free(blocks[i]);
    release_private_pages(blocks, FRAGMENTS * sizeof *blocks);
}

void register_locality(void)
{
    gbench_iterations(gbench_register("locality/list", run, (void *)0), scaled(60, 5) * NODES);
    gbench_iterations(gbench_register("locality/tree", run, (void *)1), scaled(30, 5) * NODES);
}
