/*
 * fake_dns.h - a name server for tests on 127.0.0.1, UDP and TCP of one port, on the loop of the
 * test.
 *
 * Answers by a table of the test; what is not in it does not exist (NXDOMAIN). More than 512 octets
 * go over TCP only, as RFC 1035 section 4.2.1 has it.
 */
#ifndef CERTFERRY_TESTS_FAKE_DNS_H
#define CERTFERRY_TESTS_FAKE_DNS_H

#include <arpa/inet.h>
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "proxy/base/list.h"
#include "proxy/base/span.h"

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28 };
enum { RCODE_OK = 0, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };

enum fake_twist {
    TWIST_NONE,
    TWIST_SILENT,   /* no answer at all */
    TWIST_WRONG_ID, /* before the right answer a forged one with another id (RFC 5452 section 3) */
    TWIST_WRONG_QUESTION, /* ... one with the right id to another question */
    TWIST_GARBAGE,        /* the first time octets that are no DNS message */
};

struct fake_rule {
    const char *name;
    uint16_t type;
    unsigned rcode;
    unsigned count; /* addresses: 198.51.100.N or 2001:db8::N, from 1 on */
    uint32_t ttl;
    uint64_t delay_ms;
    const char *cname; /* the addresses are those of this name */
    enum fake_twist twist;
    unsigned asked;   /* how often, counted here */
    struct span data; /* in place of an address */
};

enum { FAKE_PACKET_MAX = 8192, FAKE_UDP_MAX = 512, FAKE_NAME_MAX = 255 };

struct fake_dns {
    uv_loop_t *loop;
    uv_udp_t udp;
    uv_tcp_t tcp;
    struct list conns, delayed;
    struct fake_rule *rules;
    size_t rules_count;
    unsigned asked_in_all, asked_by_tcp;
    unsigned char in[FAKE_PACKET_MAX];
    char servers[32]; /* for struct resolver_options */
};

struct fake_conn {
    uv_tcp_t tcp;
    struct list node;
    struct fake_dns *dns;
    size_t got;
    unsigned char in[FAKE_PACKET_MAX];
};

/* An answer on its way; sent when its timer fires. */
struct fake_answer {
    uv_timer_t timer;
    struct list node;
    struct fake_dns *dns;
    struct sockaddr_in to;
    size_t len;
    unsigned char packet[FAKE_PACKET_MAX];
};

struct fake_question {
    char name[FAKE_NAME_MAX + 1];
    uint16_t type;
    size_t end; /* octets of the query up to the end of the question */
};

/* ---- messages (RFC 1035 section 4) ---- */

static inline size_t put16(unsigned char *to, unsigned value)
{
    to[0] = (unsigned char)(value >> 8);
    to[1] = (unsigned char)value;
    return 2;
}

