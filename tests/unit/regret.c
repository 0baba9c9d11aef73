/* regret.h: what is taken soon after it was given back counts, what is taken late does not, and all is
   forgotten in time. The tests move the noted times instead of waiting. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/os.c"
#include "allocator/regret.h"

Test(regret, soon_counts)
{
    struct regret regret = {0};
    check(regret_now(&regret, SIZE_MAX) == 0);
    regret_take(&regret, 100); /* nothing was given back */
    check(regret_now(&regret, SIZE_MAX) == 0);
    regret_give(&regret, 100);
    check(regret_now(&regret, SIZE_MAX) == 0);
    regret_take(&regret, 30);
    check(regret_now(&regret, SIZE_MAX) == 30);
    regret_give(&regret, 10);
    regret_take(&regret, SIZE_MAX); /* no more than was given */
    check(regret_now(&regret, SIZE_MAX) == 110);
    regret_take(&regret, 50);
    check(regret_now(&regret, SIZE_MAX) == 110);
}

Test(regret, adds_up)
{
    struct regret regret = {0};
    regret_give(&regret, 100);
    regret_take(&regret, 30);
    regret_take(&regret, 30);
    check(regret_now(&regret, 1000) == 60);
}

Test(regret, late_does_not)
{
    struct regret regret = {0};
    regret_give(&regret, 100);
    regret.given_at -= REGRET_SOON_MS + 1;
    regret_take(&regret, 100);
    check(regret_now(&regret, SIZE_MAX) == 0 && regret.given_back == 0);
    regret_give(&regret, 100);
    regret.given_at -= REGRET_SOON_MS + 1;
    regret_give(&regret, 7); /* the older gift is forgotten */
    regret_take(&regret, 100);
    check(regret_now(&regret, SIZE_MAX) == 7);
}

Test(regret, fades)
{
    struct regret regret = {0};
    regret_give(&regret, 1 << 20);
    regret_take(&regret, 1 << 20);
    for (int halvings = 1; halvings <= 21; halvings++) {
        regret.decayed_at -= REGRET_HALF_LIFE_MS;
        check(regret_now(&regret, SIZE_MAX) == (size_t)1 << 20 >> halvings);
    }
    regret_give(&regret, 1 << 20);
    regret_take(&regret, 1 << 20);
    regret.decayed_at -= REGRET_HALF_LIFE_MS * 1000ull; /* more halvings than a word has bits */
    check(regret_now(&regret, SIZE_MAX) == 0);
    regret_give(&regret, 64);
    regret_take(&regret, 64); /* regret that begins anew fades from its own beginning */
    check(regret_now(&regret, SIZE_MAX) == 64);
}

Test(regret, has_a_limit)
{
    struct regret regret = {0};
    regret_give(&regret, 100);
    regret_take(&regret, 100);
    check(regret_now(&regret, 60) == 60);
    regret_give(&regret, 100);
    regret_take(&regret, 100);
    check(regret_now(&regret, 20) == 60); /* the larger one counts still */
    regret.decayed_at -= 2 * REGRET_HALF_LIFE_MS;
    check(regret_now(&regret, 20) == 15);
    regret_give(&regret, 100);
    regret_take(&regret, 100);
    check(regret_now(&regret, 10) == 20);
}
