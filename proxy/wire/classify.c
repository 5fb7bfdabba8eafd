#include "proxy/wire/classify.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The order of the questions in classify_request() is the order of how much an answer is worth: a
 * registered well-known path, then the media type of what is sent, then the SCEP operation, then
 * names that are only a habit. The path is compared as it was written: a percent-encoded spelling
 * of a known path is OTHER, which allowed.protocols then refuses.
 */

struct spelling {
    const char *text;      /* as it stands in a path or query */
    const char *operation; /* as the log and the metrics say it */
};

#define SAME(word)                                                                                 \
    {                                                                                              \
        word, word                                                                                 \
    }

static const struct spelling est_operations[] = {
    /* RFC 7030 section 3.2.2 */
    SAME("cacerts"), SAME("simpleenroll"), SAME("simplereenroll"),
    SAME("fullcmc"), SAME("serverkeygen"), SAME("csrattrs"),
};

static const struct spelling scep_operations[] = {
    /* RFC 8894 sections 3.5.1, 4.1, 4.2, 4.7 */
    SAME("GetCACaps"),
    SAME("GetCACert"),
    SAME("GetNextCACert"),
    SAME("PKIOperation"),
};

static const struct spelling cmp_operations[] = {
    /* RFC 9483 section 6.1 */
    SAME("initialization"), SAME("certification"),      SAME("keyupdate"),
    SAME("pkcs10"),         SAME("revocation"),         SAME("getcacerts"),
    SAME("getrootupdate"),  SAME("getcertreqtemplate"), SAME("getcrls"),
    SAME("nested"),
};

static const struct spelling acme_operations[] = {
    /* The names of RFC 8555 section 9.7.5 and of the objects in section 7.1, in the spellings of
       known servers. */
    SAME("directory"),
    {"dir", "directory"},
    {"new-nonce", "newNonce"},
    {"new-account", "newAccount"},
    {"new-acct", "newAccount"},
    {"new-order", "newOrder"},
    {"new-authz", "newAuthz"},
    {"revoke-cert", "revokeCert"},
    {"key-change", "keyChange"},
    {"renewal-info", "renewalInfo"},
    SAME("newNonce"),
    SAME("newAccount"),
    SAME("newOrder"),
    SAME("newAuthz"),
    SAME("revokeCert"),
    SAME("keyChange"),
    SAME("renewalInfo"),
    SAME("finalize"),
    SAME("order"),
    SAME("authz"),
    SAME("challenge"),
    {"chall", "challenge"},
    {"cert", "certificate"},
    {"certificate", "certificate"},
    {"acct", "account"},
    {"account", "account"},
};

#define SPELLINGS(table) (table), sizeof(table) / sizeof *(table)

/* The operation that is spelled like that (any case: servers take it so), or "". */
static const char *operation_of(struct span text, const struct spelling *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_is_nocase(text, span_of(table[i].text)))
            return table[i].operation;
    }
    return "";
}

static struct classified classified(enum protocol protocol, const char *operation)
{
    return (struct classified){protocol, operation};
}

/* Cuts the text before the first `mark` off `rest`, the mark too. False when nothing is left. */
static bool cut(struct span *rest, char mark, struct span *piece)
{
    if (rest->ptr == NULL)
        return false;
    const char *end = rest->len > 0 ? memchr(rest->ptr, mark, rest->len) : NULL;
    if (end == NULL) {
        *piece = *rest;
        *rest = (struct span){NULL, 0};
        return true;
    }
    size_t n = (size_t)(end - rest->ptr);
    *piece = (struct span){rest->ptr, n};
    *rest = (struct span){end + 1, rest->len - n - 1};
    return true;
}

/*
 * "." and "..", also percent-encoded: what the path names is then not what it looks like (RFC 3986
 * section 5.2.4).
 */
static bool is_dots(struct span segment)
{
    size_t dots = 0;
    while (segment.len > 0) {
        size_t n = 1;
        if (segment.len >= 3 && span_is_nocase((struct span){segment.ptr, 3}, SPAN("%2e")))
            n = 3;
        else if (segment.ptr[0] != '.')
            return false;
        segment = (struct span){segment.ptr + n, segment.len - n};
        dots++;
    }
    return dots == 1 || dots == 2;
}

