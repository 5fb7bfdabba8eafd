#include "proxy/base/protocol.h"

#include <assert.h>

static const char *const names[PROTOCOL_COUNT] = {
#define PROTOCOL_ROW(name, text) [PROTOCOL_##name] = text,
    PROTOCOL_TABLE(PROTOCOL_ROW)
#undef PROTOCOL_ROW
};

const char *protocol_name(enum protocol p)
{
    assert((unsigned)p < PROTOCOL_COUNT);
    return names[p];
}
