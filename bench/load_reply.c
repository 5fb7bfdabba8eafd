#include "bench/load_reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void reply_begin(struct reply *r)
{
    r->head_len = 0;
    r->body_left = 0;
    r->in_body = r->to_end = r->close = false;
}

static const char *field(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    if (at == NULL)
        return NULL;
    at += strlen(name);
    return at + strspn(at, " ");
}

static enum reply_state read_head(struct reply *r, bool body)
{
    if (strncmp(r->head, "HTTP/1.", 7) != 0 || strncmp(r->head + 8, " 200", 4) != 0)
        return REPLY_BAD;
    if (!body)
        return REPLY_DONE;
    const char *connection = field(r->head, "\r\nConnection:");
    const char *length = field(r->head, "\r\nContent-Length:");
    bool old = r->head[7] == '0';
    r->close = connection != NULL ? strncasecmp(connection, "close", 5) == 0 : old;
    if (field(r->head, "\r\nTransfer-Encoding:") != NULL)
        return REPLY_BAD;
    r->in_body = true;
    r->to_end = length == NULL;
    r->body_left = length != NULL ? strtoul(length, NULL, 10) : 0;
    return REPLY_MORE;
}

static enum reply_state feed_body(struct reply *r, size_t len)
{
    if (r->to_end)
        return REPLY_MORE;
    if (len > r->body_left)
        return REPLY_BAD;
    r->body_left -= len;
    return r->body_left == 0 ? REPLY_DONE : REPLY_MORE;
}

enum reply_state reply_feed(struct reply *r, const char *data, size_t len, bool body)
{
    if (r->in_body)
        return feed_body(r, len);
    size_t room = sizeof r->head - 1 - r->head_len;
    size_t taken = len < room ? len : room;
    memcpy(r->head + r->head_len, data, taken);
    size_t before = r->head_len;
    r->head_len += taken;
    r->head[r->head_len] = '\0';
    const char *end = strstr(r->head, "\r\n\r\n");
    if (end == NULL)
        return taken < len ? REPLY_BAD : REPLY_MORE;
    size_t used = (size_t)(end - r->head) + 4 - before;
    enum reply_state state = read_head(r, body);
    if (state == REPLY_DONE)
        return used == len ? REPLY_DONE : REPLY_BAD;
    return state == REPLY_MORE ? feed_body(r, len - used) : state;
}

enum reply_state reply_end(const struct reply *r)
{
    return r->in_body && r->to_end ? REPLY_DONE : REPLY_BAD;
}
