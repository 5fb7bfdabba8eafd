#include "failover/etcd_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "failover/json_strict.h"
#include "proxy/base/log.h"

enum { KEY_MAX = 1024 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- base64 (RFC 4648 section 4) ---- */

static int base64_add(struct buf *out, struct span s)
{
    int rc = 0;
    for (size_t i = 0; i < s.len && rc == 0; i += 3) {
        size_t n = s.len - i < 3 ? s.len - i : 3;
        unsigned long bits = 0;
        char four[4];
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < n ? (unsigned char)s.ptr[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            four[k] = k <= n ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
        rc = buf_add(out, four, sizeof four);
    }
    return rc;
}

static int base64_digit(char c)
{
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* In place, which is always enough room. False: it is not base64 as etcd writes it. */
static bool base64_decode(char *text, size_t *len)
{
    size_t n = strlen(text), out = 0, pad = 0;
    if (n % 4 != 0)
        return false;
    while (pad < 2 && pad < n && text[n - 1 - pad] == '=')
        pad++;
    unsigned long bits = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < n - pad ? base64_digit(text[i]) : 0;
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        if (i % 4 != 3)
            continue;
        for (int shift = 16; shift >= 0; shift -= 8)
            text[out++] = (char)(bits >> shift & 0xff);
        bits = 0;
    }
    *len = out - pad;
    return true;
}

/* ---- bodies ---- */

static int add_base64(struct buf *out, const char *name, struct span s)
{
    int rc = buf_printf(out, "\"%s\":\"", name);
    if (rc == 0)
        rc = base64_add(out, s);
    return rc == 0 ? buf_add_str(out, "\"") : rc;
}

/* Everything below `prefix`: up to the first key that is behind all of them. */
static int add_prefix(struct buf *out, struct span prefix)
{
    char end[KEY_MAX];
    if (prefix.len == 0 || prefix.len > sizeof end)
        return -ENOBUFS;
    memcpy(end, prefix.ptr, prefix.len);
    end[prefix.len - 1]++; /* it is '/' */
    int rc = add_base64(out, "key", prefix);
    if (rc == 0)
        rc = buf_add_str(out, ",");
    return rc == 0 ? add_base64(out, "range_end", (struct span){end, prefix.len}) : rc;
}

int etcd_print_login(struct buf *out, const char *user, const char *password)
{
    int rc = buf_add_str(out, "{\"name\":");
    if (rc == 0)
        rc = log_json_string(out, span_of(user));
    if (rc == 0)
        rc = buf_add_str(out, ",\"password\":");
    if (rc == 0)
        rc = log_json_string(out, span_of(password));
    return rc == 0 ? buf_add_str(out, "}") : rc;
}

int etcd_print_grant(struct buf *out, uint64_t ttl_s)
{
    return buf_printf(out, "{\"TTL\":\"%" PRIu64 "\"}", ttl_s);
}

int etcd_print_lease(struct buf *out, const char *lease)
{
    return buf_printf(out, "{\"ID\":\"%s\"}", lease);
}

int etcd_print_put(struct buf *out, struct span key, struct span value, const char *lease)
{
    int rc = buf_add_str(out, "{");
    if (rc == 0)
        rc = add_base64(out, "key", key);
    if (rc == 0)
        rc = buf_add_str(out, ",");
    if (rc == 0)
        rc = add_base64(out, "value", value);
    return rc == 0 ? buf_printf(out, ",\"lease\":\"%s\"}", lease) : rc;
}

int etcd_print_range(struct buf *out, struct span prefix)
{
    int rc = buf_add_str(out, "{");
    if (rc == 0)
        rc = add_prefix(out, prefix);
    return rc == 0 ? buf_printf(out, ",\"limit\":\"%d\"}", ETCD_PAIRS_MAX) : rc;
}

int etcd_print_watch(struct buf *out, struct span prefix, uint64_t start_revision)
{
    int rc = buf_add_str(out, "{\"create_request\":{");
    if (rc == 0)
        rc = add_prefix(out, prefix);
    return rc == 0 ? buf_printf(out, ",\"start_revision\":\"%" PRIu64 "\"}}", start_revision) : rc;
}

/* ---- answers ---- */

static const cJSON *find(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* A 64-bit number: digits in a string; left out: 0. */
static bool take_number(const cJSON *object, const char *name, uint64_t *out)
{
    const cJSON *item = find(object, name);
    *out = 0;
    if (item == NULL)
        return true;
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0' || strlen(item->valuestring) > 19)
        return false;
    for (const char *at = item->valuestring; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *out = *out * 10 + (uint64_t)(*at - '0');
    }
    return true;
}

static bool take_flag(const cJSON *object, const char *name, bool *out)
{
    const cJSON *item = find(object, name);
    *out = cJSON_IsTrue(item);
    return item == NULL || cJSON_IsBool(item);
}

/* It becomes a field of our requests: visible characters only. */
static bool take_token(const cJSON *object, struct etcd_answer *a)
{
    const cJSON *item = find(object, "token");
    if (item == NULL)
        return true;
    if (!cJSON_IsString(item) || strlen(item->valuestring) > ETCD_TOKEN_MAX)
        return false;
    for (const char *at = item->valuestring; *at != '\0'; at++) {
        if (*at < '!' || *at > '~')
            return false;
    }
    (void)snprintf(a->token, sizeof a->token, "%s", item->valuestring);
    return true;
}

/*
 * An answer has a "code" and a "message", and an "error" with the same text up to 3.5; a line of
 * the watch has an object of that name, whose code has another name up to 3.5.
 */
static void take_error(const cJSON *root, struct etcd_answer *a)
{
    const cJSON *error = find(root, "error");
    const cJSON *from = cJSON_IsObject(error) ? error : root;
    const cJSON *code = find(from, "grpc_code");
    const cJSON *message = find(from, "message");
    if (code == NULL)
        code = find(from, "code");
    a->failed = error != NULL || (code != NULL && message != NULL);
    if (!a->failed)
        return;
    if (cJSON_IsNumber(code) && code->valueint > 0)
        a->code = (unsigned)code->valueint;
    if (message == NULL)
        message = error;
    (void)snprintf(a->message, sizeof a->message, "%s",
                   cJSON_IsString(message) ? message->valuestring : "an error without words");
}

struct pairs {
    etcd_pair_cb on_pair;
    void *arg;
};

static bool take_base64(const cJSON *object, const char *name, struct span *out)
{
    cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    *out = SPAN("");
    if (item == NULL)
        return true;
    if (!cJSON_IsString(item) || !base64_decode(item->valuestring, &out->len))
        return false;
    out->ptr = item->valuestring;
    return true;
}

static bool tell_pair(const struct pairs *to, const cJSON *kv, bool deleted)
{
    struct etcd_pair pair = {.deleted = deleted};
    if (!cJSON_IsObject(kv) || !take_base64(kv, "key", &pair.key) ||
        !take_base64(kv, "value", &pair.value) ||
        !take_number(kv, "mod_revision", &pair.revision) || pair.key.len == 0 ||
        pair.key.len > KEY_MAX)
        return false;
    if (to->on_pair != NULL)
        to->on_pair(to->arg, &pair);
    return true;
}

static bool take_kvs(const cJSON *from, const struct pairs *to)
{
    const cJSON *kvs = find(from, "kvs");
    const cJSON *kv;
    if (kvs != NULL && !cJSON_IsArray(kvs))
        return false;
    cJSON_ArrayForEach(kv, kvs)
    {
        if (!tell_pair(to, kv, false))
            return false;
    }
    return true;
}

static bool take_events(const cJSON *from, const struct pairs *to)
{
    const cJSON *events = find(from, "events");
    const cJSON *event;
    if (events != NULL && !cJSON_IsArray(events))
        return false;
    cJSON_ArrayForEach(event, events)
    {
        const char *type = cJSON_IsObject(event) ? cJSON_GetStringValue(find(event, "type")) : NULL;
        bool deleted = type != NULL && strcmp(type, "DELETE") == 0;
        if (!cJSON_IsObject(event) || !tell_pair(to, find(event, "kv"), deleted))
            return false;
    }
    return true;
}

static const char *read_root(struct etcd_answer *a, const cJSON *root, const struct pairs *to)
{
    if (!cJSON_IsObject(root))
        return "an answer that is no object";
    take_error(root, a);
    const cJSON *from = find(root, "result");
    if (from == NULL)
        from = root;
    if (!cJSON_IsObject(from))
        return "a result that is no object";
    const cJSON *header = find(from, "header");
    uint64_t id = 0;
    if (header != NULL &&
        (!cJSON_IsObject(header) || !take_number(header, "revision", &a->revision)))
        return "a header without a revision";
    if (!take_number(from, "ID", &id) || !take_number(from, "TTL", &a->ttl_s))
        return "a lease that is no number";
    if (id != 0)
        (void)snprintf(a->id, sizeof a->id, "%" PRIu64, id);
    if (!take_flag(from, "created", &a->created) || !take_flag(from, "canceled", &a->canceled) ||
        !take_flag(from, "more", &a->more) ||
        !take_number(from, "compact_revision", &a->compact_revision))
        return "a watch that is not as it must be";
    if (!take_token(from, a))
        return "a token that is none";
    return take_kvs(from, to) && take_events(from, to) ? NULL : "a pair that is none";
}

int etcd_read(struct etcd_answer *a, struct span text, etcd_pair_cb on_pair, void *arg,
              const char **why)
{
    /* A pair has nine values, an event three more. */
    const struct json_strict_limits limits = {.octets = ETCD_ANSWER_MAX,
                                              .values = (size_t)ETCD_PAIRS_MAX * 16,
                                              .members = 32,
                                              .depth = 8};
    const struct pairs to = {on_pair, arg};
    size_t at;
    *a = (struct etcd_answer){0};
    *why = json_strict_fault(text, &limits, &at);
    if (*why != NULL)
        return -EINVAL;
    cJSON *root = cJSON_ParseWithLength(text.ptr, text.len);
    if (root == NULL)
        return -ENOMEM; /* it is JSON */
    *why = read_root(a, root, &to);
    cJSON_Delete(root);
    return *why == NULL ? 0 : -EINVAL;
}
