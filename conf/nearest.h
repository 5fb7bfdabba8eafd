/*
 * nearest.h - which of the known words was probably meant?
 *
 * Damerau-Levenshtein distance (insert, delete, replace, swap of neighbours), letters without
 * regard to case. Any thread.
 */
#ifndef CONF_NEAREST_H
#define CONF_NEAREST_H

#include <stddef.h>

enum { NEAREST_WORD_MAX = 64 }; /* octets; nothing is near to a longer word */

/* Steps from one word to the other; both at most NEAREST_WORD_MAX octets. */
unsigned nearest_distance(const char *a, const char *b);

/* The nearest of `count` words, the first of equals; NULL when more than a third of the word would
 * have to change. */
const char *nearest_word(const char *asked, const char *const *words, size_t count);

#endif
