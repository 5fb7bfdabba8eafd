#include "proxy/wire/client_hello.h"

#include <string.h>

enum {
    RECORD_HANDSHAKE = 22, /* RFC 8446 section 5.1 */
    RECORD_ALERT = 21,
    RECORD_HEAD_OCTETS = 5,
    RECORD_PAYLOAD_MAX = 1 << 14,
    RECORDS_MAX = 4096, /* ours: bounds the walk of every call; still 4 KiB of hello in records of
                           one octet */

    HANDSHAKE_CLIENT_HELLO = 1, /* RFC 8446 section 4 */
    HANDSHAKE_HEAD_OCTETS = 4,

    VERSION_MAJOR = 3,
    RANDOM_OCTETS = 32,
    SESSION_ID_MAX = 32,
    EXTENSION_SERVER_NAME = 0,
    NAME_TYPE_HOST = 0,

    SNI_MAX = 253, /* RFC 1035 section 2.3.4, as text */
    LABEL_MAX = 63,
};

/* A big-endian number of 1 to 3 octets. */
static size_t number(const unsigned char *octets, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n = n << 8 | octets[i];
    return n;
}

/*
 * The header of one record, as far as it is here. Any 3.x up to 3.4 passes: a ClientHello
 * carries 3.1 or 3.3, but a recipient must not look at the version (RFC 8446 section 5.1). Empty
 * fragments are forbidden there for handshake messages, and they would let a peer feed us for ever
 * without coming nearer to the end.
 */
static enum client_hello_result record_judge(const unsigned char *at, size_t len, bool first,
                                             size_t *payload)
{
    enum client_hello_result foreign = first ? CLIENT_HELLO_NOT_TLS : CLIENT_HELLO_MALFORMED;
    if (len >= 1 && at[0] != RECORD_HANDSHAKE)
        return foreign;
    if ((len >= 2 && at[1] != VERSION_MAJOR) || (len >= 3 && at[2] > 4))
        return foreign;
    if (len < RECORD_HEAD_OCTETS)
        return CLIENT_HELLO_MORE;
    *payload = number(at + 3, 2);
    return *payload >= 1 && *payload <= RECORD_PAYLOAD_MAX ? CLIENT_HELLO_OK
                                                           : CLIENT_HELLO_MALFORMED;
}

/* What is known of the handshake message after some of its octets. */
struct arrival {
    unsigned char head[HANDSHAKE_HEAD_OCTETS];
    size_t have; /* octets of the message so far */
    size_t need; /* of the whole message, as far as its length is known */
};

/*
 * Counts n more octets of the message; false when its type or length shows that it cannot be for
 * us.
 */
static bool arrival_add(struct arrival *a, const unsigned char *octets, size_t n)
{
    for (size_t i = 0; i < n && a->have + i < HANDSHAKE_HEAD_OCTETS; i++)
        a->head[a->have + i] = octets[i];
    bool length_known = a->have >= HANDSHAKE_HEAD_OCTETS;
    a->have += n;
    if (length_known)
        return true;
    if (a->have >= HANDSHAKE_HEAD_OCTETS)
        a->need = HANDSHAKE_HEAD_OCTETS + number(a->head + 1, 3);
    return (a->have == 0 || a->head[0] == HANDSHAKE_CLIENT_HELLO) && a->need <= CLIENT_HELLO_MAX;
}

/*
 * Walks over the record headers only, until the handshake message is complete. So the many calls of
 * a client that sends octet by octet stay cheap: nothing of the message is parsed before all of it
 * is here. Octets behind the message (early data, another message in the same record) are not
 * looked at.
 */
