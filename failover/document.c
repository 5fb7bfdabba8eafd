#include "failover/document.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"

enum { DOCUMENT_MAX = 16 * 1024 * 1024, AUTHORITY_MAX = ROSTER_TEXT_MAX + 10 };

/* ---- what both documents need ---- */

static const char *const state_names[] = {"up", "unknown", "draining", "down"};

/* "host:port", an IPv6 address in brackets. */
static void print_authority(char out[AUTHORITY_MAX], const struct member *m)
{
    bool v6 = strchr(m->host, ':') != NULL;
    (void)snprintf(out, AUTHORITY_MAX, "%s%s%s:%u", v6 ? "[" : "", m->host, v6 ? "]" : "",
                   (unsigned)m->port);
}

/* FNV-1a of 64 bits: a change of the text changes the tag; nobody is kept from forging one. */
static uint64_t hash_text(const char *text, size_t length, uint64_t h)
{
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3U;
    return h;
}

static void finish(struct document *d, char *text, size_t length, const struct document_options *o)
{
    time_t step = (time_t)(o->ttl_seconds / 4 > 0 ? o->ttl_seconds / 4 : 1);
    d->text = text;
    d->length = length;
    (void)snprintf(d->etag, sizeof d->etag, "\"%016" PRIx64 "%016" PRIx64 "\"",
                   hash_text(text, length, 0xcbf29ce484222325U), hash_text(text, length, 0x9ae16a3b2f90404fU));
    d->stale_after = (o->now / step + 1) * step;
    d->max_age = (unsigned)(d->stale_after - o->now);
}

/*
 * `expires` moves in steps of a quarter of the TTL, so that text and ETag stay the same for that long; it lies at least
 * one TTL ahead.
 */
static void print_expires(char *out, size_t size, const struct document_options *o)
{
    time_t step = (time_t)(o->ttl_seconds / 4 > 0 ? o->ttl_seconds / 4 : 1);
    time_t expires = (o->now / step + 1) * step + (time_t)o->ttl_seconds;
    struct tm tm;
    (void)gmtime_r(&expires, &tm);
    (void)strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static bool is_literal(const char *rule)
{
    struct addr a;
    return addr_parse(&a, span_of(rule), 0) == 0;
}

/* ---- PvD ---- */

/* cJSON owns what is added; `*ok` turns false when memory is out. */
static void add(cJSON *object, const char *key, cJSON *value, bool *ok)
{
    if (value == NULL || object == NULL || !cJSON_AddItemToObject(object, key, value))
        *ok = false;
}

static void append(cJSON *array, cJSON *value, bool *ok)
{
    if (value == NULL || array == NULL || !cJSON_AddItemToArray(array, value))
        *ok = false;
}

static void print_identifier(char out[32], size_t position)
{
    (void)snprintf(out, 32, "proxy-%zu", position + 1);
}

static cJSON *proxies_of(const struct document_options *o, const size_t *order, size_t count, bool *ok)
{
    cJSON *proxies = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        const struct member *m = roster_member(o->roster, order[i]);
        char authority[AUTHORITY_MAX], identifier[32];
        cJSON *entry = cJSON_CreateObject();
        print_authority(authority, m);
        print_identifier(identifier, i);
        add(entry, "protocol",
            cJSON_CreateString(m->protocol == MEMBER_HTTPS_CONNECT ? "https-connect" : "http-connect"), ok);
        add(entry, "proxy", cJSON_CreateString(authority), ok);
        add(entry, "identifier", cJSON_CreateString(identifier), ok);
        append(proxies, entry, ok);
    }
    return proxies;
}

static bool has_text(const cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (strcmp(item->valuestring, text) == 0)
            return true;
    }
    return false;
}

/* All ports we take: for CONNECT and for plain http. */
static cJSON *ports_of(const struct document_options *o, bool *ok)
{
    cJSON *ports = cJSON_CreateArray();
    for (int connect = 1; connect >= 0; connect--) {
        const struct port_range *ranges;
        size_t count = policy_ports(o->policy, connect == 1, &ranges);
        for (size_t i = 0; i < count; i++) {
            char text[16];
            if (ranges[i].first == ranges[i].last)
                (void)snprintf(text, sizeof text, "%u", (unsigned)ranges[i].first);
            else
                (void)snprintf(text, sizeof text, "%u-%u", (unsigned)ranges[i].first,
                               (unsigned)ranges[i].last);
            if (!has_text(ports, text))
                append(ports, cJSON_CreateString(text), ok);
        }
    }
    return ports;
}

static cJSON *identifiers_of(size_t count, bool *ok)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        char identifier[32];
        print_identifier(identifier, i);
        append(list, cJSON_CreateString(identifier), ok);
    }
    return list;
}

/*
 * One destination rule over names, one over addresses: all properties of a rule must match together, so the two cannot
 * share one.
 */
static void add_rule(cJSON *match, const struct document_options *o, bool literals, size_t count, bool *ok)
{
    const struct rules *rules = policy_rules(o->policy);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < rules_count(rules); i++) {
        const char *text = rules_text(rules, i);
        if (is_literal(text) == literals)
            append(list, cJSON_CreateString(text), ok);
    }
    if (list == NULL || cJSON_GetArraySize(list) == 0) {
        cJSON_Delete(list);
        return;
    }
    cJSON *rule = cJSON_CreateObject();
    add(rule, literals ? "subnets" : "domains", list, ok);
    add(rule, "ports", ports_of(o, ok), ok);
    add(rule, "proxies", identifiers_of(count, ok), ok);
    append(match, rule, ok);
}

