#include "failover/document_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "allowlist/hostname.h"
#include "failover/json_strict.h"

enum {
    DEPTH_MAX = 8, /* ours needs 4; unknown keys may nest a little more */
    MEMBERS_MAX = 64,
    IDENTIFIER_MAX = 300, /* "https://[host]:65535" and more */
    RULE_TEXT_MAX = 300,
    PROXIES_MAX = 2 * ROSTER_MEMBERS_MAX, /* each may have a TLS door too */
    STARTED_MAX = 253402300799            /* 9999-12-31T23:59:59Z */
};

/* Where in the document: links on the stack, from the inside out. */
struct place {
    const struct place *outer; /* NULL: the document itself */
    const char *name;          /* of a member; NULL: an element of an array */
    size_t index;
};

/* One of `proxies`, on its way into the roster. */
struct entry {
    const char *identifier; /* borrowed from the JSON tree */
    bool usable;            /* of a protocol that we know, nothing unknown in `mandatory` */
    bool described;         /* vendor facts have been read */
    struct member member;
};

struct reader {
    struct document_content *content;
    char *fault;         /* DOCUMENT_FAULT_MAX octets */
    struct entry *entry; /* owned */
    size_t entry_count;
    struct rules *rules; /* what is sent to a proxy; NULL: nobody asks */
};

/* ---- faults ---- */

static size_t put_place(char *out, size_t size, const struct place *at)
{
    if (at == NULL)
        return 0;
    size_t n = put_place(out, size, at->outer);
    int more = 0;
    if (at->name == NULL)
        more = snprintf(out + n, size - n, "[%zu]", at->index);
    else
        more = snprintf(out + n, size - n, "%s%.40s", n > 0 ? "." : "",
                        at->name[0] != '\0' ? at->name : "\"\"");
    n += (size_t)more;
    return n < size ? n : size - 1;
}

/* Names of members are the writer's: nothing in them may reach a terminal or a second line. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}

static int refuse(const struct reader *r, const struct place *at, const char *why)
{
    char where[DOCUMENT_FAULT_MAX - 80] = "document";
    (void)put_place(where, sizeof where, at);
    (void)snprintf(r->fault, DOCUMENT_FAULT_MAX, "%s: %s", where, why);
    make_printable(r->fault);
    return -EINVAL;
}

static int refuse_octet(const struct reader *r, size_t octet, const char *why)
{
    (void)snprintf(r->fault, DOCUMENT_FAULT_MAX, "octet %zu: %s", octet, why);
    return -EINVAL;
}

/* ---- members ---- */

/*
 * RFC 8259 section 4 leaves open what a name that stands twice means: one reader takes the first,
 * another the last. So nobody gets to choose. Depth and numbers are limited by json_strict.
 */
