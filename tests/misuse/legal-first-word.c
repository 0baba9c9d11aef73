/* legal-first-word.c SIZE [freed]: the first word of a block is the user's, and may be anything when the block is
   freed: zero, ones, chance, a pointer. With "freed" also the very word that a freed block holds, seen by a program
   that reads what it should not, and copied to where it was or to other blocks: a mistake, if but of curiosity. */
#include "misuse.h"

#define BLOCKS 200

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (count < 2)
        return 2;
    int curious = count > 2;
    size_t size = size_argument(arguments, 1);
    uint64_t word_of_freed = 0, state = 1;
    unsigned char *blocks[BLOCKS];
    for (size_t round = 0; round < 1000; round++) {
        for (size_t i = 0; i < BLOCKS; i++)
            blocks[i] = allocate(size);
        for (size_t i = 0; i < BLOCKS; i++) {
            /* Its neighbours are live: the freed block is still there to be read. */
            if (i % 3 == 0) {
                if (curious)
                    announce(blocks[i]);
                free(blocks[i]);
                if (curious)
                    memcpy(&word_of_freed, opaque(blocks[i]), sizeof word_of_freed);
                blocks[i] = allocate(size);
            }
            state = state * 6364136223846793005 + 1442695040888963407;
            uint64_t words[] = {0, UINT64_MAX, state, (uintptr_t)blocks[i], word_of_freed, word_of_freed};
            memcpy(blocks[i], &words[(state >> 40) % 6], sizeof *words);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            unsigned char *block = blocks[round % 2 ? i : BLOCKS - 1 - i];
            if (round % 16 == 0 && i % 50 == 0)
                free_elsewhere(block);
            else
                free(block);
        }
    }
    return 0;
}
