#include "proxy/base/clock.h"

#include <string.h>

enum { SECOND_OCTETS = sizeof "2026-11-21T08:30:00" - 1 };

uint64_t clock_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

const char *clock_wall_text(char out[CLOCK_TEXT_MAX])
{
    static _Thread_local char text[SECOND_OCTETS + 1]; /* of `second`: it is asked for often */
    static _Thread_local time_t second = -1;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        struct tm tm;
        (void)gmtime_r(&now.tv_sec, &tm);
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        second = now.tv_sec;
    }
    unsigned ms = (unsigned)(now.tv_nsec / 1000000);
    memcpy(out, text, SECOND_OCTETS);
    const char rest[] = {
        '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '\0'};
    memcpy(out + SECOND_OCTETS, rest, sizeof rest);
    return out;
}
