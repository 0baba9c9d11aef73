/* foreign-break.c: somebody else uses sbrk, too. Bytes that they take stay theirs, whatever lies above and
   below; what they give back from the top may become the allocator's. One thread: libc's sbrk allows no more.

   foreign-break [STEPS] */
#include "stress.h"

#define SLOTS 4000
#define PIECES 400

static struct block slots[SLOTS];
/* Ascending: as with any stack, only the last can be given back, and only while it is at the break. */
static struct block pieces[PIECES];
static size_t piece_count, piece_bytes;

static size_t piece_size(struct random *random)
{
    switch (random_below(random, 5)) {
    case 0:
        return random_between(random, 1, 64); /* leaves the break unaligned */
    case 1:
        return (size_t)sysconf(_SC_PAGESIZE) * random_between(random, 1, 4);
    case 2:
        return 64 * KIB * random_between(random, 1, 4);
    default:
        return random_between(random, 1, 300 * KIB);
    }
}

static void take_piece(struct random *random)
{
    if (piece_count == PIECES)
        return;
    struct block *piece = &pieces[piece_count];
    piece->size = piece_size(random);
    piece->start = sbrk((intptr_t)piece->size);
    if (piece->start == (void *)-1)
        fail("sbrk: errno %d", errno);
    require((unsigned char *)sbrk(0) == piece->start + piece->size);
    block_fill(piece, random_next(random));
    piece_bytes += piece->size;
    piece_count++;
}

static bool give_back_piece(void)
{
    if (piece_count == 0)
        return false;
    struct block *piece = &pieces[piece_count - 1];
    if ((unsigned char *)sbrk(0) != piece->start + piece->size)
        return false;
    block_verify(piece);
    require(sbrk(-(intptr_t)piece->size) != (void *)-1);
    piece_bytes -= piece->size;
    piece_count--;
    return true;
}

static void verify_pieces(void)
{
    for (size_t i = 0; i < piece_count; i++)
        block_verify(&pieces[i]);
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    size_t steps = argument(count, arguments, 1, 3000), given_back = 0;
    struct random random = random_stream(0);
    for (size_t step = 0; step < steps; step++) {
        /* Long tides, so that the heap grows over the pieces, and shrinks and is trimmed down to them. */
        bool rising = step / 100 % 2 == 0;
        for (size_t i = 0; i < 100; i++) {
            struct block *slot = &slots[random_below(&random, SLOTS)];
            if (!slot->start && rising)
                block_allocate(slot, random_usual_size(&random, 128 * KIB), &random);
            else if (!rising || random_below(&random, 4) == 0)
                block_free(slot);
        }
        if (random_below(&random, 3) == 0)
            take_piece(&random);
        while (random_below(&random, 2) == 0 && give_back_piece())
            given_back++;
        if (!rising && step % 100 == 99) {
            blocks_free(slots, SLOTS);
            malloc_trim(0);
            while (give_back_piece())
                given_back++;
        }
        if (step % 50 == 0)
            verify_pieces();
    }
    verify_pieces();
    blocks_free(slots, SLOTS);
    verify_pieces();
    printf("%zu pieces of others, %zu given back, %zu KiB left\n", piece_count, given_back,
           piece_bytes / KIB);
    require(given_back > 0);
    return 0;
}
