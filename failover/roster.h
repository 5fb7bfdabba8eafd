/*
 * roster.h - the members that clients may use: an immutable, counted value.
 *
 * Where it came from (file, DNS, etcd) and whether members are healthy is not its concern; a source
 * builds one and hands it on. Any thread once built.
 */
#ifndef CERTFERRY_FAILOVER_ROSTER_H
#define CERTFERRY_FAILOVER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROSTER_MEMBERS_MAX = 256,
    ROSTER_TEXT_MAX = 253,
    ROSTER_PORT_DEFAULT = 48999,
    ROSTER_WEIGHT_DEFAULT = 100,
    ROSTER_WEIGHT_MAX = 100,
    ROSTER_PRIORITY_DEFAULT = 1,
    ROSTER_PRIORITY_MAX = 65535,
    ROSTER_LOAD_MAX = 1000,
    ROSTER_LOAD_UNKNOWN = 1001 /* loads are 0..1000 */
};

enum member_protocol { MEMBER_HTTP_CONNECT, MEMBER_HTTPS_CONNECT };
enum member_state { MEMBER_UP, MEMBER_UNKNOWN, MEMBER_DRAINING, MEMBER_DOWN };

struct member {
    enum member_protocol protocol;
    char host[ROSTER_TEXT_MAX + 1]; /* canonical name or address; IPv6 without brackets */
    uint16_t port;
    uint16_t
        tls_port;  /* of MEMBER_HTTP_CONNECT: there it speaks https-connect too; 0 not, unknown */
    char zone[64]; /* "" unknown */
    unsigned priority; /* smaller is preferred; 0..65535 */
    unsigned weight;   /* 1..100 */
    unsigned load;     /* permille of its limit.connections in use, or ROSTER_LOAD_UNKNOWN */
    enum member_state state;
    bool self;
    int64_t started;  /* Unix seconds; 0 unknown */
    char version[32]; /* of its program, printable ASCII without quotes; "" unknown */
};

struct roster;

/* A builder is the roster while it has one owner and was never shared. Returns owned; NULL when out
 * of memory. */
struct roster *roster_create(void);

/*
 * Copies `m`. A member with the same protocol, host and port is not doubled: `self` and known facts
 * are merged, and what a member says of itself outranks what others say. A weight of 0 is
 * ROSTER_WEIGHT_DEFAULT; a weight or priority above the range is its end, a load above it is
 * unknown, a start before 1970 too. One place is never told twice: an https member at the TLS port
 * of another is not added, and a TLS port that another member has is none. 0; -EINVAL (the host is
 * not canonical, port 0, a zone without its end, a version with odd octets): documents quote
 * members as they are here; -ENOSPC (ROSTER_MEMBERS_MAX); -ENOMEM.
 */
int roster_add(struct roster *r, const struct member *m);

/* "http://host:port" or "https://host:port" (port must be given; no path but "/"). 0, or -EINVAL
 * with `*why` (static). */
int roster_parse_member(struct member *m, const char *url, const char **why);

/* What people write after a command: as above, or without scheme (http) or port
 * (ROSTER_PORT_DEFAULT): "px1", "px1:3128", "[2001:db8::1]". */
int roster_parse_sensor(struct member *m, const char *text, const char **why);

struct roster *roster_ref(struct roster *r);
void roster_unref(struct roster *r);

size_t roster_count(const struct roster *r);
const struct member *roster_member(const struct roster *r, size_t i);

/*
 * Fills `order` (of roster_count() entries) with indices in order of preference: up before unknown
 * before draining before down, `zone` before others, priority, then ourselves, then as added. All
 * members stay in, so also a draining or down self. Returns how many.
 */
size_t roster_order(const struct roster *r, const char *zone, size_t *order);

#endif
