#include "bench/origin_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/sockets.h"

enum { ANSWERS_MAX = 16, HEAD_MAX = 16384, SCEP_ANSWER = 2048 };

/* Messages made so far. */
static struct made {
    size_t body;
    bool scep;
    char *data;
    size_t len;
} made[ANSWERS_MAX];
static size_t made_count;

static const struct made *make(size_t body, bool scep)
{
    static const char format[] = "HTTP/1.1 200 OK\r\n"
                                 "Server: bench\r\n"
                                 "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                                 "Cache-Control: no-store\r\n"
                                 "Content-Type: %s\r\n"
                                 "Content-Length: %zu\r\n"
                                 "\r\n";
    const char *type = scep ? "application/x-pki-message" : "application/octet-stream";
    if (made_count == ANSWERS_MAX)
        give_up("more than %d sizes of answers", ANSWERS_MAX);
    struct made *m = &made[made_count++];
    m->body = body;
    m->scep = scep;
    m->data = malloc(HEAD_MAX + body);
    if (m->data == NULL)
        give_up("no memory for an answer of %zu octets", body);
    size_t head = (size_t)snprintf(m->data, HEAD_MAX, format, type, body);
    memset(m->data + head, 'x', body);
    m->len = head + body;
    return m;
}

static const struct made *find(size_t body, bool scep)
{
    for (size_t i = 0; i < made_count; i++) {
        if (made[i].body == body && made[i].scep == scep)
            return &made[i];
    }
    return make(body, scep);
}

/* Value of a field, or NULL. The head ends with NUL. */
static const char *field(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    if (at == NULL)
        return NULL;
    at += strlen(name);
    return at + strspn(at, " ");
}

static bool wants_close(const char *head)
{
    const char *connection = field(head, "\r\nConnection:");
    if (connection != NULL)
        return strncasecmp(connection, "close", 5) == 0;
    const char *line_end = strstr(head, "\r\n");
    return line_end - head > 8 && strncmp(line_end - 8, "HTTP/1.0", 8) == 0;
}

size_t http_request(const char *data, size_t len, struct http_answer *answer)
{
    char head[HEAD_MAX];
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head_len = (size_t)(end - data) + 4;
    if (head_len >= sizeof head)
        give_up("the HTTP origin got a head of %zu octets", head_len);
    memcpy(head, data, head_len);
    head[head_len] = '\0';
    const char *content_length = field(head, "\r\nContent-Length:");
    size_t body = content_length != NULL ? strtoul(content_length, NULL, 10) : 0;
    if (len < head_len + body)
        return 0;
    const char *path = strstr(head, "/bytes/");
    bool scep = strncmp(head, "POST ", 5) == 0;
    if (!scep && path == NULL)
        give_up("the HTTP origin got an unknown request: %.40s", head);
    size_t size = scep ? SCEP_ANSWER : strtoul(path + 7, NULL, 10);
    const struct made *m = find(size, scep);
    *answer = (struct http_answer){m->data, m->len, wants_close(head)};
    return head_len + body;
}
