/*
 * source.h - what every source of members tells whoever made it.
 *
 * A source never judges health and never merges; while it is in trouble, what it told last stays
 * true. Loop thread only.
 */
#ifndef CERTFERRY_FAILOVER_SOURCE_H
#define CERTFERRY_FAILOVER_SOURCE_H

#include "failover/roster.h"

struct source_events {
    /* All members it knows, in place of those before. Borrowed for the call; a reference may be
     * taken. */
    void (*on_members)(void *arg, struct roster *members);
    /* `why` (for the call): nothing is heard from it. NULL: all is well. Again and again. */
    void (*on_trouble)(void *arg, const char *why);
    void *arg;
};

#endif