static enum client_hello_result records_walk(const unsigned char *data, size_t len, size_t *body,
                                             size_t *size)
{
    struct arrival a = {.need = HANDSHAKE_HEAD_OCTETS};
    size_t at = 0;
    for (unsigned records = 0; a.have < a.need; records++) {
        size_t payload = 0;
        enum client_hello_result r = record_judge(data + at, len - at, at == 0, &payload);
        if (r != CLIENT_HELLO_OK)
            return r;
        if (records == RECORDS_MAX)
            return CLIENT_HELLO_MALFORMED;
        at += RECORD_HEAD_OCTETS;
        size_t here = payload < len - at ? payload : len - at;
        if (!arrival_add(&a, data + at, here))
            return CLIENT_HELLO_MALFORMED;
        if (a.have < a.need && here < payload)
            return CLIENT_HELLO_MORE;
        at += here;
    }
    *body = a.need - HANDSHAKE_HEAD_OCTETS;
    *size = at - (a.have - a.need); /* its last record may hold more */
    return CLIENT_HELLO_OK;
}

/* Reads the handshake message across its records. records_walk() has shown that all of it is there.
 */
struct cursor {
    const unsigned char *at;
    size_t in_record; /* octets left of the record `at` is in; 0: `at` is at a record header */
};

/* Takes n octets, into `out` unless it is NULL. */
static void take(struct cursor *c, void *out, size_t n)
{
    unsigned char *to = out;
    while (n > 0) {
        if (c->in_record == 0) {
            c->in_record = number(c->at + 3, 2);
            c->at += RECORD_HEAD_OCTETS;
        }
        size_t run = n < c->in_record ? n : c->in_record;
        if (to != NULL) {
            memcpy(to, c->at, run);
            to += run;
        }
        c->at += run;
        c->in_record -= run;
        n -= run;
    }
}

/* A number of 1 to 3 octets out of a structure of which `*left` octets remain. */
static bool take_number(struct cursor *c, size_t *left, size_t octets, size_t *value)
{
    unsigned char raw[3];
    if (octets > *left)
        return false;
    *left -= octets;
    if (octets <= c->in_record) { /* nearly always: no record ends inside it */
        *value = number(c->at, octets);
        take(c, NULL, octets);
        return true;
    }
    take(c, raw, octets);
    *value = number(raw, octets);
    return true;
}

/*
 * The length of a vector (RFC 8446 section 3.4), which must lie within `*left`: its octets are the
 * caller's to take.
 */
static bool take_vector(struct cursor *c, size_t *left, size_t octets, size_t *len)
{
    if (!take_number(c, left, octets, len) || *len > *left)
        return false;
    *left -= *len;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c);
}

/* Lower-case letters, digits and inner hyphens (RFC 1123 section 2.1). */
static bool label_ok(const char *label, size_t len)
{
    if (len < 1 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_letter_or_digit(label[i]) && label[i] != '-')
            return false;
    }
    return true;
}

/*
 * A last label that inet_aton() would read as a number: the whole text would then be an IPv4
 * address to somebody.
 */
static bool label_is_number(const char *label, size_t len)
{
    if (len >= 2 && label[0] == '0' && label[1] == 'x')
        return strspn(label + 2, "0123456789abcdef") == len - 2;
    return strspn(label, "0123456789") == len;
}

/*
 * A host name and nothing else. Refused with it: the trailing dot and IP literals (RFC 6066 section
 * 3), empty labels, NUL, UTF-8, and the underscore: no CONNECT host that passed hostname_parse()
 * has one, so no match could come of it.
 */
static bool sni_ok(const char *name)
{
    for (;;) {
        size_t len = strcspn(name, ".");
        if (!label_ok(name, len))
            return false;
        if (name[len] == '\0')
            return !label_is_number(name, len);
        name += len + 1;
    }
}

/*
 * ServerNameList in `left` octets: exactly one entry, a host_name. RFC 6066 defines no other type
 * of name.
 */
