/*
 * document_read.h - a roster back from its PvD document: of a peer, or the last good one from disk.
 *
 * Reads what document.h writes, and no more than RFC 8801 and draft-ietf-intarea-proxy-config let a
 * reader overlook: unknown keys, and proxies of other protocols or with unknown keys named in
 * `mandatory`. Everything else that is not as it must be refuses the whole document: a client that
 * cannot hold all of it must use none of it. No sockets, no files, no clock. Any thread.
 *
 * A member that is in our vendor data but not among the proxies is draining. It believes what it
 * reads. Its user judges: who signed (signature.h), whether `expires` has passed (not for the last
 * good one from disk), whether `identifier` is the host that was asked, whether a member may be
 * used at all, and that `self` is true of nobody but the writer. Text of a member is UTF-8 without
 * NUL but may hold control characters: escape it before a person sees it.
 */
#ifndef CERTFERRY_FAILOVER_DOCUMENT_READ_H
#define CERTFERRY_FAILOVER_DOCUMENT_READ_H

#include <time.h>

#include "allowlist/rules.h"
#include "failover/roster.h"
#include "proxy/base/span.h"

enum {
    DOCUMENT_READ_OCTETS_MAX = 4 * 1024 * 1024, /* some 10,000 rules of an allowlist and more */
    DOCUMENT_READ_VALUES_MAX = 128 * 1024,
    DOCUMENT_READ_RULES_MAX = 64, /* of proxy-match */
    DOCUMENT_FAULT_MAX = 200      /* octets of a fault and its NUL */
};

struct document_content {
    char identifier[ROSTER_TEXT_MAX + 1]; /* canonical; IPv6 without brackets */
    time_t expires;
    struct roster *roster; /* the caller's; members in the order of the document */
};

/*
 * 0; -EINVAL with the place and what is wrong there in `fault`, such as "proxies[3].proxy: has no
 * port" or "octet 17: not UTF-8" (printable ASCII); -ENOMEM. On error `c` holds nothing.
 */
int document_read(struct document_content *c, struct span text, char fault[DOCUMENT_FAULT_MAX]);

/*
 * The same, and adds to `rules` the names and addresses that the document sends to its proxies. A
 * rule that they can't say (for a network, for every destination) is a fault. On error `rules` may
 * hold some.
 */
int document_read_rules(struct document_content *c, struct span text, struct rules *rules,
                        char fault[DOCUMENT_FAULT_MAX]);

#endif
