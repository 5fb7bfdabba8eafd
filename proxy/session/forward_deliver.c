/*
 * forward_deliver.c - octets of an exchange on their way: sent at once as far as the receiver takes
 * them, in our own framing (RFC 9112 section 7.1); the rest waits in a queue.
 */
#include "proxy/session/forward_impl.h"

#include <errno.h>

int forward_deliver(struct buf *queue, struct stream *to, struct span data, uint64_t *taken)
{
    while (buf_len(queue) == 0 && data.len > 0 && to->can_write) {
        ssize_t n = stream_send(to, data.ptr, data.len);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return (int)n;
        *taken += (uint64_t)n;
        data = (struct span){data.ptr + n, data.len - (size_t)n};
    }
    return buf_add_span(queue, data);
}

int forward_flush(struct buf *queue, struct stream *to, uint64_t *taken)
{
    while (buf_len(queue) > 0 && to->can_write) {
        ssize_t n = stream_send(to, buf_head(queue), buf_len(queue));
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return (int)n;
        *taken += (uint64_t)n;
        buf_consume(queue, (size_t)n);
    }
    return 0;
}

int forward_deliver_payload(struct buf *queue, struct stream *to, bool chunked, struct span payload,
                            uint64_t *taken)
{
    if (!chunked)
        return forward_deliver(queue, to, payload, taken);
    int rc = buf_printf(queue, "%zx\r\n", payload.len);
    if (rc == 0)
        rc = buf_add_span(queue, payload);
    return rc == 0 ? buf_add_str(queue, "\r\n") : rc;
}

int forward_deliver_end(struct buf *queue, bool chunked, const struct body *body)
{
    if (!chunked)
        return 0;
    int rc = buf_add_str(queue, "0\r\n");
    if (rc == 0)
        rc = buf_add_span(queue, buf_span(&body->trailers));
    return rc == 0 ? buf_add_str(queue, "\r\n") : rc;
}