static bool path_is_plain(struct span path)
{
    struct span segment;
    while (cut(&path, '/', &segment)) {
        if (is_dots(segment))
            return false;
    }
    return true;
}

static bool ends_with(struct span s, struct span end)
{
    return s.len >= end.len && span_is_nocase((struct span){s.ptr + s.len - end.len, end.len}, end);
}

static bool starts_with(struct span s, struct span start)
{
    return s.len >= start.len && span_is_nocase((struct span){s.ptr, start.len}, start);
}

/*
 * What follows "/.well-known/<name>" in the path, from its slash on; false when it is not there. It
 * may stand behind other segments, where several CAs share a host (RFC 8615 section 3 has it at the
 * root; DigiCert does not).
 */
static bool well_known(struct span path, struct span name, struct span *rest)
{
    static const struct span mark = {"/.well-known/", sizeof "/.well-known/" - 1};
    const char *at = path.len > 0 ? memmem(path.ptr, path.len, mark.ptr, mark.len) : NULL;
    if (at == NULL)
        return false;
    size_t before = (size_t)(at - path.ptr) + mark.len;
    struct span tail = {path.ptr + before, path.len - before};
    if (tail.len < name.len || !span_is((struct span){tail.ptr, name.len}, name))
        return false;
    *rest = (struct span){tail.ptr + name.len, tail.len - name.len};
    return rest->len == 0 || rest->ptr[0] == '/';
}

/* "/operation" or "/label/operation" (RFC 7030 section 3.2.2). */
static bool est_path(struct span path, struct classified *c)
{
    struct span rest, piece;
    if (!well_known(path, SPAN("est"), &rest))
        return false;
    unsigned count = 0;
    while (cut(&rest, '/', &piece))
        count++;
    if (count != 2 && count != 3)
        return false;
    const char *operation = operation_of(piece, SPELLINGS(est_operations));
    if (operation[0] == '\0')
        return false;
    *c = classified(PROTOCOL_EST, operation);
    return true;
}

/* RFC 9811: "/.well-known/cmp", then perhaps "/p/profile", then perhaps an operation. */
static bool cmp_path(struct span path, struct classified *c)
{
    struct span rest, piece;
    if (!well_known(path, SPAN("cmp"), &rest))
        return false;
    while (cut(&rest, '/', &piece))
        continue;
    *c = classified(PROTOCOL_CMP, operation_of(piece, SPELLINGS(cmp_operations)));
    return true;
}

/* The last segment that is an ACME word ("/order/1/finalize" finalizes), or "". */
static const char *acme_operation(struct span path)
{
    const char *found = "";
    struct span segment;
    while (cut(&path, '/', &segment)) {
        const char *operation = operation_of(segment, SPELLINGS(acme_operations));
        if (operation[0] != '\0')
            found = operation;
    }
    return found;
}

static bool has_segment(struct span path, struct span text)
{
    struct span segment;
    while (cut(&path, '/', &segment)) {
        if (span_is_nocase(segment, text))
            return true;
    }
    return false;
}

static bool well_known_path(struct span path, struct classified *c)
{
    struct span rest;
    if (est_path(path, c) || cmp_path(path, c))
        return true;
    /*
     * The validation of RFC 8555 section 8.3: a CA, or a client that tests itself, fetches the
     * token.
     */
    if (well_known(path, SPAN("acme-challenge"), &rest) && rest.len > 1) {
        *c = classified(PROTOCOL_ACME, "http-01");
        return true;
    }
    return false;
}

/* Content-Type without its parameters; empty when there is not exactly one. */
static struct span media_type(const struct head *request)
{
    struct span rest, type;
    if (head_count(request, SPAN("Content-Type")) != 1)
        return SPAN("");
    rest = head_find(request, SPAN("Content-Type"))->value;
    if (!cut(&rest, ';', &type))
        return SPAN("");
    while (type.len > 0 && (type.ptr[type.len - 1] == ' ' || type.ptr[type.len - 1] == '\t'))
        type.len--;
    return type;
}

