/*
 * etcd_json.h - what is said to etcd and heard from it: bodies of the v3 JSON gateway.
 *
 * Keys and values are base64 there, 64-bit numbers are strings, and what is zero is left out
 * (proto3's JSON mapping). A line of the watch has the same form inside "result". Pure. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_ETCD_JSON_H
#define CERTFERRY_FAILOVER_ETCD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"

enum {
    ETCD_ANSWER_MAX = 4 * 1024 * 1024, /* octets of one */
    ETCD_PAIRS_MAX = 1024,             /* asked for, and taken from one answer */
    ETCD_TOKEN_MAX = 4096,
    ETCD_ID_MAX = 24,
    ETCD_CODE_NOT_FOUND = 5,
    ETCD_CODE_UNAUTHENTICATED = 16
};

/* Bodies. 0, -ENOBUFS or -ENOMEM. `lease` is a number in decimal. */
int etcd_print_login(struct buf *out, const char *user, const char *password);
int etcd_print_grant(struct buf *out, uint64_t ttl_s);
int etcd_print_lease(struct buf *out, const char *lease); /* keepalive, revoke */
int etcd_print_put(struct buf *out, struct span key, struct span value, const char *lease);
int etcd_print_range(struct buf *out, struct span prefix);
int etcd_print_watch(struct buf *out, struct span prefix, uint64_t start_revision);

/* What stands in an answer; 0, "" or false what does not. */
struct etcd_answer {
    uint64_t revision; /* of the store when it answered */
    uint64_t ttl_s;
    char id[ETCD_ID_MAX]; /* of a lease */
    char token[ETCD_TOKEN_MAX + 1];
    bool created, canceled;    /* of a watch */
    uint64_t compact_revision; /* why it was cancelled */
    bool failed;               /* it tells an error */
    unsigned code;             /* gRPC's */
    char message[160];
    bool more; /* of a range: there are more than ETCD_PAIRS_MAX */
};

/* A pair of a range, or of an event. Spans are for the call; the value is empty when deleted. */
struct etcd_pair {
    struct span key, value;
    bool deleted;
    uint64_t revision; /* of its last change */
};

typedef void (*etcd_pair_cb)(void *arg, const struct etcd_pair *pair);

/* `on_pair` NULL: none is expected. 0; -EINVAL: not what etcd says, `*why` (static) tells; -ENOMEM.
 * Pairs before a fault were told.
 */
int etcd_read(struct etcd_answer *a, struct span text, etcd_pair_cb on_pair, void *arg,
              const char **why);

#endif