static int refuse_twins(const struct reader *r, const struct place *at, const cJSON *value)
{
    size_t index = 0;
    for (const cJSON *item = value->child; item != NULL; item = item->next, index++) {
        struct place here = {at, item->string, index};
        for (const cJSON *other = item->next; item->string != NULL && other != NULL;
             other = other->next) {
            if (strcmp(item->string, other->string) == 0)
                return refuse(r, &here, "stands here twice");
        }
        int rc = refuse_twins(r, &here, item);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Keys are case-sensitive. */
static const cJSON *find(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* A member that must be there. */
static int take(const struct reader *r, const struct place *at, const cJSON *object,
                const cJSON **value)
{
    *value = find(object, at->name);
    return *value != NULL ? 0 : refuse(r, at, "is missing");
}

static int take_array(const struct reader *r, const struct place *at, const cJSON *object,
                      const cJSON **array)
{
    int rc = take(r, at, object, array);
    if (rc == 0 && !cJSON_IsArray(*array))
        rc = refuse(r, at, "is not an array");
    return rc;
}

static int text_check(const struct reader *r, const struct place *at, const cJSON *value,
                      size_t least, size_t most)
{
    if (!cJSON_IsString(value))
        return refuse(r, at, "is not a string");
    size_t len = strlen(value->valuestring);
    if (len < least)
        return refuse(r, at, "is empty");
    return len <= most ? 0 : refuse(r, at, "is too long");
}

static int take_text(const struct reader *r, const struct place *at, const cJSON *object,
                     size_t least, size_t most, const char **text)
{
    const cJSON *value;
    int rc = take(r, at, object, &value);
    if (rc == 0)
        rc = text_check(r, at, value, least, most);
    if (rc == 0)
        *text = value->valuestring;
    return rc;
}

/* A whole number from `least` to `most`; up to 2^53 a double holds each exactly. */
static int take_number(const struct reader *r, const struct place *at, const cJSON *object,
                       int64_t least, int64_t most, int64_t *number)
{
    const cJSON *value;
    int rc = take(r, at, object, &value);
    if (rc != 0)
        return rc;
    if (!cJSON_IsNumber(value))
        return refuse(r, at, "is not a number");
    double d = value->valuedouble;
    if (!(d >= (double)least && d <= (double)most))
        return refuse(r, at, "is out of range");
    *number = (int64_t)d;
    return (double)*number >= d && (double)*number <= d ? 0 : refuse(r, at, "is not whole");
}

/* ---- identifier and expires ---- */

/* A host as the document writes it: an IPv6 address stands without brackets there. */
static int read_identifier(const struct reader *r, const cJSON *root)
{
    struct place at = {NULL, "identifier", 0};
    char bracketed[ROSTER_TEXT_MAX + 4];
    struct hostname host;
    const char *text;
    const char *why = NULL;
    int rc = take_text(r, &at, root, 1, ROSTER_TEXT_MAX + 1, &text);
    if (rc != 0)
        return rc;
    bool v6 = strchr(text, ':') != NULL;
    (void)snprintf(bracketed, sizeof bracketed, v6 ? "[%s]" : "%s", text);
    rc = hostname_parse(&host, span_of(bracketed), &why);
    if (rc == -EINVAL)
        return refuse(r, &at, why);
    if (rc == 0)
        (void)snprintf(r->content->identifier, sizeof r->content->identifier, "%s", host.text);
    return rc;
}

/* `count` decimal digits from `least` to `most` off the front of `*text`. */
static bool digits(const char **text, int count, int least, int most, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *value = *value * 10 + (**text - '0');
    }
    return *value >= least && *value <= most;
}

static bool skip(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* "Z" or "+01:00", in seconds east of UTC. */
static bool offset_parse(const char **text, time_t *seconds)
{
    int hours, minutes;
    int sign = **text == '-' ? -1 : 1;
    *seconds = 0;
    if (skip(text, 'Z'))
        return true;
    if (!skip(text, '+') && !skip(text, '-'))
        return false;
    if (!digits(text, 2, 0, 23, &hours) || !skip(text, ':') || !digits(text, 2, 0, 59, &minutes))
        return false;
    *seconds = (time_t)sign * (hours * 3600 + minutes * 60);
    return true;
}

/* date-time of RFC 3339 section 5.6, in capitals; a fraction is cut off. */
static bool time_parse(const char *text, time_t *when)
{
    struct tm tm = {0};
    time_t offset;
    int year, month;
    bool good = digits(&text, 4, 1970, 9999, &year) && skip(&text, '-') &&
                digits(&text, 2, 1, 12, &month) && skip(&text, '-') &&
                digits(&text, 2, 1, days_in(year, month), &tm.tm_mday) && skip(&text, 'T') &&
                digits(&text, 2, 0, 23, &tm.tm_hour) && skip(&text, ':') &&
                digits(&text, 2, 0, 59, &tm.tm_min) && skip(&text, ':') &&
                digits(&text, 2, 0, 60, &tm.tm_sec);
    if (!good)
        return false;
    if (skip(&text, '.')) {
        if (*text < '0' || *text > '9')
            return false;
        while (*text >= '0' && *text <= '9')
            text++;
    }
    if (!offset_parse(&text, &offset) || *text != '\0')
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    *when = timegm(&tm) - offset;
    return true;
}

static int read_expires(const struct reader *r, const cJSON *root)
{
    struct place at = {NULL, "expires", 0};
    const char *text;
    int rc = take_text(r, &at, root, 1, 64, &text);
    if (rc == 0 && !time_parse(text, &r->content->expires))
        rc = refuse(r, &at, "is not a time as in 2026-11-20T12:10:00Z");
    return rc;
}

/* ---- proxies ---- */

static struct entry *entry_find(const struct reader *r, const char *identifier)
{
    for (size_t i = 0; i < r->entry_count; i++) {
        if (strcmp(r->entry[i].identifier, identifier) == 0)
            return &r->entry[i];
    }
    return NULL;
}

/*
 * Optional keys of an entry that its reader must understand, or overlook the entry. Of optional
 * keys we understand `identifier` alone.
 */
static int read_mandatory(const struct reader *r, const struct place *entry_at, const cJSON *proxy,
                          struct entry *e)
{
    struct place at = {entry_at, "mandatory", 0};
    const cJSON *array = find(proxy, "mandatory");
    const cJSON *item;
    size_t index = 0;
    if (array == NULL)
        return 0;
    if (!cJSON_IsArray(array))
        return refuse(r, &at, "is not an array");
    cJSON_ArrayForEach(item, array)
    {
        struct place here = {&at, NULL, index++};
        int rc = text_check(r, &here, item, 1, IDENTIFIER_MAX);
        if (rc != 0)
            return rc;
        if (find(proxy, item->valuestring) == NULL)
            return refuse(r, &here, "names a key that is not there");
        if (strcmp(item->valuestring, "identifier") != 0)
            e->usable = false;
    }
    return 0;
}

/* "host:port" of the protocols that we know. */
static int read_authority(const struct reader *r, const struct place *at, const char *protocol,
                          const char *authority, struct entry *e)
{
    char url[IDENTIFIER_MAX + 16];
    const char *why = NULL;
    bool tls = strcmp(protocol, "https-connect") == 0;
    if (!tls && strcmp(protocol, "http-connect") != 0) {
        e->usable = false;
        return 0;
    }
    if (strchr(authority, '/') != NULL)
        return refuse(r, at, "holds more than a host and a port");
    (void)snprintf(url, sizeof url, "%s://%s", tls ? "https" : "http", authority);
    return roster_parse_member(&e->member, url, &why) == 0 ? 0 : refuse(r, at, why);
}

/* What it speaks and where it is. */
static int read_place(const struct reader *r, const struct place *at, const cJSON *proxy,
                      struct entry *e)
{
    struct place protocol_at = {at, "protocol", 0};
    struct place proxy_at = {at, "proxy", 0};
    const char *protocol, *authority;
    *e = (struct entry){.usable = true};
    int rc = take_text(r, &protocol_at, proxy, 1, 64, &protocol);
    if (rc == 0)
        rc = take_text(r, &proxy_at, proxy, 1, IDENTIFIER_MAX, &authority);
    return rc == 0 ? read_authority(r, &proxy_at, protocol, authority, e) : rc;
}

static int read_proxy(struct reader *r, const struct place *at, const cJSON *proxy)
{
    struct place identifier_at = {at, "identifier", 0};
    struct entry *e = &r->entry[r->entry_count];
    if (!cJSON_IsObject(proxy))
        return refuse(r, at, "is not an object");
    int rc = read_place(r, at, proxy, e);
    if (rc == 0)
        rc = read_mandatory(r, at, proxy, e);
    if (rc == 0)
        rc = take_text(r, &identifier_at, proxy, 1, IDENTIFIER_MAX, &e->identifier);
    if (rc != 0)
        return rc;
    if (entry_find(r, e->identifier) != NULL)
        return refuse(r, &identifier_at, "is another proxy's too");
    r->entry_count++;
    return 0;
}

static int read_proxies(struct reader *r, const cJSON *root)
{
    struct place at = {NULL, "proxies", 0};
    const cJSON *array, *item;
    int rc = take_array(r, &at, root, &array);
    if (rc != 0)
        return rc;
    if (cJSON_GetArraySize(array) > (int)PROXIES_MAX)
        return refuse(r, &at, "are too many");
    r->entry = calloc(PROXIES_MAX, sizeof *r->entry);
    if (r->entry == NULL)
        return -ENOMEM;
    cJSON_ArrayForEach(item, array)
    {
        struct place here = {&at, NULL, r->entry_count};
        rc = read_proxy(r, &here, item);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- proxy-match ---- */

static bool port_list_is_good(const char *text)
{
    int first, last;
    char end;
    /* "443" or "8080-8090", no blanks, no signs. */
    if (strspn(text, "0123456789-") != strlen(text) || *text == '-' || strlen(text) > 11)
        return false;
    int n = sscanf(text, "%5d-%5d%c", &first, &last, &end);
    if (n == 1) {
        last = first;
        if (strchr(text, '-') != NULL || strlen(text) > 5)
            return false;
    }
    return (n == 1 || n == 2) && first >= 1 && last <= 65535 && first <= last;
}

enum rule_list { RULE_PROXIES, RULE_DOMAINS, RULE_SUBNETS, RULE_PORTS, RULE_LIST_COUNT };

/* "*.name" and names; addresses, but no networks. */
static int keep_rule(const struct reader *r, const struct place *at, enum rule_list list,
                     const char *text)
{
    char bracketed[RULE_TEXT_MAX + 4];
    const char *why = "is no name";
    int rc;
    if (list == RULE_DOMAINS && strncmp(text, "*.", 2) == 0) {
        rc = rules_add_domain(r->rules, span_of(text), &why);
    } else {
        bool v6 = list == RULE_SUBNETS && strchr(text, ':') != NULL;
        (void)snprintf(bracketed, sizeof bracketed, v6 ? "[%s]" : "%s", text);
        if (strchr(text, '/') != NULL)
            return refuse(r, at, "is a network; here only single addresses can be said");
        rc = rules_add_host(r->rules, span_of(bracketed), &why);
    }
    return rc == -EINVAL ? refuse(r, at, why) : rc;
}

static int read_rule_text(const struct reader *r, const struct place *at, enum rule_list list,
                          const cJSON *item)
{
    int rc = text_check(r, at, item, 1, RULE_TEXT_MAX);
    if (rc != 0)
        return rc;
    if (list == RULE_PROXIES && entry_find(r, item->valuestring) == NULL)
        return refuse(r, at, "names no proxy of this document");
    if (list == RULE_PORTS && !port_list_is_good(item->valuestring))
        return refuse(r, at, "is neither a port nor a range of ports");
    return 0;
}

static const char *const rule_names[RULE_LIST_COUNT] = {"proxies", "domains", "subnets", "ports"};

/* A rule that names no proxy sends nothing anywhere, nor does one with a key that we do not know.
 */
static bool rule_is_kept(const struct reader *r, const cJSON *rule)
{
    const cJSON *proxies = find(rule, "proxies");
    const cJSON *item;
    size_t known = 0, all = 0;
    for (unsigned list = 0; list < RULE_LIST_COUNT; list++)
        known += find(rule, rule_names[list]) != NULL;
    cJSON_ArrayForEach(item, rule) all++;
    return r->rules != NULL && all == known && proxies != NULL && proxies->child != NULL;
}

static int read_rule_list(const struct reader *r, const struct place *rule_at, enum rule_list list,
                          const cJSON *rule)
{
    struct place at = {rule_at, rule_names[list], 0};
    const cJSON *array = find(rule, rule_names[list]);
    const cJSON *item;
    size_t index = 0;
    if (array == NULL)
        return list == RULE_PROXIES ? refuse(r, &at, "is missing") : 0;
    if (!cJSON_IsArray(array))
        return refuse(r, &at, "is not an array");
    if (list == RULE_PROXIES && cJSON_GetArraySize(array) > (int)PROXIES_MAX)
        return refuse(r, &at, "are too many");
    bool kept = (list == RULE_DOMAINS || list == RULE_SUBNETS) && rule_is_kept(r, rule);
    cJSON_ArrayForEach(item, array)
    {
        struct place here = {&at, NULL, index++};
        int rc = read_rule_text(r, &here, list, item);
        if (rc == 0 && kept)
            rc = keep_rule(r, &here, list, item->valuestring);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Kept by nobody: what may go out is the reader's own policy. But half a document is none. */
static int check_rules(const struct reader *r, const cJSON *root)
{
    struct place at = {NULL, "proxy-match", 0};
    const cJSON *array, *rule;
    size_t index = 0;
    int rc = take_array(r, &at, root, &array);
    if (rc != 0)
        return rc;
    if (cJSON_GetArraySize(array) > DOCUMENT_READ_RULES_MAX)
        return refuse(r, &at, "are too many");
    cJSON_ArrayForEach(rule, array)
    {
        struct place here = {&at, NULL, index++};
        if (!cJSON_IsObject(rule))
            return refuse(r, &here, "is not an object");
        if (rule_is_kept(r, rule) && find(rule, "domains") == NULL && find(rule, "subnets") == NULL)
            return refuse(r, &here, "is for every destination; here only some can be said");
        for (unsigned list = 0; rc == 0 && list < RULE_LIST_COUNT; list++)
            rc = read_rule_list(r, &here, (enum rule_list)list, rule);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- vendor-certferry ---- */

static int read_state(const struct reader *r, const struct place *at, const cJSON *object,
                      enum member_state *state)
{
    static const char *const names[] = {[MEMBER_UP] = "up",
                                        [MEMBER_UNKNOWN] = "unknown",
                                        [MEMBER_DRAINING] = "draining",
                                        [MEMBER_DOWN] = "down"};
    const char *text;
    int rc = take_text(r, at, object, 1, 64, &text);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *state = (enum member_state)i;
            return 0;
        }
    }
    return refuse(r, at, "is neither up, unknown, draining nor down");
}

/* Of the members' programs; printed and quoted by others. */
static int read_version(const struct reader *r, const struct place *at, const cJSON *facts,
                        struct member *m)
{
    struct place here = {at, "version", 0};
    const char *text;
    if (find(facts, here.name) == NULL)
        return 0;
    int rc = take_text(r, &here, facts, 0, sizeof m->version - 1, &text);
    for (size_t i = 0; rc == 0 && text[i] != '\0'; i++) {
        if (text[i] < ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\')
            rc = refuse(r, &here, "is not plain text");
    }
    if (rc == 0)
        (void)snprintf(m->version, sizeof m->version, "%s", text);
    return rc;
}

/* As take_number(); `usual` where it is not there. */
static int take_optional(const struct reader *r, const struct place *at, const cJSON *facts,
                         int64_t most, unsigned usual, unsigned *number)
{
    int64_t value = usual;
    int rc = find(facts, at->name) != NULL ? take_number(r, at, facts, 0, most, &value) : 0;
    *number = (unsigned)value;
    return rc;
}

/* What older ones do not tell may be missing. */
static int read_numbers(const struct reader *r, const struct place *at, const cJSON *facts,
                        struct member *m)
{
    struct place weight_at = {at, "weight", 0};
    struct place started_at = {at, "started", 0};
    struct place priority_at = {at, "priority", 0};
    struct place load_at = {at, "load", 0};
    struct place tls_at = {at, "tls_port", 0};
    unsigned tls_port = 0;
    int64_t weight;
    int rc = take_number(r, &weight_at, facts, 1, ROSTER_WEIGHT_MAX, &weight);
    if (rc == 0)
        rc = take_number(r, &started_at, facts, 0, STARTED_MAX, &m->started);
    if (rc == 0)
        rc = take_optional(r, &priority_at, facts, ROSTER_PRIORITY_MAX, ROSTER_PRIORITY_DEFAULT,
                           &m->priority);
    if (rc == 0)
        rc = take_optional(r, &load_at, facts, ROSTER_LOAD_MAX, ROSTER_LOAD_UNKNOWN, &m->load);
    if (rc == 0)
        rc = take_optional(r, &tls_at, facts, UINT16_MAX, 0, &tls_port);
    if (rc == 0) {
        m->weight = (unsigned)weight;
        m->tls_port = (uint16_t)tls_port;
    }
    return rc;
}

static int read_facts(const struct reader *r, const struct place *at, const cJSON *facts,
                      struct member *m)
{
    struct place zone_at = {at, "zone", 0};
    struct place state_at = {at, "state", 0};
    struct place self_at = {at, "self", 0};
    const char *zone;
    const cJSON *self;
    int rc = take_text(r, &zone_at, facts, 0, sizeof m->zone - 1, &zone);
    if (rc == 0)
        rc = read_state(r, &state_at, facts, &m->state);
    if (rc == 0)
        rc = read_numbers(r, at, facts, m);
    if (rc == 0)
        rc = read_version(r, at, facts, m);
    if (rc == 0)
        rc = take(r, &self_at, facts, &self);
    if (rc == 0 && !cJSON_IsBool(self))
        rc = refuse(r, &self_at, "is neither true nor false");
    if (rc != 0)
        return rc;
    (void)snprintf(m->zone, sizeof m->zone, "%s", zone);
    m->self = cJSON_IsTrue(self);
    return 0;
}

/* One that clients are not sent to any more, or none: what stands nowhere else must be draining. */
static int read_withheld(struct reader *r, const struct place *at, const cJSON *facts,
                         const char *identifier)
{
    struct place identifier_at = {at, "identifier", 0};
    struct place state_at = {at, "state", 0};
    struct entry e = {0};
    if (find(facts, "proxy") == NULL)
        return refuse(r, &identifier_at, "names no proxy of this document");
    if (r->entry_count == PROXIES_MAX)
        return refuse(r, at, "is one too many");
    int rc = read_place(r, at, facts, &e);
    if (rc == 0)
        rc = read_facts(r, at, facts, &e.member);
    if (rc == 0 && e.member.state != MEMBER_DRAINING)
        rc = refuse(r, &state_at, "is not draining, so it must be among the proxies");
    if (rc != 0)
        return rc;
    e.identifier = identifier;
    e.described = true;
    r->entry[r->entry_count++] = e;
    return 0;
}

static int read_described(struct reader *r, const struct place *at, const cJSON *facts)
{
    struct place identifier_at = {at, "identifier", 0};
    const char *identifier;
    if (!cJSON_IsObject(facts))
        return refuse(r, at, "is not an object");
    int rc = take_text(r, &identifier_at, facts, 1, IDENTIFIER_MAX, &identifier);
    if (rc != 0)
        return rc;
    struct entry *e = entry_find(r, identifier);
    if (e == NULL)
        return read_withheld(r, at, facts, identifier);
    if (e->described)
        return refuse(r, &identifier_at, "was described before");
    e->described = true;
    return read_facts(r, at, facts, &e->member);
}

/* Without it the members are there, but nothing is known of them. */
static int read_vendor(struct reader *r, const cJSON *root)
{
    struct place vendor_at = {NULL, "vendor-certferry", 0};
    struct place at = {&vendor_at, "members", 0};
    const cJSON *vendor = find(root, vendor_at.name);
    const cJSON *array, *facts;
    size_t index = 0;
    if (vendor == NULL)
        return 0;
    if (!cJSON_IsObject(vendor))
        return refuse(r, &vendor_at, "is not an object");
    int rc = take_array(r, &at, vendor, &array);
    if (rc == 0 && cJSON_GetArraySize(array) > ROSTER_MEMBERS_MAX)
        rc = refuse(r, &at, "are too many");
    if (rc != 0)
        return rc;
    cJSON_ArrayForEach(facts, array)
    {
        struct place here = {&at, NULL, index++};
        rc = read_described(r, &here, facts);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the whole ---- */

/* Whether an entry that our data says nothing of is the TLS door of one that it describes. */
static bool is_tls_door(const struct reader *r, const struct entry *e)
{
    if (e->described || e->member.protocol != MEMBER_HTTPS_CONNECT)
        return false;
    for (size_t i = 0; i < r->entry_count; i++) {
        const struct entry *other = &r->entry[i];
        if (other->described && other->usable && other->member.protocol == MEMBER_HTTP_CONNECT &&
            other->member.tls_port == e->member.port &&
            strcmp(other->member.host, e->member.host) == 0)
            return true;
    }
    return false;
}

/* Into the roster, which would silently merge two entries of one member. Those that only our data
 * tells of stand behind the others. */
static int add_members(const struct reader *r)
{
    struct place at = {NULL, "proxies", 0};
    struct roster *roster = r->content->roster = roster_create();
    if (roster == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < r->entry_count; i++) {
        struct place here = {&at, NULL, i};
        if (!r->entry[i].usable || is_tls_door(r, &r->entry[i]))
            continue;
        size_t before = roster_count(roster);
        int rc = roster_add(roster, &r->entry[i].member);
        if (rc == -ENOMEM)
            return rc;
        if (rc != 0)
            return refuse(r, &here, "is no member of a roster");
        if (roster_count(roster) == before)
            return refuse(r, &here, "leads to the same place as another one");
    }
    return 0;
}

/* Without a Router Advertisement there are no prefixes (RFC 8801 section 4.3). */
static int check_prefixes(const struct reader *r, const cJSON *root)
{
    struct place at = {NULL, "prefixes", 0};
    const cJSON *array;
    int rc = take_array(r, &at, root, &array);
    if (rc == 0 && array->child != NULL)
        rc = refuse(r, &at, "is not empty");
    return rc;
}

static int read_root(struct reader *r, const cJSON *root)
{
    if (!cJSON_IsObject(root))
        return refuse(r, NULL, "is not an object");
    int rc = refuse_twins(r, NULL, root);
    if (rc == 0)
        rc = read_identifier(r, root);
    if (rc == 0)
        rc = read_expires(r, root);
    if (rc == 0)
        rc = check_prefixes(r, root);
    if (rc == 0)
        rc = read_proxies(r, root);
    if (rc == 0)
        rc = check_rules(r, root);
    if (rc == 0)
        rc = read_vendor(r, root);
    return rc == 0 ? add_members(r) : rc;
}

int document_read_rules(struct document_content *c, struct span text, struct rules *rules,
                        char fault[DOCUMENT_FAULT_MAX])
{
    static const struct json_strict_limits limits = {
        DOCUMENT_READ_OCTETS_MAX, DOCUMENT_READ_VALUES_MAX, MEMBERS_MAX, DEPTH_MAX};
    struct reader r = {.content = c, .fault = fault, .rules = rules};
    size_t octet;
    *c = (struct document_content){0};
    fault[0] = '\0';
    const char *why = json_strict_fault(text, &limits, &octet);
    if (why != NULL)
        return refuse_octet(&r, octet, why);
    /* What is good JSON for us is for cJSON: only memory can be missing. */
    cJSON *root = cJSON_ParseWithLength(text.ptr, text.len);
    int rc = root != NULL ? read_root(&r, root) : -ENOMEM;
    cJSON_Delete(root);
    free(r.entry);
    if (rc != 0) {
        roster_unref(c->roster);
        *c = (struct document_content){0};
    }
    return rc;
}

int document_read(struct document_content *c, struct span text, char fault[DOCUMENT_FAULT_MAX])
{
    return document_read_rules(c, text, NULL, fault);
}
