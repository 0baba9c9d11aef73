/* regret.h: what giving memory back has cost, so that churn is not purged for long, and a burst is not kept for long.

   Memory that is taken again soon after it was given back is regretted: the amount is added to the budget of what may
   be kept. Regret halves every second. So a program that churns pays for a few purges and is then left alone but for
   a small part of its memory each second; a program that had a burst gives it back as soon as it frees something
   after the regret is gone. It is never more than a share of what has lately been live: what is given back and taken
   again many times a second would add up to many times what that needs. The clock is read only when memory is given
   back or has been lately. */
#ifndef BRIM_REGRET_H
#define BRIM_REGRET_H

#include "os.h"

struct regret {
    size_t given_back; /* lately, and not taken again */
    size_t amount;     /* regretted, as of decayed_at */
    size_t most;       /* it may be, as of decayed_at */
    uint64_t given_at, decayed_at; /* os_now_ms */
};

enum { REGRET_SOON_MS = 500, REGRET_HALF_LIFE_MS = 1000 };

static void regret_fade(struct regret *regret)
{
    uint64_t periods = (os_now_ms() - regret->decayed_at) / REGRET_HALF_LIFE_MS;
    if (periods != 0) {
        regret->amount = periods < 63 ? regret->amount >> periods : 0;
        regret->most = periods < 63 ? regret->most >> periods : 0;
        regret->decayed_at += periods * REGRET_HALF_LIFE_MS;
    }
}

/* Never more than the largest `most` of the calls before, which is forgotten as fast. */
static size_t regret_now(struct regret *regret, size_t most)
{
    if (likely(regret->amount == 0))
        return 0;
    regret_fade(regret);
    regret->most = max_size(regret->most, most);
    return regret->amount = min_size(regret->amount, regret->most);
}

static void regret_give(struct regret *regret, size_t amount)
{
    uint64_t now = os_now_ms();
    if (now - regret->given_at > REGRET_SOON_MS)
        regret->given_back = 0;
    regret->given_back += amount;
    regret->given_at = now;
}

static inline void regret_take(struct regret *regret, size_t amount)
{
    if (likely(regret->given_back == 0 || amount == 0))
        return;
    uint64_t now = os_now_ms();
    if (now - regret->given_at > REGRET_SOON_MS) {
        regret->given_back = 0;
        return;
    }
    amount = min_size(amount, regret->given_back);
    regret->given_back -= amount;
    regret_fade(regret);
    if (regret->amount == 0) {
        regret->decayed_at = now;
        regret->most = 0;
    }
    regret->amount += amount;
}

#endif
