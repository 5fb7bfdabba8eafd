/*
 * clock.h - the two clocks: steady milliseconds and microseconds for deadlines and durations, wall
 * time for text.
 *
 * Any thread.
 */
#ifndef CERTFERRY_BASE_CLOCK_H
#define CERTFERRY_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Steady, unaffected by clock jumps; no meaning but differences. */
uint64_t clock_us(void);

static inline uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}

enum { CLOCK_TEXT_MAX = 32 };

/* "2026-11-21T08:30:00.123Z" (RFC 3339) of the present moment. Returns `out`. */
const char *clock_wall_text(char out[CLOCK_TEXT_MAX]);

#endif
