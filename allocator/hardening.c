/* hardening.c: see hardening.h. */
#include "hardening.h"

static void hardening_init(void)
{
    if (canary_key.factor != 0)
        return;
    canary_key.secret = os_random();
    canary_key.factor = os_random() | 1;
}

RARE void hardening_after_fork(void) { chance_state = 0; }
