#include "failover/document.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "failover/signature.h"
#include "proxy/base/buf.h"
#include "proxy/base/log.h"

enum {
    TEXT_MAX = 64 * 1024 * 1024, /* octets; no allowlist that is allowed comes near it */
    AUTHORITY_MAX = ROSTER_TEXT_MAX + 16,
    EXPIRES_STEPS = 4, /* `expires` moves on this often in a time of validity */
    LOAD_STEP = 100    /* permille: a finer load would make each document a new one */
};

/* The members in order of preference: those that clients are sent to, then the others. */
struct ranking {
    const struct roster *roster;
    size_t order[ROSTER_MEMBERS_MAX];
    size_t offered, count;
};

/* "https://[2001:db8::1]:48999" without and with its scheme. */
static const char *authority_text(const struct member *m, uint16_t port, char out[AUTHORITY_MAX])
{
    bool v6 = strchr(m->host, ':') != NULL;
    (void)snprintf(out, AUTHORITY_MAX, v6 ? "[%s]:%u" : "%s:%u", m->host, (unsigned)port);
    return out;
}

static const char *member_authority(const struct member *m, char out[AUTHORITY_MAX])
{
    return authority_text(m, m->port, out);
}

/* Unique in a roster, and the same as long as the member is: so documents differ only where rosters
 * do. */
static const char *member_identifier(const struct member *m, char out[AUTHORITY_MAX])
{
    char authority[AUTHORITY_MAX];
    const char *scheme = m->protocol == MEMBER_HTTPS_CONNECT ? "https" : "http";
    (void)snprintf(out, AUTHORITY_MAX, "%s://%.*s", scheme, AUTHORITY_MAX - 9,
                   member_authority(m, authority));
    return out;
}

/*
 * A draining member takes no new work in a moment, so nobody is sent there while there is another
 * place to go. When there is none it is better than nothing: a lone proxy that is restarted must
 * not take itself out of its clients' lists.
 */
static void ranking_make(struct ranking *k, const struct document_options *o)
{
    size_t order[ROSTER_MEMBERS_MAX];
    size_t kept = 0;
    k->roster = o->roster;
    k->count = roster_order(o->roster, o->zone, order);
    bool elsewhere = k->count > 0 && roster_member(o->roster, order[0])->state < MEMBER_DRAINING;
    k->offered = 0;
    for (size_t i = 0; i < k->count; i++) {
        if (!elsewhere || roster_member(o->roster, order[i])->state != MEMBER_DRAINING)
            k->order[k->offered++] = order[i];
        else
            order[kept++] = order[i]; /* behind what was read already */
    }
    memcpy(k->order + k->offered, order, kept * sizeof *order);
}

static const struct member *ranked(const struct ranking *k, size_t i)
{
    return roster_member(k->roster, k->order[i]);
}

static const char *state_name(enum member_state state)
{
    static const char *const names[] = {[MEMBER_UP] = "up",
                                        [MEMBER_UNKNOWN] = "unknown",
                                        [MEMBER_DRAINING] = "draining",
                                        [MEMBER_DOWN] = "down"};
    return names[state];
}

/* FNV-1a, once from each end: not for secrets, but two texts that a roster yields never meet. */
static uint64_t text_hash(const char *text, size_t len, bool backwards)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        hash ^= (unsigned char)text[backwards ? len - 1 - i : i];
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

/*
 * The end of validity of what is made at `now`: at least the whole ttl ahead, and the same for
 * every moment of a step, so that text and ETag stay the same during it.
 */
static time_t expires_at(const struct document_options *o)
{
    time_t ttl = o->ttl_seconds > 0 ? (time_t)o->ttl_seconds : 1;
    time_t step = ttl / EXPIRES_STEPS > 0 ? ttl / EXPIRES_STEPS : 1;
    return (o->now + ttl + step - 1) / step * step;
}

/* Copies the text into the document and fills what hangs on it. */
static int document_finish(struct document *d, const struct document_options *o, struct span text)
{
    d->text = strndup(text.ptr, text.len);
    if (d->text == NULL)
        return -ENOMEM;
    d->length = text.len;
    (void)snprintf(d->etag, sizeof d->etag, "\"%016" PRIx64 "%016" PRIx64 "\"",
                   text_hash(text.ptr, text.len, false), text_hash(text.ptr, text.len, true));
    /* The first second in which expires_at() is another. */
    d->stale_after = expires_at(o) - (o->ttl_seconds > 0 ? (time_t)o->ttl_seconds : 1) + 1;
    d->max_age = (unsigned)(d->stale_after - o->now);
    return 0;
}

void document_release(struct document *d)
{
    free(d->text);
    free(d->signature);
    *d = (struct document){0};
}

/* Sorted port ranges that do not touch each other. */
struct port_set {
    struct port_range *range; /* owned */
    size_t count;
};

