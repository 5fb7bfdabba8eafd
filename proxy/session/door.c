#include "proxy/session/door.h"

const char *door_name(enum door_kind door)
{
    static const char *const names[DOOR_COUNT] = {
#define DOOR_NAME(name, text) text,
        DOOR_TABLE(DOOR_NAME)
#undef DOOR_NAME
    };
    return names[door];
}
