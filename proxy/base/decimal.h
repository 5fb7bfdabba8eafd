/*
 * decimal.h - a number as decimal text: for what is written for each request, where printf() would
 * be a good part of the cost.
 *
 * Any thread.
 */
#ifndef CERTFERRY_BASE_DECIMAL_H
#define CERTFERRY_BASE_DECIMAL_H

#include <stdint.h>

#include "proxy/base/span.h"

enum { DECIMAL_DIGITS_MAX = 20 };

/* The digits, inside `digits`; no leading zero. */
static inline struct span decimal_text(uint64_t n, char digits[DECIMAL_DIGITS_MAX])
{
    size_t at = DECIMAL_DIGITS_MAX;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return (struct span){digits + at, DECIMAL_DIGITS_MAX - at};
}

#endif
