#include "failover/member_url.h"

#include <stdio.h>
#include <string.h>

const char *member_url(char out[MEMBER_URL_MAX], const struct member *m, const char *path)
{
    bool v6 = strchr(m->host, ':') != NULL;
    (void)snprintf(out, MEMBER_URL_MAX, "%s://%s%s%s:%u%s",
                   m->protocol == MEMBER_HTTPS_CONNECT ? "https" : "http", v6 ? "[" : "", m->host,
                   v6 ? "]" : "", (unsigned)m->port, path);
    return out;
}
