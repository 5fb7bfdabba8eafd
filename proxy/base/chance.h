/*
 * chance.h - numbers by chance, to spread load: nothing here may be a secret.
 *
 * Any thread.
 */
#ifndef CERTFERRY_BASE_CHANCE_H
#define CERTFERRY_BASE_CHANCE_H

#include <stdint.h>

/* Where the system gives none at once, the clock is as good. */
uint64_t chance_number(void);

/* 0 to n - 1; 0 for 0. */
uint64_t chance_below(uint64_t n);

#endif