static bool by_media_type(const struct head *request, struct span path, struct classified *c)
{
    if (!span_is(request->method, SPAN("POST")))
        return false;
    struct span type = media_type(request);
    if (span_is_nocase(type, SPAN("application/jose+json")))
        *c = classified(PROTOCOL_ACME, acme_operation(path));
    else if (span_is_nocase(type, SPAN("application/pkixcmp")))
        *c = classified(PROTOCOL_CMP, "");
    else if (span_is_nocase(type, SPAN("application/ocsp-request")))
        *c = classified(PROTOCOL_OCSP, "request");
    else
        return false;
    return true;
}

/*
 * The operation of the query (RFC 8894 section 4.1), "" if there is none that we know. Two of them
 * are none: which one the CA takes is not for us to guess.
 */
static const char *scep_operation(struct span query)
{
    const char *found = "";
    unsigned count = 0;
    struct span pair, key;
    while (cut(&query, '&', &pair)) {
        if (!cut(&pair, '=', &key) || !span_is_nocase(key, SPAN("operation")))
            continue;
        count++;
        found = pair.ptr != NULL ? operation_of(pair, SPELLINGS(scep_operations)) : "";
    }
    return count == 1 ? found : "";
}

/*
 * Servers differ in how they read a query: whatever one of them could take for an operation counts,
 * in any place, and an operation is an order unless it is known to be none.
 */
bool classify_is_order(const struct target *target)
{
    struct span query = target->path, piece, pair, key;
    if (!cut(&query, '?', &piece))
        return false;
    while (cut(&query, '&', &piece)) {
        while (cut(&piece, ';', &pair)) {
            (void)cut(&pair, '=', &key);
            bool may_be = key.len > 0 && memchr(key.ptr, '%', key.len) != NULL;
            if (!may_be && !span_is_nocase(key, SPAN("operation")))
                continue;
            const char *operation =
                pair.ptr != NULL ? operation_of(pair, SPELLINGS(scep_operations)) : "";
            if (operation[0] == '\0' || strcmp(operation, "PKIOperation") == 0)
                return true;
        }
    }
    return false;
}

static bool is_fetch(const struct head *request)
{
    return span_is(request->method, SPAN("GET")) || span_is(request->method, SPAN("HEAD"));
}

/* Files as RFC 5280 sections 4.2.1.13 and 4.2.2.1 name them. */
static bool by_suffix(const struct head *request, struct span path, struct classified *c)
{
    static const char *const certificates[] = {".crt", ".cer", ".p7c", ".der"};
    if (!is_fetch(request))
        return false;
    if (ends_with(path, SPAN(".crl"))) {
        *c = classified(PROTOCOL_CRL, "fetch");
        return true;
    }
    for (size_t i = 0; i < sizeof certificates / sizeof *certificates; i++) {
        if (ends_with(path, span_of(certificates[i]))) {
            *c = classified(PROTOCOL_AIA, "fetch");
            return true;
        }
    }
    return false;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/*
 * One character of a path, "%2B", "%2F" and "%3D" read as what they stand for; 0 for any other
 * escape.
 */
static char path_char(struct span *text)
{
    static const struct {
        struct span escape;
        char c;
    } escapes[] = {{{"%2B", 3}, '+'}, {{"%2F", 3}, '/'}, {{"%3D", 3}, '='}};
    char c = text->ptr[0];
    size_t n = 1;
    if (c == '%') {
        c = '\0';
        for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
            if (starts_with(*text, escapes[i].escape)) {
                c = escapes[i].c;
                n = 3;
            }
        }
    }
    *text = (struct span){text->ptr + n, text->len - n};
    return c;
}

/*
 * The number of octets that `text` is the base64 of, the first `max` of them in `out`; 0 when it is
 * no base64.
 */
