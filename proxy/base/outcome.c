#include "proxy/base/outcome.h"

#include <assert.h>
#include <stddef.h>

static const struct outcome_info outcomes[OUTCOME_COUNT] = {
#define OUTCOME_ROW(name, token, status, proxy_status, phrase, remedy)                             \
    [OUTCOME_##name] = {token, status, proxy_status, phrase, remedy},
    OUTCOME_TABLE(OUTCOME_ROW)
#undef OUTCOME_ROW
};

const struct outcome_info *outcome_info(enum outcome o)
{
    assert((unsigned)o < OUTCOME_COUNT);
    return &outcomes[o];
}