static cJSON *vendor_of(const struct document_options *o, const size_t *order, size_t count, bool *ok)
{
    cJSON *vendor = cJSON_CreateObject();
    cJSON *members = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        const struct member *m = roster_member(o->roster, order[i]);
        char identifier[32];
        cJSON *entry = cJSON_CreateObject();
        print_identifier(identifier, i);
        add(entry, "identifier", cJSON_CreateString(identifier), ok);
        add(entry, "zone", cJSON_CreateString(m->zone), ok);
        add(entry, "state", cJSON_CreateString(state_names[m->state]), ok);
        add(entry, "weight", cJSON_CreateNumber(m->weight), ok);
        add(entry, "self", cJSON_CreateBool(m->self), ok);
        if (m->started > 0)
            add(entry, "started", cJSON_CreateNumber((double)m->started), ok);
        append(members, entry, ok);
    }
    add(vendor, "version", cJSON_CreateString(o->version), ok);
    add(vendor, "zone", cJSON_CreateString(o->zone), ok);
    add(vendor, "members", members, ok);
    return vendor;
}

static cJSON *pvd_of(const struct document_options *o, bool *ok)
{
    size_t order[ROSTER_MEMBERS_MAX];
    size_t count = roster_order(o->roster, o->zone, order);
    char identifier[ROSTER_TEXT_MAX + 2], expires[32];
    bool literal = is_literal(o->identifier);
    /* A fully qualified name, with its dot as in the draft's examples. */
    (void)snprintf(identifier, sizeof identifier, "%s%s", o->identifier, literal ? "" : ".");
    print_expires(expires, sizeof expires, o);
    cJSON *root = cJSON_CreateObject();
    cJSON *match = cJSON_CreateArray();
    add(root, "identifier", cJSON_CreateString(identifier), ok);
    add(root, "expires", cJSON_CreateString(expires), ok);
    add(root, "prefixes", cJSON_CreateArray(), ok);
    add(root, "proxies", proxies_of(o, order, count, ok), ok);
    add_rule(match, o, false, count, ok);
    add_rule(match, o, true, count, ok);
    add(root, "proxy-match", match, ok);
    add(root, "vendor-certferry", vendor_of(o, order, count, ok), ok);
    return root;
}

int document_pvd(struct document *d, const struct document_options *o)
{
    bool ok = true;
    cJSON *root = pvd_of(o, &ok);
    char *text = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (text == NULL)
        return -ENOMEM;
    finish(d, text, strlen(text), o);
    return 0;
}

/* ---- PAC ---- */

/* Rules and authorities are canonical host names and numbers, so nothing in them can end a string of the script. */
static int add_pac_lists(struct buf *b, const struct rules *rules)
{
    int rc = buf_add_str(b, "var certferryDomains = {");
    const char *comma = "";
    for (size_t i = 0; i < rules_count(rules) && rc == 0; i++) {
        const char *text = rules_text(rules, i);
        if (strncmp(text, "*.", 2) == 0) {
            rc = buf_printf(b, "%s\n  \"%s\": 1", comma, text + 2);
            comma = ",";
        }
    }
    if (rc == 0)
        rc = buf_add_str(b, "\n};\nvar certferryHosts = {");
    comma = "";
    for (size_t i = 0; i < rules_count(rules) && rc == 0; i++) {
        const char *text = rules_text(rules, i);
        if (strncmp(text, "*.", 2) != 0) {
            rc = buf_printf(b, "%s\n  \"%s\": 1", comma, text);
            comma = ",";
        }
    }
    return rc == 0 ? buf_add_str(b, "\n};\n") : rc;
}

static int add_pac_proxies(struct buf *b, const struct document_options *o)
{
    size_t order[ROSTER_MEMBERS_MAX];
    size_t count = roster_order(o->roster, o->zone, order);
    int rc = buf_add_str(b, "var certferryProxies = \"");
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct member *m = roster_member(o->roster, order[i]);
        char authority[AUTHORITY_MAX];
        print_authority(authority, m);
        rc = buf_printf(b, "%s%s %s", i > 0 ? "; " : "",
                        m->protocol == MEMBER_HTTPS_CONNECT ? "HTTPS" : "PROXY", authority);
    }
    return rc == 0 ? buf_add_str(b, "\";\n\n") : rc;
}

static const char pac_function[] =
    "function FindProxyForURL(url, host) {\n"
    "  var name = host.toLowerCase().replace(/^\\[|\\]$/g, \"\").replace(/\\.$/, \"\");\n"
    "  if (certferryHosts.hasOwnProperty(name)) return certferryProxies;\n"
    "  while (name !== \"\") {\n"
    "    if (certferryDomains.hasOwnProperty(name)) return certferryProxies;\n"
    "    var dot = name.indexOf(\".\");\n"
    "    if (dot < 0) break;\n"
    "    name = name.substring(dot + 1);\n"
    "  }\n"
    "  return \"DIRECT\";\n"
    "}\n";

int document_pac(struct document *d, const struct document_options *o)
{
    struct buf b;
    buf_init(&b, DOCUMENT_MAX);
    int rc = buf_add_str(&b, "// Certificate authorities through certferry; everything else is not its business.\n");
    if (rc == 0)
        rc = add_pac_lists(&b, policy_rules(o->policy));
    if (rc == 0)
        rc = add_pac_proxies(&b, o);
    if (rc == 0)
        rc = buf_add_str(&b, pac_function);
    char *text = rc == 0 ? malloc(buf_len(&b) + 1) : NULL;
    size_t length = buf_len(&b);
    if (text != NULL) {
        memcpy(text, buf_head(&b), length);
        text[length] = '\0';
    }
    buf_release(&b);
    if (text == NULL)
        return -ENOMEM;
    finish(d, text, length, o);
    return 0;
}

void document_release(struct document *d)
{
    /* The text is cJSON's or ours; both come from malloc(). */
    free(d->text);
    *d = (struct document){0};
}
