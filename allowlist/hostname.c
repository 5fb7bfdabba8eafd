#include "allowlist/hostname.h"

#include <errno.h>
#include <idn2.h>

enum {
    LABEL_MAX = 63, /* RFC 1035 section 2.3.4 */
    /* A spelling longer than this is not looked at: 253 characters are at most 1012 octets of
       UTF-8. */
    RAW_MAX = 1024,
};

static int refuse(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return -EINVAL;
}

static bool octet_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool octet_is_hex(char c)
{
    return octet_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char octet_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Letters, digits, hyphen (RFC 952, RFC 1123 section 2.1); an underscore is in no host name. */
static bool octet_is_ldh(char c)
{
    c = octet_lower(c);
    return (c >= 'a' && c <= 'z') || octet_is_digit(c) || c == '-';
}

/* What is wrong with an ASCII octet that no host name has. */
static const char *octet_complaint(char c)
{
    switch (c) {
    case ' ':
        return "a host has no spaces";
    case '%':
        return "percent-encoding and zone ids are not allowed in a host";
    case '@':
        return "a user name before the host is not allowed";
    case '_':
        return "an underscore is not allowed in a host name (RFC 1123)";
    case '*':
        return "a wildcard is not a host name";
    case ':':
        return "a host has no colon; an IPv6 address must stand in brackets";
    case '[':
    case ']':
        return "brackets stand around a whole IPv6 address, once";
    default:
        return (unsigned char)c < 0x20 || c == 0x7f
                   ? "a host has no control characters"
                   : "a host name has only letters, digits, hyphens and dots";
    }
}

/* Every ASCII octet must be one of a name; `*ascii`: there are no others, for IDNA to judge. */
static int octets_check(struct span raw, bool *ascii, const char **why)
{
    *ascii = true;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if ((unsigned char)c >= 0x80)
            *ascii = false;
        else if (!octet_is_ldh(c) && c != '.')
            return refuse(why, octet_complaint(c));
    }
    return 0;
}

/*
 * A host whose last label is a number is an IPv4 address to inet_aton(), getaddrinfo() and browsers
 * (WHATWG URL, "ends in a number"): 127.1, 0177.0.0.1, 0x7f.1, 2130706433. Top-level domains are
 * never such (RFC 3696 section 2), so nothing is lost by refusing them all.
 */
static bool label_is_number(struct span label)
{
    bool hex = label.len >= 2 && label.ptr[0] == '0' && octet_lower(label.ptr[1]) == 'x';
    for (size_t i = hex ? 2 : 0; i < label.len; i++) {
        if (hex ? !octet_is_hex(label.ptr[i]) : !octet_is_digit(label.ptr[i]))
            return false;
    }
    return true;
}

/*
 * A label that claims to be an A-label must be what IDNA makes of its own U-label (RFC 5890
 * section 2.3.2.1). Otherwise xn--digicert- would be a second spelling of digicert to whoever
 * decodes it (CVE-2024-12224, CVE-2019-12290).
 */
static int alabel_check(struct span label, const char **why)
{
    char text[LABEL_MAX + 1];
    memcpy(text, label.ptr, label.len);
    text[label.len] = '\0';

    char *ulabel = NULL;
    uint8_t *back = NULL;
    int rc = idn2_to_unicode_8z8z(text, &ulabel, 0);
    if (rc == IDN2_OK)
        rc = idn2_lookup_u8((const uint8_t *)ulabel, &back, IDN2_NONTRANSITIONAL);
    bool same = rc == IDN2_OK && strcmp((const char *)back, text) == 0;
    idn2_free(ulabel);
    idn2_free(back);
    if (same)
        return 0;
    (void)refuse(why, rc == IDN2_MALLOC ? "out of memory"
                                        : "a label beginning with xn-- is not a valid A-label");
    return rc == IDN2_MALLOC ? -ENOMEM : -EINVAL;
}

/* `label` is lower case already. */
static int label_check(struct span label, bool last, const char **why)
{
    if (label.len == 0)
        return refuse(why, "an empty label (two dots in a row, or a leading dot)");
    if (label.len > LABEL_MAX)
        return refuse(why, "a label is longer than 63 characters");
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return refuse(why, "a label begins or ends with a hyphen");
    if (last && label_is_number(label))
        return refuse(
            why,
            "looks like an IPv4 address, but is not four decimal numbers without leading zeros");
    if (label.len >= 4 && memcmp(label.ptr, "xn--", 4) == 0)
        return alabel_check(label, why);
    return 0;
}

