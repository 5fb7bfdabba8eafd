#include "proxy/base/chance.h"

#include <sys/random.h>

#include "proxy/base/clock.h"

uint64_t chance_number(void)
{
    uint64_t n;
    if (getrandom(&n, sizeof n, GRND_NONBLOCK) != (ssize_t)sizeof n)
        n = clock_us();
    return n;
}

uint64_t chance_below(uint64_t n)
{
    return n > 0 ? chance_number() % n : 0;
}