static size_t base64_decode(struct span text, unsigned char *out, size_t max)
{
    size_t chars = 0, pads = 0, octets = 0;
    uint32_t bits = 0;
    while (text.len > 0) {
        char c = path_char(&text);
        int value = base64_value(c);
        if (c == '=')
            pads++;
        else if (value < 0 || pads > 0)
            return 0;
        else
            bits = bits << 6 | (uint32_t)value;
        if (c != '=' && chars % 4 != 0) {
            if (octets < max)
                out[octets] = (unsigned char)(bits >> (6 - 2 * (chars % 4)));
            octets++;
        }
        chars++;
    }
    return chars % 4 == 0 && pads <= 2 ? octets : 0;
}

/*
 * Whether those are the beginning of the DER of an OCSPRequest of `size` octets: a SEQUENCE of that
 * size in which another begins (RFC 6960 section 4.1.1).
 */
static bool is_ocsp_request(const unsigned char *der, size_t size)
{
    size_t head = 2, len;
    if (size < 8 || der[0] != 0x30)
        return false;
    len = der[1];
    if (der[1] == 0x81 || der[1] == 0x82) {
        head = der[1] == 0x81 ? 3 : 4;
        len = der[1] == 0x81 ? der[2] : (size_t)der[2] << 8 | der[3];
    } else if (der[1] > 0x7f) {
        return false;
    }
    return head + len == size && der[head] == 0x30;
}

/*
 * GET {url}/{base64 of the request} (RFC 6960 appendix A.1); most CAs serve it at the root of a
 * host of its own. The base64 may hold slashes, so it may begin behind any of them. RFC 5019 keeps
 * such a path within 255 octets.
 */
static bool is_ocsp_get(const struct head *request, struct span path)
{
    enum { BASE64_MIN = 64, BASE64_MAX = 512 };
    if (!is_fetch(request))
        return false;
    for (size_t i = path.len > BASE64_MAX ? path.len - BASE64_MAX : 0; i < path.len; i++) {
        struct span text = {path.ptr + i + 1, path.len - i - 1};
        /* 'M' is what every DER SEQUENCE begins with in base64. */
        if (path.ptr[i] != '/' || text.len < BASE64_MIN || text.ptr[0] != 'M')
            continue;
        unsigned char der[8];
        size_t size = base64_decode(text, der, sizeof der);
        if (size > 0 && is_ocsp_request(der, size))
            return true;
    }
    return false;
}

static bool is_ocsp_path(struct span path)
{
    struct span segment;
    while (cut(&path, '/', &segment)) {
        if (starts_with(segment, SPAN("ocsp")))
            return true;
    }
    return false;
}

/* Names that no standard reserves but everybody uses. */
static bool by_habit(const struct head *request, struct span path, struct classified *c)
{
    struct span tail = path;
    if (ends_with(tail, SPAN("/")))
        tail.len--;
    if (ends_with(path, SPAN("/pkiclient.exe")) || has_segment(path, SPAN("scep")))
        *c = classified(PROTOCOL_SCEP, "");
    else if (is_ocsp_path(path) || is_ocsp_get(request, path))
        *c = classified(PROTOCOL_OCSP, "request");
    else if (span_is(tail, SPAN("/directory")))
        *c = classified(PROTOCOL_ACME, "directory");
    else if (has_segment(path, SPAN("acme")))
        *c = classified(PROTOCOL_ACME, acme_operation(path));
    else
        return false;
    return true;
}

struct classified classify_request(const struct head *request, const struct target *target)
{
    if (target->form == TARGET_AUTHORITY)
        return classified(PROTOCOL_TUNNEL, "");

    struct span query = target->path, path;
    if (!cut(&query, '?', &path))
        path = SPAN("");
    struct classified c = classified(PROTOCOL_OTHER, "");
    if (!path_is_plain(path))
        return c;
    if (well_known_path(path, &c) || by_media_type(request, path, &c))
        return c;
    const char *operation = scep_operation(query);
    if (operation[0] != '\0')
        return classified(PROTOCOL_SCEP, operation);
    if (by_suffix(request, path, &c) || by_habit(request, path, &c))
        return c;
    return classified(PROTOCOL_OTHER, "");
}
