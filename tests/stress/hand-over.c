/* hand-over.c: threads allocate blocks of all sizes and alignments, pass them to one another, and whoever
   receives one verifies every byte, resizes it or frees it. The ordinary life of a block in a program with
   threads, and every way in which it can go back: to its own thread's slab, to another's, to one that is
   full, empty or gone.

   hand-over [THREADS [STEPS [LARGEST]]] */
#include "stress.h"

#define SLOTS 200
#define MAILBOX 64

struct worker {
    pthread_t thread;
    struct random random;
    struct block slots[SLOTS];
    pthread_mutex_t lock; /* of the mailbox */
    size_t received;
    struct block mailbox[MAILBOX];
};

static struct worker *workers;
static size_t worker_count, steps, largest;
static pthread_barrier_t all_sent;

static bool send_block(struct worker *to, struct block *block)
{
    pthread_mutex_lock(&to->lock);
    bool room = to->received < MAILBOX;
    if (room)
        to->mailbox[to->received++] = *block;
    pthread_mutex_unlock(&to->lock);
    if (room)
        block->start = NULL;
    return room;
}

static bool receive_block(struct worker *self, struct block *block)
{
    pthread_mutex_lock(&self->lock);
    bool any = self->received != 0;
    if (any)
        *block = self->mailbox[--self->received];
    pthread_mutex_unlock(&self->lock);
    return any;
}

/* Another's block: the usual thing is to free it; some are resized first, some stay for a while. */
static void use_received(struct worker *self, struct block block)
{
    block_verify(&block);
    if (random_below(&self->random, 4) == 0)
        block_resize(&block, random_usual_size(&self->random, largest), random_next(&self->random));
    struct block *slot = &self->slots[random_below(&self->random, SLOTS)];
    if (!slot->start && random_below(&self->random, 4) == 0)
        *slot = block;
    else
        block_free(&block);
}

static void *work(void *argument)
{
    struct worker *self = argument;
    struct block block;
    for (size_t i = 0; i < steps; i++) {
        block_step(self->slots, SLOTS, largest, &self->random);
        struct block *slot = &self->slots[random_below(&self->random, SLOTS)];
        if (slot->start)
            send_block(&workers[random_below(&self->random, worker_count)], slot);
        /* In bursts, so that mailboxes fill. */
        if (i % 16 == 0)
            while (receive_block(self, &block))
                use_received(self, block);
    }
    /* Everybody ends with somebody else's blocks. */
    for (size_t i = 0; i < SLOTS; i++)
        if (self->slots[i].start &&
            !send_block(&workers[random_below(&self->random, worker_count)], &self->slots[i]))
            block_free(&self->slots[i]);
    pthread_barrier_wait(&all_sent);
    while (receive_block(self, &block))
        block_free(&block);
    return NULL;
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    worker_count = argument(count, arguments, 1, 4);
    steps = argument(count, arguments, 2, 400000);
    largest = argument(count, arguments, 3, MIB);
    require(worker_count > 0 && largest >= 8 && (largest & (largest - 1)) == 0);

    workers = calloc(worker_count, sizeof *workers);
    require(workers);
    pthread_barrier_init(&all_sent, NULL, (unsigned)worker_count);
    for (size_t i = 0; i < worker_count; i++) {
        workers[i].random = random_stream(i);
        pthread_mutex_init(&workers[i].lock, NULL);
    }
    for (size_t i = 0; i < worker_count; i++)
        thread_start(&workers[i].thread, work, &workers[i]);
    for (size_t i = 0; i < worker_count; i++)
        thread_join(workers[i].thread);
    free(workers);
    return 0;
}
