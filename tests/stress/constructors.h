/* constructors.h: what constructors.c sees of early-library.c. */
#ifndef STRESS_CONSTRUCTORS_H
#define STRESS_CONSTRUCTORS_H

#include "stress.h"

#define EARLY_BLOCKS 400

extern struct block early_blocks[EARLY_BLOCKS];
extern _Atomic size_t early_destroyed; /* thread-specific blocks freed at the end of their threads */

/* Gives the calling thread a block to be freed at its end. */
void early_set_specific(void);

#endif
