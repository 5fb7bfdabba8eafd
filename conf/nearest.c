#include "conf/nearest.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned nearest_distance(const char *a, const char *b)
{
    size_t na = strlen(a);
    size_t nb = strlen(b);
    assert(na <= NEAREST_WORD_MAX && nb <= NEAREST_WORD_MAX);
    /* cost[i][j]: from the first i characters of a to the first j of b. */
    unsigned cost[NEAREST_WORD_MAX + 1][NEAREST_WORD_MAX + 1];
    for (size_t j = 0; j <= nb; j++)
        cost[0][j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        cost[i][0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            unsigned c = least(cost[i - 1][j], cost[i][j - 1]) + 1;
            c = least(c, cost[i - 1][j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                c = least(c, cost[i - 2][j - 2] + 1);
            cost[i][j] = c;
        }
    }
    return cost[na][nb];
}

const char *nearest_word(const char *asked, const char *const *words, size_t count)
{
    size_t len = strlen(asked);
    if (len > NEAREST_WORD_MAX)
        return NULL;
    unsigned best = (unsigned)len / 3 + 1;
    const char *word = NULL;
    for (size_t i = 0; i < count; i++) {
        unsigned d = nearest_distance(asked, words[i]);
        if (d < best) {
            best = d;
            word = words[i];
        }
    }
    return word;
}