/*
 * An ASCII name whose octets are checked: lower case, one trailing dot dropped (it says "absolute",
 * RFC 1034 section 3.1), every label judged.
 */
static int name_parse(struct hostname *h, struct span s, const char **why)
{
    if (s.len > 0 && s.ptr[s.len - 1] == '.')
        s.len--;
    if (s.len > HOSTNAME_MAX)
        return refuse(why, "the name is longer than 253 characters");
    for (size_t i = 0; i < s.len; i++)
        h->text[i] = octet_lower(s.ptr[i]);
    h->text[s.len] = '\0';

    for (size_t start = 0, end; start <= s.len; start = end + 1) {
        const char *dot = memchr(h->text + start, '.', s.len - start);
        end = dot != NULL ? (size_t)(dot - h->text) : s.len;
        int rc = label_check((struct span){h->text + start, end - start}, end == s.len, why);
        if (rc != 0)
            return rc;
    }
    h->kind = HOST_NAME;
    return 0;
}

/*
 * UTS 46 mapping by libidn2; the result is judged like any other ASCII name, because the mapping
 * yields dots, digits, slashes and hyphens from look-alikes (full-width forms, U+2100, U+3002).
 * IDN2_USE_STD3_ASCII_RULES is not set on purpose: libidn2 2.3 then drops forbidden characters
 * silently, and "a.example/.b.example" becomes another host.
 */
static int international_parse(struct hostname *h, struct span raw, const char **why)
{
    uint8_t text[RAW_MAX + 1];
    memcpy(text, raw.ptr, raw.len);
    text[raw.len] = '\0';

    uint8_t *mapped = NULL;
    int rc = idn2_lookup_u8(text, &mapped, IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK) {
        (void)refuse(why, rc == IDN2_MALLOC ? "out of memory"
                                            : "not a valid international name (IDNA2008)");
        return rc == IDN2_MALLOC ? -ENOMEM : -EINVAL;
    }
    struct span name = span_of((const char *)mapped);
    bool ascii;
    rc = octets_check(name, &ascii, why);
    if (rc == 0 && !ascii)
        rc = refuse(why, "not a valid international name (IDNA2008)");
    if (rc == 0)
        rc = name_parse(h, name, why);
    idn2_free(mapped);
    return rc;
}

_Static_assert(sizeof((struct hostname *)0)->text >= ADDR_TEXT_MAX, "room for any address");

static void literal_keep(struct hostname *h, enum host_kind kind)
{
    h->kind = kind;
    (void)addr_print(&h->addr, h->text);
}

/* IP-literal of RFC 3986 section 3.2.2: IPv6 in brackets; no IPvFuture, no zone id (RFC 9844). */
static int literal6_parse(struct hostname *h, struct span raw, const char **why)
{
    if (raw.len < 2 || raw.ptr[raw.len - 1] != ']')
        return refuse(why, "a bracket without its pair");
    struct span inner = {raw.ptr + 1, raw.len - 2};
    for (size_t i = 0; i < inner.len; i++) {
        char c = inner.ptr[i];
        if (c == '%')
            return refuse(why, "a zone id is not allowed in an address");
        if (!octet_is_hex(c) && c != ':' && c != '.')
            return refuse(why, "only an IPv6 address stands in brackets, once");
    }
    if (addr_parse(&h->addr, inner, 0) != 0 || h->addr.sa.sa_family != AF_INET6)
        return refuse(why, "not an IPv6 address in brackets");
    literal_keep(h, HOST_IPV6);
    return 0;
}

static int host_parse(struct hostname *h, struct span raw, const char **why)
{
    if (raw.len == 0)
        return refuse(why, "an empty host");
    if (raw.len > RAW_MAX)
        return refuse(why, "the name is longer than 253 characters");
    if (raw.ptr[0] == '[')
        return literal6_parse(h, raw, why);

    bool ascii;
    int rc = octets_check(raw, &ascii, why);
    if (rc != 0)
        return rc;
    if (!ascii)
        return international_parse(h, raw, why);
    /* The one spelling of an IPv4 address; all others end in a number: refused as names. */
    if (octet_is_digit(raw.ptr[0]) && addr_parse(&h->addr, raw, 0) == 0) {
        literal_keep(h, HOST_IPV4);
        return 0;
    }
    h->addr = (struct addr){0};
    return name_parse(h, raw, why);
}

int hostname_parse(struct hostname *h, struct span raw, const char **why)
{
    *h = (struct hostname){0};
    int rc = host_parse(h, raw, why);
    if (rc != 0)
        *h = (struct hostname){0};
    return rc;
}
