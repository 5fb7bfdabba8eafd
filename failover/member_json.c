#include "failover/member_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#include "allowlist/hostname.h"
#include "failover/json_strict.h"
#include "proxy/base/log.h"

static const int64_t STARTED_MAX = 253402300799; /* 9999-12-31T23:59:59Z */

static const char *const protocols[] = {
    [MEMBER_HTTP_CONNECT] = "http-connect", [MEMBER_HTTPS_CONNECT] = "https-connect"};

/* ---- out ---- */

int member_json_print(struct buf *out, const struct member *m)
{
    int rc = buf_printf(out, "{\"protocol\":\"%s\",\"host\":\"%s\",\"port\":%u,\"zone\":",
                        protocols[m->protocol], m->host, (unsigned)m->port);
    if (rc == 0)
        rc = log_json_string(out, span_of(m->zone));
    if (rc == 0)
        rc = buf_printf(out, ",\"priority\":%u,\"weight\":%u,\"state\":\"%s\",\"started\":%" PRId64,
                        m->priority, m->weight, m->state == MEMBER_DRAINING ? "draining" : "up",
                        m->started);
    if (rc == 0 && m->load <= ROSTER_LOAD_MAX)
        rc = buf_printf(out, ",\"load\":%u", m->load);
    if (rc == 0 && m->tls_port != 0)
        rc = buf_printf(out, ",\"tls_port\":%u", (unsigned)m->tls_port);
    if (rc == 0)
        rc = buf_printf(out, ",\"version\":\"%s\"}", m->version);
    return rc;
}

/* ---- in ---- */

/* 0 and what was there, -ENOENT, or -EINVAL. */
static int take_text(const cJSON *object, const char *name, char *out, size_t size)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (item == NULL)
        return -ENOENT;
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= size)
        return -EINVAL;
    (void)snprintf(out, size, "%s", item->valuestring);
    return 0;
}

static int take_number(const cJSON *object, const char *name, int64_t max, int64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (item == NULL)
        return -ENOENT;
    double d = item->valuedouble;
    if (!cJSON_IsNumber(item) || !(d >= 0 && d <= (double)max) || (double)(int64_t)d != d)
        return -EINVAL;
    *out = (int64_t)d;
    return 0;
}

static const char *parse_protocol(struct member *m, const cJSON *root)
{
    char text[32] = "";
    int rc = take_text(root, "protocol", text, sizeof text);
    if (rc == 0 && strcmp(text, protocols[MEMBER_HTTPS_CONNECT]) == 0)
        m->protocol = MEMBER_HTTPS_CONNECT;
    else if (rc != 0 || strcmp(text, protocols[MEMBER_HTTP_CONNECT]) != 0)
        return "its protocol is neither http-connect nor https-connect";
    return NULL;
}

static const char *parse_place(struct member *m, const cJSON *root)
{
    char bracketed[ROSTER_TEXT_MAX + 3];
    struct hostname h;
    int64_t port = 0;
    if (take_text(root, "host", m->host, sizeof m->host) != 0)
        return "it has no host";
    bool v6 = strchr(m->host, ':') != NULL;
    int len = snprintf(bracketed, sizeof bracketed, v6 ? "[%s]" : "%s", m->host);
    if (hostname_parse(&h, (struct span){bracketed, (size_t)len}, NULL) != 0 ||
        strcmp(h.text, m->host) != 0)
        return "its host is no name or address in canonical form";
    if (take_number(root, "port", UINT16_MAX, &port) != 0 || port == 0)
        return "its port is no number from 1 to 65535";
    m->port = (uint16_t)port;
    return NULL;
}

static const char *parse_state(struct member *m, const cJSON *root)
{
    char text[16] = "";
    int rc = take_text(root, "state", text, sizeof text);
    m->state = MEMBER_UP;
    if (rc == 0 && strcmp(text, "draining") == 0)
        m->state = MEMBER_DRAINING;
    else if (rc == -EINVAL || (rc == 0 && strcmp(text, "up") != 0))
        return "its state is neither up nor draining";
    return NULL;
}

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    }
    return true;
}

static const char *parse_facts(struct member *m, const cJSON *root)
{
    int64_t priority = 0, weight = ROSTER_WEIGHT_DEFAULT, load = ROSTER_LOAD_UNKNOWN, started = 0;
    int64_t tls_port = 0;
    if (take_text(root, "zone", m->zone, sizeof m->zone) == -EINVAL)
        return "its zone is no text of 0 to 63 octets";
    if (take_text(root, "version", m->version, sizeof m->version) == -EINVAL ||
        !is_plain(m->version))
        return "its version is no plain text of 0 to 31 octets";
    if (take_number(root, "priority", ROSTER_PRIORITY_MAX, &priority) == -EINVAL)
        return "its priority is no number from 0 to 65535";
    if (take_number(root, "weight", ROSTER_WEIGHT_MAX, &weight) == -EINVAL)
        return "its weight is no number from 0 to 100";
    if (take_number(root, "load", ROSTER_LOAD_MAX, &load) == -EINVAL)
        return "its load is no number from 0 to 1000";
    if (take_number(root, "started", STARTED_MAX, &started) == -EINVAL)
        return "its start is no time";
    if (take_number(root, "tls_port", UINT16_MAX, &tls_port) == -EINVAL)
        return "its tls_port is no number from 0 to 65535";
    m->tls_port = (uint16_t)tls_port;
    m->priority = (unsigned)priority;
    m->weight = (unsigned)weight;
    m->load = (unsigned)load;
    m->started = started;
    return NULL;
}

/* A name that stands twice means one thing to one reader and another to the next. */
static const char *refuse_twins(const cJSON *root)
{
    for (const cJSON *item = root->child; item != NULL; item = item->next) {
        for (const cJSON *other = item->next; other != NULL; other = other->next) {
            if (strcmp(item->string, other->string) == 0)
                return "a name stands in it twice";
        }
    }
    return NULL;
}

static const char *parse(struct member *m, const cJSON *root)
{
    if (!cJSON_IsObject(root))
        return "it is no JSON object";
    const char *why = refuse_twins(root);
    if (why == NULL)
        why = parse_protocol(m, root);
    if (why == NULL)
        why = parse_place(m, root);
    if (why == NULL)
        why = parse_state(m, root);
    return why != NULL ? why : parse_facts(m, root);
}

int member_json_parse(struct member *m, struct span text, const char **why)
{
    const struct json_strict_limits limits = {
        .octets = MEMBER_JSON_MAX, .values = 64, .members = 32, .depth = 4};
    size_t at;
    *m = (struct member){0};
    *why = json_strict_fault(text, &limits, &at);
    if (*why != NULL)
        return -EINVAL;
    cJSON *root = cJSON_ParseWithLength(text.ptr, text.len);
    if (root == NULL)
        return -ENOMEM; /* it is JSON */
    *why = parse(m, root);
    cJSON_Delete(root);
    return *why == NULL ? 0 : -EINVAL;
}
