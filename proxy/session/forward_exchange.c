/*
 * forward_exchange.c - the memory of an exchange: some of what has ended is kept, with its small
 * buffers, for those that come. An exchange lasts a fraction of a millisecond, and asking for its
 * memory piece by piece would be a twentieth of that.
 */
#include "proxy/session/forward_impl.h"

#include <stdlib.h>

enum {
    SPARES_MAX = 32,        /* of a worker */
    SPARE_BUF_OCTETS = 4096 /* a larger buffer gives its memory back */
};

struct exchange *exchange_take(struct session_context *ctx, size_t head_octets, bool whole)
{
    const struct session_options *o = ctx->options;
    struct exchange *ex = ctx->spare_exchange;
    if (ex == NULL) {
        ex = calloc(1, sizeof *ex);
        if (ex == NULL)
            return NULL;
    } else {
        ctx->spare_exchange = ex->next_spare;
        ctx->spare_exchange_count--;
    }
    *ex = (struct exchange){.up = ex->up, .down = ex->down, .again = ex->again};
    /* A rewritten head is a little longer than it came (Via, Host); one receive's worth may wait
     * behind it. */
    size_t head_max =
        2 * (o->head.head_octets > head_octets ? o->head.head_octets : head_octets) + 4096;
    ex->up.max = ex->down.max = head_max + 2 * o->buffer_octets;
    ex->again.max = head_max + (whole ? o->buffer_octets : 0);
    buf_init(&ex->reply, o->head.head_octets + o->buffer_octets);
    return ex;
}

static void exchange_free(struct exchange *ex)
{
    buf_release(&ex->up);
    buf_release(&ex->down);
    buf_release(&ex->again);
    free(ex);
}

void exchange_give(struct session_context *ctx, struct exchange *ex)
{
    buf_release(&ex->reply);
    body_release(&ex->request_body);
    body_release(&ex->response_body);
    free(ex->place);
    ex->place = NULL;
    if (ctx->spare_exchange_count == SPARES_MAX || buf_budget_spent()) {
        exchange_free(ex);
        return;
    }
    buf_clear(&ex->up, SPARE_BUF_OCTETS);
    buf_clear(&ex->down, SPARE_BUF_OCTETS);
    buf_clear(&ex->again, SPARE_BUF_OCTETS);
    ex->next_spare = ctx->spare_exchange;
    ctx->spare_exchange = ex;
    ctx->spare_exchange_count++;
}

void forward_forget_spares(struct session_context *ctx)
{
    while (ctx->spare_exchange != NULL) {
        struct exchange *ex = ctx->spare_exchange;
        ctx->spare_exchange = ex->next_spare;
        ctx->spare_exchange_count--;
        exchange_free(ex);
    }
}