static int ranges_compare(const void *a, const void *b)
{
    const struct port_range *x = a;
    const struct port_range *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : 0;
}

static void ports_join(struct port_set *s)
{
    size_t kept = 0;
    qsort(s->range, s->count, sizeof *s->range, ranges_compare);
    for (size_t i = 0; i < s->count; i++) {
        struct port_range *last = kept > 0 ? &s->range[kept - 1] : NULL;
        if (last != NULL && s->range[i].first <= last->last + 1) {
            if (s->range[i].last > last->last)
                last->last = s->range[i].last;
        } else {
            s->range[kept++] = s->range[i];
        }
    }
    s->count = kept;
}

/*
 * All ports that the policy allows. The draft has no word for a proxy that also forwards plain
 * http://, so ports of both kinds stand in one list; what a client then asks on a port of the other
 * kind is answered with the reason.
 */
static int ports_collect(struct port_set *s, const struct policy *p)
{
    const struct port_range *connect;
    const struct port_range *http;
    size_t connects = policy_ports(p, true, &connect);
    size_t https = policy_ports(p, false, &http);
    *s = (struct port_set){0};
    if (connects + https == 0)
        return 0;
    s->range = calloc(connects + https, sizeof *s->range);
    if (s->range == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < connects; i++)
        s->range[s->count++] = connect[i];
    for (size_t i = 0; i < https; i++)
        s->range[s->count++] = http[i];
    ports_join(s);
    return 0;
}

static bool rule_is_address(const char *text)
{
    struct addr ignored;
    return addr_parse(&ignored, span_of(text), 0) == 0;
}

/* Our own text as a JSON string: cJSON would pass on what is not UTF-8. */
static bool text_put(cJSON *object, const char *name, const char *text)
{
    struct buf b;
    buf_init(&b, 8192);
    bool ok = log_json_string(&b, span_of(text)) == 0 && buf_add(&b, "", 1) == 0 &&
              cJSON_AddRawToObject(object, name, buf_head(&b)) != NULL;
    buf_release(&b);
    return ok;
}

/* Takes `item`, which may be NULL. */
static bool array_put(cJSON *array, cJSON *item)
{
    if (item != NULL && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool expires_put(cJSON *root, time_t when)
{
    struct tm tm;
    char text[40];
    if (gmtime_r(&when, &tm) == NULL)
        return false;
    /* RFC 3339 */
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return cJSON_AddStringToObject(root, "expires", text) != NULL;
}

static bool place_put(cJSON *object, const struct member *m)
{
    char authority[AUTHORITY_MAX];
    const char *protocol = m->protocol == MEMBER_HTTPS_CONNECT ? "https-connect" : "http-connect";
    return cJSON_AddStringToObject(object, "protocol", protocol) != NULL &&
           cJSON_AddStringToObject(object, "proxy", member_authority(m, authority)) != NULL;
}

static bool identifier_put(cJSON *object, const struct member *m)
{
    char identifier[AUTHORITY_MAX];
    return cJSON_AddStringToObject(object, "identifier", member_identifier(m, identifier)) != NULL;
}

/* The same proxy's other door, as a member of its own. False: it has none. */
static bool tls_door(const struct member *m, struct member *door)
{
    *door = *m;
    door->protocol = MEMBER_HTTPS_CONNECT;
    door->port = m->tls_port;
    return m->tls_port != 0;
}

/* A member for everybody: what the draft defines. */
static bool proxy_put(cJSON *proxies, const struct member *m)
{
    cJSON *proxy = cJSON_CreateObject();
    return array_put(proxies, proxy) && place_put(proxy, m) && identifier_put(proxy, m);
}

/*
 * TLS doors stand behind all members: who speaks both protocols has then asked the next proxy
 * before a second door of one that is away.
 */
static bool tls_doors_put(cJSON *proxies, const struct ranking *k)
{
    bool ok = true;
    for (size_t i = 0; ok && i < k->offered; i++) {
        struct member door;
        if (tls_door(ranked(k, i), &door))
            ok = proxy_put(proxies, &door);
    }
    return ok;
}

/* What is not known is not there. */
static bool vendor_optional_put(cJSON *member, const struct member *m)
{
    unsigned load = (m->load + LOAD_STEP / 2) / LOAD_STEP * LOAD_STEP;
    if (m->load <= ROSTER_LOAD_MAX && !cJSON_AddNumberToObject(member, "load", load))
        return false;
    if (m->tls_port != 0 && !cJSON_AddNumberToObject(member, "tls_port", m->tls_port))
        return false;
    return m->version[0] == '\0' || cJSON_AddStringToObject(member, "version", m->version);
}

/* The same member for our own: what the draft has no names for. Where it is stands here only of
 * one that is not offered. */
static bool vendor_member_put(cJSON *members, const struct member *m, bool offered)
{
    cJSON *member = cJSON_CreateObject();
    return array_put(members, member) && identifier_put(member, m) &&
           (offered || place_put(member, m)) && text_put(member, "zone", m->zone) &&
           cJSON_AddStringToObject(member, "state", state_name(m->state)) &&
           cJSON_AddNumberToObject(member, "priority", m->priority) &&
           cJSON_AddNumberToObject(member, "weight", m->weight) &&
           cJSON_AddNumberToObject(member, "started", (double)m->started) &&
           cJSON_AddBoolToObject(member, "self", m->self) && vendor_optional_put(member, m);
}

static bool ports_put(cJSON *rule, const struct port_set *ports)
{
    cJSON *array = cJSON_AddArrayToObject(rule, "ports");
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < ports->count; i++) {
        const struct port_range *r = &ports->range[i];
        char text[16];
        (void)snprintf(text, sizeof text, r->first == r->last ? "%u" : "%u-%u", (unsigned)r->first,
                       (unsigned)r->last);
        ok = array_put(array, cJSON_CreateString(text));
    }
    return ok;
}

/* What all rules share: which ports, and which proxies in which order. */
struct rule_tail {
    const struct port_set *ports;
    const struct ranking *ranking;
};

static bool identifiers_put(cJSON *rule, const struct rule_tail *t)
{
    cJSON *array = cJSON_AddArrayToObject(rule, "proxies");
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < t->ranking->offered; i++) {
        char identifier[AUTHORITY_MAX];
        const struct member *m = ranked(t->ranking, i);
        ok = array_put(array, cJSON_CreateString(member_identifier(m, identifier)));
    }
    for (size_t i = 0; ok && i < t->ranking->offered; i++) {
        char identifier[AUTHORITY_MAX];
        struct member door;
        if (tls_door(ranked(t->ranking, i), &door))
            ok = array_put(array, cJSON_CreateString(member_identifier(&door, identifier)));
    }
    return ok;
}