static inline unsigned get16(const unsigned char *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static inline bool fake_parse(const unsigned char *in, size_t len, struct fake_question *q)
{
    size_t at = 12, out = 0;
    while (at < len && in[at] != 0) {
        size_t label = in[at];
        if (at + 1 + label >= len || out + label + 1 > FAKE_NAME_MAX)
            return false;
        memcpy(q->name + out, in + at + 1, label);
        out += label;
        q->name[out++] = '.';
        at += label + 1;
    }
    if (at + 5 > len || out == 0)
        return false;
    q->name[out - 1] = '\0';
    q->type = (uint16_t)get16(in + at + 1);
    q->end = at + 5;
    return true;
}

static inline size_t put_name(unsigned char *to, const char *name)
{
    size_t at = 0;
    for (const char *label = name; *label != '\0';) {
        size_t n = strcspn(label, ".");
        to[at++] = (unsigned char)n;
        memcpy(to + at, label, n);
        at += n;
        label += n + (label[n] == '.');
    }
    to[at++] = 0;
    return at;
}

/* Owner, type, class IN, TTL and length; the owner is the name in the question, or `owner`. */
static inline size_t put_record(unsigned char *to, const char *owner, uint16_t type, uint32_t ttl,
                                size_t len)
{
    size_t at = owner != NULL ? put_name(to, owner) : put16(to, 0xc00c);
    at += put16(to + at, type);
    at += put16(to + at, 1);
    at += put16(to + at, ttl >> 16);
    at += put16(to + at, ttl & 0xffff);
    at += put16(to + at, (unsigned)len);
    return at;
}

static inline size_t put_address(unsigned char *to, uint16_t type, unsigned n)
{
    static const unsigned char v4[4] = {198, 51, 100, 0}, v6[16] = {0x20, 0x01, 0x0d, 0xb8};
    size_t len = type == TYPE_A ? sizeof v4 : sizeof v6;
    memcpy(to, type == TYPE_A ? v4 : v6, len);
    to[len - 1] = (unsigned char)n;
    return len;
}

static inline size_t fake_write(unsigned char *to, const unsigned char *query,
                                const struct fake_question *q, const struct fake_rule *rule)
{
    unsigned char name[FAKE_NAME_MAX + 2];
    size_t at = q->end;
    unsigned answers = rule->rcode == RCODE_OK ? rule->count + (rule->cname != NULL) : 0;
    memcpy(to, query, q->end);
    put16(to + 2, 0x8180 | rule->rcode);
    put16(to + 6, answers);
    put16(to + 8, 0);
    put16(to + 10, 0);
    if (answers > 0 && rule->cname != NULL) {
        size_t len = put_name(name, rule->cname);
        at += put_record(to + at, NULL, TYPE_CNAME, rule->ttl, len);
        memcpy(to + at, name, len);
        at += len;
    }
    for (unsigned n = 1; rule->data.ptr != NULL && n <= rule->count; n++) {
        at += put_record(to + at, NULL, q->type, rule->ttl, rule->data.len);
        memcpy(to + at, rule->data.ptr, rule->data.len);
        at += rule->data.len;
    }
    for (unsigned n = 1; rule->data.ptr == NULL && answers > 0 && n <= rule->count; n++) {
        at += put_record(to + at, rule->cname, q->type, rule->ttl, q->type == TYPE_A ? 4 : 16);
        at += put_address(to + at, q->type, n);
    }
    assert(at <= FAKE_PACKET_MAX);
    return at;
}

/* ---- answering ---- */

static inline struct fake_rule *fake_find(struct fake_dns *d, const struct fake_question *q)
{
    for (size_t i = 0; i < d->rules_count; i++) {
        if (d->rules[i].type == q->type && strcmp(d->rules[i].name, q->name) == 0)
            return &d->rules[i];
    }
    return NULL;
}

static inline void fake_send(struct fake_dns *d, const struct sockaddr_in *to,
                             unsigned char *packet, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)packet, (unsigned)len);
    (void)uv_udp_try_send(&d->udp, &buf, 1, (const struct sockaddr *)to);
}

static inline void on_answer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void on_answer_due(uv_timer_t *timer)
{
    struct fake_answer *a = timer->data;
    fake_send(a->dns, &a->to, a->packet, a->len);
    list_remove(&a->node);
    uv_close((uv_handle_t *)timer, on_answer_closed);
}

static inline void fake_send_later(struct fake_dns *d, const struct sockaddr_in *to,
                                   const unsigned char *packet, size_t len, uint64_t delay_ms)
{
    struct fake_answer *a = calloc(1, sizeof *a);
    assert(a != NULL);
    a->dns = d;
    a->to = *to;
    a->len = len;
    memcpy(a->packet, packet, len);
    uv_timer_init(d->loop, &a->timer);
    a->timer.data = a;
    list_append(&d->delayed, &a->node);
    uv_timer_start(&a->timer, on_answer_due, delay_ms, 0);
}

/* What an attacker or a broken server sends before the right answer: with an address that nobody
 * may see. */
static inline void fake_send_twisted(struct fake_dns *d, const struct sockaddr_in *to,
                                     const unsigned char *packet, size_t len, enum fake_twist twist)
{
    unsigned char forged[FAKE_PACKET_MAX];
    memcpy(forged, packet, len);
    forged[len - 2] = 66;
    if (twist == TWIST_WRONG_ID)
        forged[0] ^= 0x55;
    else if (twist == TWIST_WRONG_QUESTION)
        forged[13] ^= 1; /* the first letter of the name */
    else
        memset(forged + 2, 0xff, len - 2);
    fake_send(d, to, forged, len);
}

static inline void fake_answer_udp(struct fake_dns *d, const struct sockaddr_in *from, size_t len)
{
    static const struct fake_rule none = {.rcode = RCODE_NXDOMAIN};
    unsigned char packet[FAKE_PACKET_MAX];
    struct fake_question q;
    d->asked_in_all++;
    if (!fake_parse(d->in, len, &q))
        return;
    struct fake_rule *rule = fake_find(d, &q);
    if (rule != NULL)
        rule->asked++;
    if (rule != NULL && rule->twist == TWIST_SILENT)
        return;
    len = fake_write(packet, d->in, &q, rule != NULL ? rule : &none);
    if (len > FAKE_UDP_MAX) {
        packet[2] |= 2; /* truncated */
        put16(packet + 6, 0);
        len = q.end;
    }
    if (rule != NULL && rule->twist != TWIST_NONE &&
        (rule->twist != TWIST_GARBAGE || rule->asked == 1))
        fake_send_twisted(d, from, packet, len, rule->twist);
    if (rule != NULL && rule->delay_ms > 0)
        fake_send_later(d, from, packet, len, rule->delay_ms);
    else
        fake_send(d, from, packet, len);
}

