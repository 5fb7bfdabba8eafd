#include "proxy/base/metrics.h"

#include <inttypes.h>

static const struct {
    const char *name;
    const char *help;
} metric_texts[METRIC_COUNT] = {
#define METRIC_ROW(name, text, help) [METRIC_##name] = {text, help},
    METRICS_TABLE(METRIC_ROW)
#undef METRIC_ROW
};

static uint64_t sum_of(struct metrics *const *workers, size_t count, enum metric which)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += atomic_load_explicit(&workers[i]->value[which], memory_order_relaxed);
    return sum;
}

static int print_head(struct buf *out, const char *name, const char *type, const char *help)
{
    return buf_printf(out, "# HELP certferry_%s %s.\n# TYPE certferry_%s %s\n", name, help, name,
                      type);
}

int metrics_print_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    int rc = print_head(out, name, "gauge", help);
    return rc == 0 ? buf_printf(out, "certferry_%s %" PRIu64 "\n", name, value) : rc;
}

/* What has begun and not ended. */
static int print_present(struct buf *out, const char *name, const char *help,
                         struct metrics *const *workers, size_t count, enum metric begins,
                         enum metric ends)
{
    uint64_t begun = sum_of(workers, count, begins), ended = sum_of(workers, count, ends);
    /* Read one after the other while workers count on: never below zero. */
    return metrics_print_gauge(out, name, help, begun > ended ? begun - ended : 0);
}

static int print_hellos(struct buf *out, struct metrics *const *workers, size_t count)
{
    static const char *const labels[METRICS_HELLO_COUNT] = {
#define METRICS_HELLO_ROW(name, label) [METRICS_HELLO_##name] = label,
        METRICS_HELLO_TABLE(METRICS_HELLO_ROW)
#undef METRICS_HELLO_ROW
    };
    int rc = print_head(out, "tunnel_hellos_total", "counter",
                        "First octets of tunnels, by what the SNI gate made of them");
    for (unsigned h = 0; h < METRICS_HELLO_COUNT && rc == 0; h++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += atomic_load_explicit(&workers[i]->hellos[h], memory_order_relaxed);
        rc = buf_printf(out, "certferry_tunnel_hellos_total{result=\"%s\"} %" PRIu64 "\n",
                        labels[h], sum);
    }
    return rc;
}

static int print_handshakes(struct buf *out, struct metrics *const *workers, size_t count)
{
    static const char *const labels[METRICS_HANDSHAKE_COUNT] = {
#define METRICS_HANDSHAKE_ROW(name, label) [METRICS_HANDSHAKE_##name] = label,
        METRICS_HANDSHAKE_TABLE(METRICS_HANDSHAKE_ROW)
#undef METRICS_HANDSHAKE_ROW
    };
    static const char *const versions[METRICS_TLS_COUNT] = {"", "1.2", "1.3"};
    int rc = print_head(out, "tls_handshakes_total", "counter",
                        "TLS handshakes with clients at our doors, by result and version");
    for (unsigned h = 0; h < METRICS_HANDSHAKE_COUNT; h++) {
        for (unsigned v = 0; v < METRICS_TLS_COUNT && rc == 0; v++) {
            uint64_t sum = 0;
            for (size_t i = 0; i < count; i++)
                sum += atomic_load_explicit(&workers[i]->handshakes[h][v], memory_order_relaxed);
            if (sum > 0)
                rc = buf_printf(
                    out,
                    "certferry_tls_handshakes_total{result=\"%s\",version=\"%s\"} %" PRIu64 "\n",
                    labels[h], versions[v], sum);
        }
    }
    return rc;
}

static int print_exchanges(struct buf *out, struct metrics *const *workers, size_t count)
{
    int rc = print_head(out, "exchanges_total", "counter",
                        "Exchanges ended, by protocol class and outcome");
    for (unsigned p = 0; p < PROTOCOL_COUNT; p++) {
        for (unsigned o = 0; o < OUTCOME_COUNT && rc == 0; o++) {
            uint64_t sum = 0;
            for (size_t i = 0; i < count; i++)
                sum += atomic_load_explicit(&workers[i]->exchanges[p][o], memory_order_relaxed);
            if (sum > 0)
                rc = buf_printf(
                    out, "certferry_exchanges_total{class=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                    protocol_name((enum protocol)p), outcome_info((enum outcome)o)->token, sum);
        }
    }
    return rc;
}

int metrics_print(struct buf *out, struct metrics *const *workers, size_t count)
{
    int rc = 0;
    for (unsigned i = 0; i < METRIC_COUNT && rc == 0; i++) {
        rc = print_head(out, metric_texts[i].name, "counter", metric_texts[i].help);
        if (rc == 0)
            rc = buf_printf(out, "certferry_%s %" PRIu64 "\n", metric_texts[i].name,
                            sum_of(workers, count, (enum metric)i));
    }
    if (rc == 0)
        rc = print_present(out, "client_connections", "Client connections open now", workers, count,
                           METRIC_ACCEPTED, METRIC_CLOSED);
    if (rc == 0)
        rc = print_present(out, "tunnels", "Tunnels open now", workers, count,
                           METRIC_TUNNELS_OPENED, METRIC_TUNNELS_CLOSED);
    if (rc == 0)
        rc = print_present(out, "queue", "Requests waiting in the queue now", workers, count,
                           METRIC_QUEUED, METRIC_QUEUE_LEFT);
    if (rc == 0)
        rc = print_hellos(out, workers, count);
    if (rc == 0)
        rc = print_handshakes(out, workers, count);
    return rc == 0 ? print_exchanges(out, workers, count) : rc;
}