/*
 * One rule of the names, or of the addresses, that the policy allows; none when there are no such.
 * They cannot share one: all properties of a rule must match, and no destination is in `domains`
 * and in `subnets`.
 */
static bool rule_put(cJSON *match, const struct rules *rules, bool addresses,
                     const struct rule_tail *t)
{
    cJSON *rule = NULL;
    cJSON *list = NULL;
    for (size_t i = 0; i < rules_count(rules); i++) {
        const char *text = rules_text(rules, i);
        if (rule_is_address(text) != addresses)
            continue;
        if (rule == NULL) {
            rule = cJSON_CreateObject();
            if (!array_put(match, rule))
                return false;
            list = cJSON_AddArrayToObject(rule, addresses ? "subnets" : "domains");
        }
        if (list == NULL || !array_put(list, cJSON_CreateString(text)))
            return false;
    }
    return rule == NULL || (ports_put(rule, t->ports) && identifiers_put(rule, t));
}

static bool members_put(cJSON *proxies, cJSON *members, const struct ranking *k)
{
    bool ok = proxies != NULL && members != NULL;
    for (size_t i = 0; ok && i < k->count; i++) {
        const struct member *m = ranked(k, i);
        bool offered = i < k->offered;
        ok = (!offered || proxy_put(proxies, m)) && vendor_member_put(members, m, offered);
    }
    return ok && tls_doors_put(proxies, k);
}

/* Fills the root object in the order in which people read it. */
static bool pvd_fill(cJSON *root, const struct document_options *o, const struct rule_tail *t)
{
    const struct rules *rules = policy_rules(o->policy);
    /* Without a trailing dot: it is compared with the proxy's host name as the client was given it.
     */
    bool ok = text_put(root, "identifier", o->identifier) && expires_put(root, expires_at(o)) &&
              cJSON_AddArrayToObject(root, "prefixes") != NULL;
    cJSON *proxies = ok ? cJSON_AddArrayToObject(root, "proxies") : NULL;
    cJSON *match = ok ? cJSON_AddArrayToObject(root, "proxy-match") : NULL;
    cJSON *vendor = ok ? cJSON_AddObjectToObject(root, "vendor-certferry") : NULL;
    if (proxies == NULL || match == NULL || vendor == NULL ||
        !text_put(vendor, "version", o->version) ||
        !members_put(proxies, cJSON_AddArrayToObject(vendor, "members"), t->ranking))
        return false;
    /* A rule without `ports` would match any port. No rule at all: these proxies are for nothing.
     */
    if (t->ports->count == 0 || t->ranking->offered == 0)
        return true;
    return rule_put(match, rules, false, t) && rule_put(match, rules, true, t);
}

static int pvd_sign(struct document *d, const struct signature_key *key)
{
    int rc = signature_make(&d->signature, key, (struct span){d->text, d->length});
    if (rc != 0)
        document_release(d);
    return rc;
}

