#include "proxy/check_answer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/tls_probe.h"

/* ---- the question ---- */

static bool ends_with(struct span s, const char *end)
{
    size_t len = strlen(end);
    return s.len >= len && strncasecmp(s.ptr + s.len - len, end, len) == 0;
}

static bool has(struct span s, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= s.len; i++) {
        if (strncasecmp(s.ptr + i, text, len) == 0)
            return true;
    }
    return false;
}

/* RFC 8894 section 4.1: the path is anybody's choice, but these are what servers are given. */
static bool is_scep(struct span path, struct span query)
{
    return has(query, "operation=") || has(path, "pkiclient.exe") || ends_with(path, "/scep") ||
           has(path, "/scep/") || has(path, "/mscep");
}

static struct span without_slash(struct span path)
{
    while (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    return path;
}

/* RFC 7030 section 3.2.2: an operation behind the place, or behind the place and a label. */
static struct span est_base(struct span path)
{
    static const char *const operations[] = {"/cacerts", "/simpleenroll", "/simplereenroll",
                                             "/fullcmc", "/serverkeygen", "/csrattrs"};
    path = without_slash(path);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (ends_with(path, operations[i]))
            path.len -= strlen(operations[i]);
    }
    return path;
}

int check_question(struct check_question *q, struct span path)
{
    const char *mark = path.len > 0 ? memchr(path.ptr, '?', path.len) : NULL;
    struct span query = {"", 0}, whole = path;
    const char *more = "";
    if (mark != NULL) {
        query = (struct span){mark, path.len - (size_t)(mark - path.ptr)};
        path.len -= query.len;
    }
    q->kind = CHECK_ACME_OR_OTHER;
    if (has(path, "/.well-known/est")) {
        q->kind = CHECK_EST;
        whole = est_base(path);
        more = "/cacerts";
    } else if (is_scep(path, query)) {
        q->kind = CHECK_SCEP;
        whole = path;
        more = "?operation=GetCACaps";
    } else if (path.len == 0) {
        more = query.len > 0 ? "" : "/";
    }
    int n = snprintf(q->path, sizeof q->path, "%s%.*s%s",
                     whole.len > 0 && whole.ptr[0] == '?' ? "/" : "", SPAN_ARGS(whole), more);
    return n < (int)sizeof q->path ? 0 : -ENAMETOOLONG;
}

/* ---- EST ---- */

static bool judge_est(struct span body, char text[CHECK_TEXT_MAX])
{
    char subject[TLS_PROBE_TEXT_MAX];
    size_t count = tls_probe_certificates(body, subject);
    if (count > 0)
        (void)snprintf(text, CHECK_TEXT_MAX, "EST cacerts: %zu certificate%s, %.256s", count,
                       count == 1 ? "" : "s", subject);
    else
        (void)snprintf(
            text, CHECK_TEXT_MAX,
            "EST cacerts: its body holds no certificates; is this path an EST server's?");
    return count > 0;
}

/* ---- SCEP ---- */

/* RFC 8894 section 3.5.2: a keyword a line. */
static bool judge_scep(struct span body, char text[CHECK_TEXT_MAX])
{
    char words[CHECK_TEXT_MAX - 64] = "";
    size_t len = 0;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];
        if (c != '\r' && c != '\n' && c != ' ' && (c < '!' || c > '~' || c == '<'))
            len = sizeof words; /* a page for people, or something else */
        if (len < sizeof words - 1)
            words[len++] = c == '\r' || c == '\n' ? ' ' : c;
    }
    bool good = body.len > 0 && len < sizeof words - 1;
    words[good ? len : 0] = '\0';
    (void)snprintf(text, CHECK_TEXT_MAX, "SCEP GetCACaps: %s",
                   good ? words : "this is no list of capabilities; is this path a SCEP server's?");
    return good;
}

/* ---- ACME, and all else ---- */

static bool is_url(const cJSON *directory, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(directory, name);
    return cJSON_IsString(item) && strncmp(item->valuestring, "http", 4) == 0;
}

/* RFC 8555 section 7.1.1. */
static bool is_directory(struct span body)
{
    cJSON *j = body.len > 0 ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    bool good = is_url(j, "newNonce") && is_url(j, "newAccount") && is_url(j, "newOrder");
    cJSON_Delete(j);
    return good;
}

static bool judge_page(unsigned status, struct span body, char text[CHECK_TEXT_MAX])
{
    if (status == 200 && is_directory(body)) {
        (void)snprintf(text, CHECK_TEXT_MAX, "ACME directory");
        return true;
    }
    (void)snprintf(text, CHECK_TEXT_MAX,
                   "status %u%s; give the URL of an ACME directory, of EST or SCEP to learn more",
                   status, status < 500 ? ", so the server answers" : ": the server has a fault");
    return status < 500;
}

bool check_answer(const struct check_question *q, unsigned status, struct span body,
                  char text[CHECK_TEXT_MAX])
{
    if (q->kind == CHECK_ACME_OR_OTHER)
        return judge_page(status, body, text);
    if (status == 200)
        return q->kind == CHECK_EST ? judge_est(body, text) : judge_scep(body, text);
    (void)snprintf(text, CHECK_TEXT_MAX, "%s: status %u instead of 200",
                   q->kind == CHECK_EST ? "EST cacerts" : "SCEP GetCACaps", status);
    return false;
}
