/*
 * believe.h - which members of a roster that somebody has told an agent may be used.
 *
 * On a plain port whoever is between can write the document, and plain SCEP carries secrets: so
 * only hosts that the agent was configured with are believed, unless the document was signed by
 * whom it trusts. It never uses itself. Pure: no sockets, no look-ups. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_BELIEVE_H
#define CERTFERRY_FAILOVER_BELIEVE_H

#include "allowlist/rules.h"
#include "failover/roster.h"
#include "proxy/base/addr.h"

struct believe_options {
    const struct roster *seeds; /* the sensors that we were configured with */
    const struct rules *hosts;  /* theirs, and the domains that we were configured with */
    const struct addr *ours;    /* where we listen */
    size_t our_count;
    const char *our_name; /* host name of the system */
};

/* Members that were left out. */
struct disbelieved {
    size_t strangers; /* neither among `hosts` nor signed */
    size_t ourselves;
    size_t protocols; /* that we do not speak: TLS to the proxy */
};

/*
 * A new roster of what is believed of `told` (NULL: of nothing), with the seeds behind it that it
 * does not name: they are used when nothing else works. `is_signed`: by whom we trust. 0 with
 * `*out` owned, or -ENOMEM.
 */
int believe_roster(struct roster **out, const struct roster *told, bool is_signed,
                   const struct believe_options *o, struct disbelieved *left_out);

/* Whether a client that goes to `m` comes back to us. */
bool believe_is_ourselves(const struct member *m, const struct believe_options *o);

#endif