static inline void on_udp_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct fake_dns *d = handle->data;
    (void)size;
    *buf = uv_buf_init((char *)d->in, sizeof d->in);
}

static inline void on_udp_read(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf,
                               const struct sockaddr *from, unsigned flags)
{
    (void)buf;
    (void)flags;
    if (n > 0 && from != NULL)
        fake_answer_udp(udp->data, (const struct sockaddr_in *)(const void *)from, (size_t)n);
}

/* ---- the same over TCP (RFC 1035 section 4.2.2): a length before each message ---- */

static inline void on_conn_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void fake_conn_close(struct fake_conn *c)
{
    list_remove(&c->node);
    uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static inline void on_tcp_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct fake_conn *c = handle->data;
    (void)size;
    *buf = uv_buf_init((char *)c->in + c->got, (unsigned)(sizeof c->in - c->got));
}

static inline void fake_answer_tcp(struct fake_conn *c, const unsigned char *in, size_t len)
{
    unsigned char packet[2 + FAKE_PACKET_MAX];
    struct fake_question q;
    c->dns->asked_by_tcp++;
    if (!fake_parse(in, len, &q))
        return;
    struct fake_rule *rule = fake_find(c->dns, &q);
    assert(rule != NULL);
    len = fake_write(packet + 2, in, &q, rule);
    put16(packet, (unsigned)len);
    uv_buf_t out = uv_buf_init((char *)packet, (unsigned)(len + 2));
    (void)uv_try_write((uv_stream_t *)&c->tcp, &out, 1);
}

static inline void on_tcp_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_conn *c = stream->data;
    (void)buf;
    if (n < 0) {
        fake_conn_close(c);
        return;
    }
    c->got += (size_t)n;
    while (c->got >= 2 && c->got >= 2 + (size_t)get16(c->in)) {
        size_t len = get16(c->in);
        fake_answer_tcp(c, c->in + 2, len);
        c->got -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->got);
    }
}

static inline void on_tcp_connection(uv_stream_t *listener, int status)
{
    struct fake_dns *d = listener->data;
    struct fake_conn *c = calloc(1, sizeof *c);
    assert(c != NULL && status == 0);
    c->dns = d;
    uv_tcp_init(d->loop, &c->tcp);
    c->tcp.data = c;
    list_append(&d->conns, &c->node);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, on_tcp_alloc, on_tcp_read) != 0)
        fake_conn_close(c);
}

/* ---- life ---- */

/* A UDP and a TCP socket of one free port. */
static inline uint16_t fake_bind(int *udp, int *tcp)
{
    for (;;) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t at_len = sizeof at;
        *udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        *tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert(*udp >= 0 && *tcp >= 0);
        int rc = bind(*udp, (const struct sockaddr *)&at, sizeof at);
        assert(rc == 0);
        rc = getsockname(*udp, (struct sockaddr *)&at, &at_len);
        assert(rc == 0);
        if (bind(*tcp, (const struct sockaddr *)&at, sizeof at) == 0)
            return ntohs(at.sin_port);
        (void)close(*udp);
        (void)close(*tcp);
    }
}

static inline void fake_start(struct fake_dns *d, uv_loop_t *loop, struct fake_rule *rules,
                              size_t count)
{
    int udp, tcp;
    uint16_t port = fake_bind(&udp, &tcp);
    *d = (struct fake_dns){.loop = loop, .rules = rules, .rules_count = count};
    list_init(&d->conns);
    list_init(&d->delayed);
    (void)snprintf(d->servers, sizeof d->servers, "127.0.0.1:%u", port);
    uv_udp_init(loop, &d->udp);
    uv_tcp_init(loop, &d->tcp);
    d->udp.data = d->tcp.data = d;
    int rc = uv_udp_open(&d->udp, udp);
    assert(rc == 0);
    rc = uv_tcp_open(&d->tcp, tcp);
    assert(rc == 0);
    rc = uv_listen((uv_stream_t *)&d->tcp, 8, on_tcp_connection);
    assert(rc == 0);
    rc = uv_udp_recv_start(&d->udp, on_udp_alloc, on_udp_read);
    assert(rc == 0);
}

static inline void fake_stop(struct fake_dns *d)
{
    uv_close((uv_handle_t *)&d->udp, NULL);
    uv_close((uv_handle_t *)&d->tcp, NULL);
    while (!list_empty(&d->conns))
        fake_conn_close(LIST_ITEM(d->conns.next, struct fake_conn, node));
    while (!list_empty(&d->delayed)) {
        struct fake_answer *a = LIST_ITEM(d->delayed.next, struct fake_answer, node);
        list_remove(&a->node);
        uv_close((uv_handle_t *)&a->timer, on_answer_closed);
    }
}

#endif