int document_pvd(struct document *d, const struct document_options *o)
{
    struct ranking ranking;
    struct port_set ports;
    *d = (struct document){0};
    if (ports_collect(&ports, o->policy) != 0)
        return -ENOMEM;
    ranking_make(&ranking, o);
    struct rule_tail tail = {&ports, &ranking};
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;
    if (root != NULL && pvd_fill(root, o, &tail))
        text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    free(ports.range);
    int rc = text == NULL ? -ENOMEM : document_finish(d, o, span_of(text));
    cJSON_free(text);
    return rc == 0 && o->sign_key != NULL ? pvd_sign(d, o->sign_key) : rc;
}

/* Adds `text` as the inside of a string literal; nothing in it can end the literal or a script
 * element. */
static int script_add(struct buf *b, const char *text)
{
    int rc = 0;
    for (; rc == 0 && *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c >= 0x7f || strchr("\"'\\<>&", c) != NULL)
            rc = buf_printf(b, "\\x%02x", (unsigned)c);
        else
            rc = buf_add(b, text, 1);
    }
    return rc;
}

/* "PROXY a:48999; PROXY b:48999" */
static int script_proxies_add(struct buf *b, const struct document_options *o)
{
    struct ranking ranking;
    ranking_make(&ranking, o);
    int rc = ranking.offered == 0 ? buf_add_str(b, "DIRECT") : 0;
    for (size_t i = 0; rc == 0 && i < ranking.offered; i++) {
        char authority[AUTHORITY_MAX];
        const struct member *m = ranked(&ranking, i);
        rc = buf_printf(b, "%s%s ", i > 0 ? "; " : "",
                        m->protocol == MEMBER_HTTPS_CONNECT ? "HTTPS" : "PROXY");
        if (rc == 0)
            rc = script_add(b, member_authority(m, authority));
    }
    return rc;
}

/*
 * The entries of one of the two tables. The dot before each name keeps them apart from what every
 * object of the language has, such as "constructor".
 */
static int script_rules_add(struct buf *b, const struct rules *rules, bool domains)
{
    const char *comma = "";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < rules_count(rules); i++) {
        const char *text = rules_text(rules, i);
        bool is_domain = strncmp(text, "*.", 2) == 0;
        if (is_domain != domains)
            continue;
        rc = buf_printf(b, "%s\n    \".", comma);
        if (rc == 0)
            rc = script_add(b, is_domain ? text + 2 : text);
        if (rc == 0)
            rc = buf_add_str(b, "\": 1");
        comma = ",";
    }
    return rc;
}

/* ECMAScript 3: some clients run nothing newer. The literal that is allowed may stand in brackets.
 */
static const char script_search[] = "\n};\n"
                                    "function FindProxyForURL(url, host) {\n"
                                    "    var name = host.toLowerCase();\n"
                                    "    if (!/^(https?|wss?):/i.test(url))\n"
                                    "        return \"DIRECT\";\n"
                                    "    if (name.charAt(0) === \"[\")\n"
                                    "        name = name.substring(1, name.length - 1);\n"
                                    "    if (name.charAt(name.length - 1) === \".\")\n"
                                    "        name = name.substring(0, name.length - 1);\n"
                                    "    if (hosts[\".\" + name] === 1)\n"
                                    "        return proxies;\n"
                                    "    while (name !== \"\") {\n"
                                    "        if (domains[\".\" + name] === 1)\n"
                                    "            return proxies;\n"
                                    "        var dot = name.indexOf(\".\");\n"
                                    "        name = dot < 0 ? \"\" : name.substring(dot + 1);\n"
                                    "    }\n"
                                    "    return \"DIRECT\";\n"
                                    "}\n";

static int script_write(struct buf *b, const struct document_options *o)
{
    const struct rules *rules = policy_rules(o->policy);
    int rc =
        buf_add_str(b, "// Made by certferry from its allowlist and roster.\nvar proxies = \"");
    if (rc == 0)
        rc = script_proxies_add(b, o);
    if (rc == 0)
        rc = buf_add_str(b, "\";\nvar domains = {");
    if (rc == 0)
        rc = script_rules_add(b, rules, true);
    if (rc == 0)
        rc = buf_add_str(b, "\n};\nvar hosts = {");
    if (rc == 0)
        rc = script_rules_add(b, rules, false);
    if (rc == 0)
        rc = buf_add_str(b, script_search);
    return rc;
}

int document_pac(struct document *d, const struct document_options *o)
{
    struct buf b;
    *d = (struct document){0};
    buf_init(&b, TEXT_MAX);
    int rc = script_write(&b, o);
    if (rc == 0)
        rc = document_finish(d, o, buf_span(&b));
    buf_release(&b);
    return rc == 0 ? 0 : -ENOMEM;
}