static bool take_server_name(struct cursor *c, size_t left, struct client_hello *hello)
{
    size_t list, type, len;
    if (!take_vector(c, &left, 2, &list) || left != 0)
        return false;
    if (!take_number(c, &list, 1, &type) || type != NAME_TYPE_HOST)
        return false;
    if (!take_vector(c, &list, 2, &len) || list != 0 || len < 1 || len > SNI_MAX)
        return false;
    take(c, hello->sni, len);
    hello->sni[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (hello->sni[i] >= 'A' && hello->sni[i] <= 'Z')
            hello->sni[i] = (char)(hello->sni[i] + ('a' - 'A'));
    }
    hello->has_sni = true;
    return strlen(hello->sni) == len && sni_ok(hello->sni);
}

/*
 * All extensions, `left` octets. Unknown and GREASE ones (RFC 8701) are passed over. A second
 * server_name is refused (RFC 8446 section 4.2): one reader would see the first, another the last.
 */
static bool take_extensions(struct cursor *c, size_t left, struct client_hello *hello)
{
    while (left > 0) {
        size_t type, len;
        if (!take_number(c, &left, 2, &type) || !take_vector(c, &left, 2, &len))
            return false;
        if (type != EXTENSION_SERVER_NAME)
            take(c, NULL, len);
        else if (hello->has_sni || !take_server_name(c, len, hello))
            return false;
    }
    return true;
}

/*
 * The body of the ClientHello: RFC 8446 section 4.1.2, and RFC 5246 section 7.4.1.2 for those
 * without extensions.
 */
static bool take_hello(struct cursor *c, size_t left, struct client_hello *hello)
{
    size_t version, len;
    if (!take_number(c, &left, 2, &version) || version >> 8 != VERSION_MAJOR)
        return false;
    if (left < RANDOM_OCTETS)
        return false;
    take(c, NULL, RANDOM_OCTETS);
    left -= RANDOM_OCTETS;

    if (!take_vector(c, &left, 1, &len) || len > SESSION_ID_MAX)
        return false;
    take(c, NULL, len);
    if (!take_vector(c, &left, 2, &len) || len < 2 || len % 2 != 0) /* cipher suites */
        return false;
    take(c, NULL, len);
    if (!take_vector(c, &left, 1, &len) || len < 1) /* compression methods */
        return false;
    take(c, NULL, len);

    if (left == 0)
        return true;
    return take_vector(c, &left, 2, &len) && left == 0 && take_extensions(c, len, hello);
}

enum client_hello_result client_hello_parse(struct client_hello *hello, const char *data,
                                            size_t len)
{
    *hello = (struct client_hello){0};
    if (len == 0)
        return CLIENT_HELLO_MORE;
    /*
     * What lies behind the limit never counts, so the verdict is the same in whatever pieces the
     * octets come.
     */
    bool full = len >= CLIENT_HELLO_MAX;
    if (full)
        len = CLIENT_HELLO_MAX;

    const unsigned char *octets = (const unsigned char *)data;
    size_t body = 0, size = 0;
    enum client_hello_result r = records_walk(octets, len, &body, &size);
    if (r == CLIENT_HELLO_MORE && full)
        return CLIENT_HELLO_MALFORMED;
    if (r != CLIENT_HELLO_OK)
        return r;

    struct cursor c = {octets, 0};
    take(&c, NULL, HANDSHAKE_HEAD_OCTETS);
    hello->size = size;
    if (take_hello(&c, body, hello))
        return CLIENT_HELLO_OK;
    *hello = (struct client_hello){0};
    return CLIENT_HELLO_MALFORMED;
}

void client_hello_alert(unsigned char out[TLS_ALERT_OCTETS], enum tls_alert alert)
{
    /*
     * Version 3.3, as every server of TLS 1.2 and 1.3 writes it (RFC 8446 section 5.1); level 2 is
     * fatal.
     */
    const unsigned char record[TLS_ALERT_OCTETS] = {RECORD_ALERT,        VERSION_MAJOR, 3, 0, 2, 2,
                                                    (unsigned char)alert};
    memcpy(out, record, sizeof record);
}
