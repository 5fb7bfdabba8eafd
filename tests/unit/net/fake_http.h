/*
 * fake_http.h - an HTTP server for tests on 127.0.0.1, on the loop of the test: the test's callback
 * sees each whole request and sends octets, at once or later.
 */
#ifndef CERTFERRY_TESTS_FAKE_HTTP_H
#define CERTFERRY_TESTS_FAKE_HTTP_H

#include <arpa/inet.h>
#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proxy/base/list.h"

enum { FAKE_HTTP_REQUEST_MAX = 64 * 1024 };

struct fake_http_conn;

struct fake_http {
    uv_tcp_t tcp;
    struct list conns;
    void (*on_request)(struct fake_http_conn *c, const char *request, const char *body);
    void *arg;
    unsigned port;
    unsigned accepted, requests;
    char url[64]; /* "http://127.0.0.1:port" */
};

struct fake_http_conn {
    uv_tcp_t tcp;
    struct list node;
    struct fake_http *server;
    size_t got;
    char in[FAKE_HTTP_REQUEST_MAX + 1];
};

struct fake_http_write {
    uv_write_t request;
    char octets[];
};

static inline void fake_http_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void fake_http_drop(struct fake_http_conn *c)
{
    if (uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    list_remove(&c->node);
    uv_close((uv_handle_t *)&c->tcp, fake_http_closed);
}

static inline void fake_http_written(uv_write_t *request, int status)
{
    (void)status;
    free(request->data);
}

static inline void fake_http_send_octets(struct fake_http_conn *c, const char *octets, size_t len)
{
    struct fake_http_write *w = malloc(sizeof *w + len);
    assert(w != NULL);
    memcpy(w->octets, octets, len);
    w->request.data = w;
    uv_buf_t buf = uv_buf_init(w->octets, (unsigned)len);
    int rc = uv_write(&w->request, (uv_stream_t *)&c->tcp, &buf, 1, fake_http_written);
    if (rc != 0)
        free(w);
}

static inline void fake_http_send(struct fake_http_conn *c, const char *text)
{
    fake_http_send_octets(c, text, strlen(text));
}

/* A whole response with a length. */
static inline void fake_http_reply(struct fake_http_conn *c, unsigned status, const char *body)
{
    char head[256];
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 %u Told\r\nContent-Type: application/json\r\nContent-Length: "
                   "%zu\r\n\r\n",
                   status, strlen(body));
    fake_http_send(c, head);
    fake_http_send(c, body);
}

/* One chunk of a response that was begun with "Transfer-Encoding: chunked". */
static inline void fake_http_chunk(struct fake_http_conn *c, const char *text)
{
    char size[32];
    (void)snprintf(size, sizeof size, "%zx\r\n", strlen(text));
    fake_http_send(c, size);
    fake_http_send(c, text);
    fake_http_send(c, "\r\n");
}

static inline void fake_http_look(struct fake_http_conn *c)
{
    char *end;
    c->in[c->got] = '\0';
    while ((end = strstr(c->in, "\r\n\r\n")) != NULL) {
        const char *length = strcasestr(c->in, "content-length:");
        size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
        size_t whole = (size_t)(end + 4 - c->in) + body;
        if (c->got < whole)
            return;
        char *copy = strndup(c->in, whole);
        assert(copy != NULL);
        memmove(c->in, c->in + whole, c->got - whole + 1);
        c->got -= whole;
        c->server->requests++;
        c->server->on_request(c, copy, copy + whole - body);
        free(copy);
        if (uv_is_closing((uv_handle_t *)&c->tcp))
            return;
    }
}

static inline void fake_http_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct fake_http_conn *c = handle->data;
    (void)size;
    *buf = uv_buf_init(c->in + c->got, (unsigned)(FAKE_HTTP_REQUEST_MAX - c->got));
}

static inline void fake_http_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_http_conn *c = stream->data;
    (void)buf;
    if (n < 0) {
        fake_http_drop(c);
        return;
    }
    c->got += (size_t)n;
    fake_http_look(c);
}

static inline void fake_http_accept(uv_stream_t *stream, int status)
{
    struct fake_http *s = stream->data;
    struct fake_http_conn *c = calloc(1, sizeof *c);
    assert(c != NULL && status == 0);
    c->server = s;
    (void)uv_tcp_init(stream->loop, &c->tcp);
    c->tcp.data = c;
    list_append(&s->conns, &c->node);
    s->accepted++;
    (void)uv_accept(stream, (uv_stream_t *)&c->tcp);
    (void)uv_read_start((uv_stream_t *)&c->tcp, fake_http_alloc, fake_http_read);
}

/* On `port`, 0: any. */
static inline void fake_http_start(struct fake_http *s, uv_loop_t *loop, unsigned port)
{
    struct sockaddr_in a;
    int size = sizeof a;
    list_init(&s->conns);
    (void)uv_tcp_init(loop, &s->tcp);
    s->tcp.data = s;
    (void)uv_ip4_addr("127.0.0.1", (int)port, &a);
    int rc = uv_tcp_bind(&s->tcp, (struct sockaddr *)&a, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->tcp, 16, fake_http_accept);
    assert(rc == 0);
    (void)rc;
    (void)uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&a, &size);
    s->port = ntohs(a.sin_port);
    (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", s->port);
}

static inline void fake_http_drop_all(struct fake_http *s)
{
    LIST_EACH_SAFE (at, after, &s->conns)
        fake_http_drop(LIST_ITEM(at, struct fake_http_conn, node));
}

/* What is closed is gone after some rounds of the loop. */
static inline void fake_http_stop(struct fake_http *s)
{
    fake_http_drop_all(s);
    if (!uv_is_closing((uv_handle_t *)&s->tcp))
        uv_close((uv_handle_t *)&s->tcp, NULL);
}

#endif
