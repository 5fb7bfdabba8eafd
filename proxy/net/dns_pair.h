/*
 * dns_pair.h - what is known of one name so far: the IPv6 and the IPv4 half, and the one answer
 * they make.
 *
 * Pure: no loop, no clock, no c-ares. One thread at a time.
 */
#ifndef CERTFERRY_NET_DNS_PAIR_H
#define CERTFERRY_NET_DNS_PAIR_H

#include "proxy/net/resolved.h"

enum dns_half_index { DNS_V6, DNS_V4, DNS_HALVES };

struct dns_half {
    enum outcome outcome; /* OUTCOME_DNS_TIMEOUT until there is an answer */
    uint64_t expires_ms;  /* of the addresses */
    size_t count;         /* > 0 exactly when OK */
    struct addr *address; /* owned */
};

struct dns_pair {
    struct dns_half half[DNS_HALVES];
};

static inline int dns_half_family(enum dns_half_index i)
{
    return i == DNS_V6 ? AF_INET6 : AF_INET;
}

/* Nothing is known: both halves stand at OUTCOME_DNS_TIMEOUT. */
void dns_pair_init(struct dns_pair *p);

/* Forgets; what dns_pair_init() made, again. */
void dns_pair_clear(struct dns_pair *p);

/* One half's answer. Of `found` it takes the addresses of its own family; OK without any becomes
 * not found. */
void dns_pair_store(struct dns_pair *p, enum dns_half_index i, const struct resolved *found,
                    uint64_t expires_ms);

bool dns_pair_has_address(const struct dns_pair *p);

/* Both halves in turns, IPv6 first (RFC 8305 section 4). Addresses of one half outweigh any failure
 * of the other. */
void dns_pair_answer(const struct dns_pair *p, struct resolved *answer);

/* When the first of the addresses expires; UINT64_MAX if there are none. */
uint64_t dns_pair_expires_ms(const struct dns_pair *p);

#endif
