#include "tests/support/session_stage_make.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/session/gateway.h"
#include "tests/support/session_fakes.h"

static struct policy *policy_make(bool forbids)
{
    static const struct port_range connect[] = {{443, 443}, {8443, 8443}};
    static const struct port_range http[] = {{80, 80}, {8080, 8080}};
    struct prefix loopback, clients;
    struct rules *rules = rules_create();
    assert(rules != NULL &&
           rules_add_domain(rules, forbids ? SPAN("u2.ca.test") : SPAN("ca.test"), NULL) == 0);
    int rc = prefix_parse(&loopback, SPAN("127.0.0.0/8"));
    rc = rc == 0 ? prefix_parse(&clients, SPAN("192.0.2.0/24")) : rc;
    assert(rc == 0);
    struct policy_options o = {.rules = rules,
                               .connect_ports = connect,
                               .connect_port_count = 2,
                               .http_ports = http,
                               .http_port_count = 2,
                               .networks = &loopback,
                               .network_count = 1,
                               .clients = &clients,
                               .client_count = 1,
                               .control_clients = &clients,
                               .control_client_count = 1};
    struct policy *made = policy_create(&o);
    assert(made != NULL);
    return made;
}

/* NULL: there is no gateway. */
static struct gateway_options *gateway_make(const struct stage_options *o)
{
    static const char *const paths[] = {STAGE_PATH_SCEP, STAGE_PATH_EXE, STAGE_PATH_EST "/**"};
    static struct hostname name;
    struct gateway_options *made = calloc(1, sizeof *made);
    int rc = hostname_parse(&name, SPAN(STAGE_NAME_OF_GATEWAY), NULL);
    assert(made != NULL && rc == 0);
    *made = (struct gateway_options){
        .paths = paths_create(),
        .names = &name,
        .name_count = o->names ? 1 : 0,
        .forwarded_for = true,
        .forwarded_proto = true,
        .forwarded_port = true,
        .client_cert_field = true,
        .connections_max = o->paced ? 1 : 0,
        .redirect_port = STAGE_REDIRECT_PORT,
    };
    assert(made->paths != NULL);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        rc = paths_add(made->paths, span_of(paths[i]), NULL);
        assert(rc == 0);
    }
    return made;
}

struct session_options *stage_make_options(const struct stage_options *o)
{
    static struct prefix everybody;
    struct session_options *made = malloc(sizeof *made);
    assert(made != NULL);
    *made = (struct session_options){
        .policy = policy_make(o->forbids),
        .head = {4096, 2048, 32},
        .buffer_octets = STAGE_BUFFER,
        .head_ms = 10000,
        .keepalive_ms = 60000,
        .response_ms = 120000,
        .body_ms = 60000,
        .hello_ms = 10000,
        .tunnel_idle_ms = 600000,
        .halfclosed_ms = 60000,
        .linger_ms = 2000,
        .queue_ms = 10000,
        .tunnel_lifetime_ms = 86400000,
        .exchanges_max = o->exchanges_max,
        .body_rate = 64,
        .paced = o->paced,
        .dial = {.timeout_ms = 15000, .addresses_max = 8},
        .sni = o->sni == STAGE_SNI_OFF      ? SESSION_SNI_OFF
               : o->sni == STAGE_SNI_STRICT ? SESSION_SNI_STRICT
                                            : SESSION_SNI_MATCH,
        .users = o->passwords ? session_fakes_users() : NULL,
        .realm = "stage",
        .forwarded_for = true,
        .name = STAGE_NAME,
        .door = {[DOOR_PASSTHROUGH] = {.port = 443},
                 [DOOR_GATEWAY] = {.idle_ms = 30000, .queue_ms = 60000}},
        .gateway = o->gateway || o->redirect ? gateway_make(o) : NULL,
    };
    int rc = prefix_parse(&everybody, SPAN("192.0.2.0/24"));
    assert(rc == 0);
    made->balancers = &everybody;
    made->balancer_count = o->balancer ? 1 : 0;
    return made;
}

void stage_free_options(struct session_options *o)
{
    policy_destroy((struct policy *)o->policy);
    if (o->gateway != NULL)
        paths_destroy(o->gateway->paths);
    free((struct gateway_options *)o->gateway);
    free(o);
}

struct parents *stage_make_parents(void)
{
    static const char *const text[] = {"http://p1.ca.test:8080", "http://u:p@p2.ca.test:8443"};
    const struct parents_options o = {
        .attempt_ms = 3000, .retry_after_ms = 10000, .retry_max_ms = 40000};
    struct parents *list = parents_create(&o);
    assert(list != NULL);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        struct parent p;
        int rc = parent_parse(&p, span_of(text[i]), NULL);
        rc = rc == 0 ? parents_add(list, &p) : rc;
        assert(rc == 0);
    }
    return list;
}

struct parents *stage_make_upstreams(bool whole)
{
    static const struct {
        const char *url, *host;
    } all[] = {
#define UPSTREAM(url, host) {url, host},
        STAGE_UPSTREAMS(UPSTREAM)
#undef UPSTREAM
    };
    const struct parents_options o = {.origins = true,
                                      .attempts_max = 4,
                                      .attempt_ms = 10000,
                                      .retry_after_ms = 10000,
                                      .retry_max_ms = 40000};
    struct parents *list = parents_create(&o);
    assert(list != NULL);
    for (size_t i = whole ? 0 : 1; i < sizeof all / sizeof *all; i++) {
        struct parent p;
        int rc = parent_parse(&p, span_of(all[i].url), NULL);
        assert(rc == 0 && strlen(all[i].host) < sizeof p.authority);
        memcpy(p.authority, all[i].host, strlen(all[i].host) + 1);
        rc = parents_add(list, &p);
        assert(rc == 0);
    }
    return list;
}
