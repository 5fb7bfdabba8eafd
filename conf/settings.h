/*
 * settings.h - the one table of all keys: name, file, type, default, range, reloadable; and the
 * values.
 *
 * Only the server and the command line see this header: every other module has a small options
 * struct of its own. Values here are checked for type and range; what they mean (is it a host name?
 * a free port?) is checked by the module that uses them, and told through settings_where(). Main
 * thread.
 */
#ifndef CONF_SETTINGS_H
#define CONF_SETTINGS_H

#include <stdio.h>

#include "conf/setting_values.h"
#include "conf/settings_errors.h"

/*
 * The keys:
 * S(field, "key", FILE, TYPE, "default", min, max, RELOAD|RESTART, "one-line comment")
 * TYPE     C type        text form
 * BOOL     bool          on off true false yes no
 * NUMBER   uint64_t      decimal; where the default is "auto" that is allowed and reads as 0
 * SIZE     uint64_t      octets: 8192, 64KiB, 1MiB, 1GiB (also K, M, G as powers of 1024)
 * TIME     uint64_t ms   250ms, 10s, 5m, 1h, 2d; a bare number is refused (the unit is missing)
 * TEXT     char *        never NULL; trimmed
 * LIST     text_list     comma-separated
 * PREFIXES prefix_list   comma-separated addresses and prefixes
 * PORTS    port_list     443, 8080-8090
 * CHOICE   unsigned      index into a '|' separated list that stands in the max column as text
 * For lists min and max count the entries; an empty value is an empty list.
 */
#define SETTINGS_TABLE(S)                                                                          \
    /* webserver.properties: who may talk to us and how we listen */                               \
    S(heartbeatport, "heartbeatport", WEBSERVER, NUMBER, "48999", 0, 65535, RESTART,               \
      "TCP port of the proxy on every listen address; 0 lets the system choose")                   \
    S(listen_addresses, "listen.addresses", WEBSERVER, LIST, "0.0.0.0,[::]", 1, 64, RESTART,       \
      "addresses to listen on")                                                                    \
    S(listen_backlog, "listen.backlog", WEBSERVER, NUMBER, "1024", 1, 65535, RESTART,              \
      "connections the kernel may hold for us on each listener")                                   \
    S(clients_allow, "clients.allow", WEBSERVER, PREFIXES,                                         \
      "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,169.254.0.0/16,fe80::/10", \
      1, 4096, RELOAD, "client networks that may use the proxy")                                   \
    S(control_allow, "control.allow", WEBSERVER, PREFIXES, "127.0.0.0/8,::1", 0, 4096, RELOAD,     \
      "networks that may read /metrics")                                                           \
    S(proxy_protocol_from, "proxy.protocol.from", WEBSERVER, PREFIXES, "", 0, 4096, RELOAD,        \
      "load balancers whose connections begin with a PROXY protocol header, version 1 or 2, that " \
      "names the client")                                                                          \
    S(auth_file, "auth.file", WEBSERVER, TEXT, "", 0, 0, RELOAD,                                   \
      "htpasswd file (bcrypt, yescrypt, sha512) of those who may use the proxy, beside this file " \
      "or with a full path; empty: no password is asked for")                                      \
    S(auth_realm, "auth.realm", WEBSERVER, TEXT, "certferry", 0, 0, RELOAD,                        \
      "realm of the password question")                                                            \
    S(auth_cache_ttl, "auth.cache.ttl", WEBSERVER, TIME, "5m", 0, 86400000, RELOAD,                \
      "a password found right is not computed again for so long")                                  \
    S(auth_cache_entries, "auth.cache.entries", WEBSERVER, NUMBER, "1024", 0, 1000000, RELOAD,     \
      "passwords remembered so")                                                                   \
    S(auth_pending_max, "auth.pending.max", WEBSERVER, NUMBER, "64", 1, 65536, RELOAD,             \
      "password checks that may wait at once, half of them of one client; more are refused with "  \
      "503")                                                                                       \
    S(auth_failure_delay, "auth.failure.delay", WEBSERVER, TIME, "1s", 0, 60000, RELOAD,           \
      "answer to a client address's first wrong password is held back so long, doubled by each "   \
      "further one")                                                                               \
    S(auth_failure_delay_max, "auth.failure.delay.max", WEBSERVER, TIME, "10s", 0, 60000, RELOAD,  \
      "but not longer than this")                                                                  \
    S(auth_failure_entries, "auth.failure.entries", WEBSERVER, NUMBER, "4096", 16, 1000000,        \
      RELOAD, "client addresses whose wrong passwords are remembered")                             \
    S(threads, "threads", WEBSERVER, NUMBER, "auto", 0, 256, RESTART,                              \
      "worker threads; auto: one for each processor")                                              \
    S(timeout_head, "timeout.head", WEBSERVER, TIME, "10s", 100, 600000, RELOAD,                   \
      "for a whole request head, counted from the connection or the head's first octet")           \
    S(timeout_keepalive, "timeout.keepalive", WEBSERVER, TIME, "60s", 100, 3600000, RELOAD,        \
      "an idle client connection between two requests is kept so long")                            \
    S(timeout_connect, "timeout.connect", WEBSERVER, TIME, "15s", 100, 29000, RELOAD,              \
      "name look-up and TCP connection to the origin together; below the patience of clients")     \
    S(timeout_response, "timeout.response", WEBSERVER, TIME, "120s", 100, 3600000, RELOAD,         \
      "for the head of the origin's response, counted from the end of the request")                \
    S(timeout_body, "timeout.body", WEBSERVER, TIME, "60s", 100, 3600000, RELOAD,                  \
      "a message body may stand still so long, either way")                                        \
    S(timeout_tunnel_hello, "timeout.tunnel.hello", WEBSERVER, TIME, "10s", 100, 600000, RELOAD,   \
      "for a complete TLS ClientHello after a tunnel was opened")                                  \
    S(timeout_tunnel_idle, "timeout.tunnel.idle", WEBSERVER, TIME, "10m", 100, 86400000, RELOAD,   \
      "a tunnel without an octet either way is closed after this")                                 \
    S(timeout_tunnel_halfclosed, "timeout.tunnel.halfclosed", WEBSERVER, TIME, "60s", 100,         \
      86400000, RELOAD, "the same once one side has sent its FIN")                                 \
    S(timeout_tunnel_lifetime, "timeout.tunnel.lifetime", WEBSERVER, TIME, "1d", 0, 2592000000,    \
      RELOAD, "a tunnel is closed after this, busy or not; 0ms: no such limit")                    \
    S(timeout_upstream_idle, "timeout.upstream.idle", WEBSERVER, TIME, "30s", 100, 3600000,        \
      RELOAD, "an idle connection to an origin is kept for reuse so long")                         \
    S(timeout_linger, "timeout.linger", WEBSERVER, TIME, "2s", 10, 60000, RELOAD,                  \
      "after an answer that closes, what the client still sends is read and dropped so long")      \
    S(drain_grace, "drain.grace", WEBSERVER, TIME, "30s", 0, 86400000, RELOAD,                     \
      "on SIGTERM open tunnels and exchanges may go on so long")                                   \
    S(limit_connections, "limit.connections", WEBSERVER, NUMBER, "auto", 0, 10000000, RELOAD,      \
      "client connections in all; auto: what the descriptor limit allows")                         \
    S(limit_connections_per_client, "limit.connections.per.client", WEBSERVER, TEXT, "", 0, 0,     \
      RELOAD,                                                                                      \
      "connections of one client address (IPv6: one /64); empty: half of all, 0: no such limit")   \
    S(limit_refusals, "limit.refusals", WEBSERVER, NUMBER, "64", 0, 65536, RELOAD,                 \
      "connections turned away (clients.allow, a limit) that may wait at once to be told so when " \
      "they speak; more are closed without an answer")                                             \
    S(limit_head, "limit.head", WEBSERVER, SIZE, "64KiB", 1024, 1048576, RELOAD,                   \
      "octets of a message head")                                                                  \
    S(limit_request_line, "limit.request.line", WEBSERVER, SIZE, "32KiB", 256, 1048576, RELOAD,    \
      "octets of a request line; SCEP by GET carries its message there")                           \
    S(limit_fields, "limit.fields", WEBSERVER, NUMBER, "100", 8, 256, RELOAD,                      \
      "fields of a message head")                                                                  \
    S(limit_exchanges_per_connection, "limit.exchanges.per.connection", WEBSERVER, NUMBER, "1000", \
      0, 1000000000, RELOAD,                                                                       \
      "requests on one client connection, then it is closed; 0: no such limit")                    \
    S(limit_body_rate, "limit.body.rate", WEBSERVER, NUMBER, "64", 0, 1000000000, RELOAD,          \
      "octets each second that a message body must bring at least, averaged over timeout.body; "   \
      "0: no such limit")                                                                          \
    S(limit_memory, "limit.memory", WEBSERVER, SIZE, "512MiB", 16777216, 1099511627776, RELOAD,    \
      "octets of all buffers together; near it new connections are refused with 503")              \
    S(limit_tunnel_buffer, "limit.tunnel.buffer", WEBSERVER, SIZE, "64KiB", 4096, 16777216,        \
      RELOAD, "octets waiting in us for a slow receiver, each direction of a tunnel or body")      \
    S(limit_pipes, "limit.pipes", WEBSERVER, NUMBER, "16", 0, 4096, RELOAD,                        \
      "kernel pipes of each worker thread, through which busy tunnels go uncopied; 0: none")       \
    S(limit_pipe, "limit.pipe", WEBSERVER, SIZE, "1MiB", 65536, 1048576, RELOAD,                   \
      "octets that may wait in such a pipe for a slow receiver, besides limit.tunnel.buffer")      \
    S(limit_upstream_idle, "limit.upstream.idle", WEBSERVER, NUMBER, "256", 0, 65536, RELOAD,      \
      "idle connections to origins kept by each worker thread")                                    \
    S(limit_upstream_idle_per_host, "limit.upstream.idle.per.host", WEBSERVER, NUMBER, "64", 0,    \
      65536, RELOAD, "the same for one origin")                                                    \
    S(limit_upstream_per_host, "limit.upstream.per.host", WEBSERVER, NUMBER, "0", 0, 10000000,     \
      RELOAD,                                                                                      \
      "connections in use to one origin (host and port) at once; further requests wait in the "    \
      "queue; 0: no such limit")                                                                   \
    S(queue_max, "queue.max", WEBSERVER, NUMBER, "1000", 0, 1000000, RELOAD,                       \
      "requests that may wait in the queue at once, half of them of one client; 0: no queue, "     \
      "they are refused with 503")                                                                 \
    S(queue_timeout, "queue.timeout", WEBSERVER, TIME, "10s", 100, 29000, RELOAD,                  \
      "a request waits in the queue so long; with timeout.connect less than 30s")                  \
    S(limit_log_queue, "limit.log.queue", WEBSERVER, SIZE, "4MiB", 65536, 1073741824, RESTART,     \
      "octets of access log waiting to be written; lines beyond are dropped and counted")          \
    S(log_access, "log.access", WEBSERVER, BOOL, "on", 0, 0, RELOAD,                               \
      "one JSON line for each exchange on standard output")                                        \
    S(forwarded_for, "forwarded.for", WEBSERVER, BOOL, "off", 0, 0, RELOAD,                        \
      "tell plain-HTTP origins the client's address in X-Forwarded-For")                           \
    S(via_name, "via.name", WEBSERVER, TEXT, "", 0, 0, RELOAD,                                     \
      "our name in Via and Proxy-Status; empty: certferry- and a part unique to this instance")    \
    S(service_user, "service.user", WEBSERVER, TEXT, "", 0, 0, RESTART,                            \
      "user to become when started as root, once the port is bound; empty: certferry if there is " \
      "such a user, else nobody")                                                                  \
    S(seccomp, "seccomp", WEBSERVER, BOOL, "on", 0, 0, RESTART,                                    \
      "each thread may make only the system calls it needs; off: for debuggers and sanitizers")    \
    /* useproxy.properties: what may go out */                                                     \
    S(allowed_domains, "allowed.domains", USEPROXY, LIST, "digicert.com", 0, 100000, RELOAD,       \
      "domains that may be reached: the name itself and everything below it")                      \
    S(allowed_hosts, "allowed.hosts", USEPROXY, LIST, "", 0, 100000, RELOAD,                       \
      "further hosts, exactly as written; the only place for IP addresses")                        \
    S(allowed_connect_ports, "allowed.connect.ports", USEPROXY, PORTS, "443", 0, 1024, RELOAD,     \
      "ports that CONNECT may reach")                                                              \
    S(allowed_http_ports, "allowed.http.ports", USEPROXY, PORTS, "80", 0, 1024, RELOAD,            \
      "ports that plain http:// may reach")                                                        \
    S(allowed_networks, "allowed.networks", USEPROXY, PREFIXES, "", 0, 4096, RELOAD,               \
      "private and special-purpose networks that may be reached all the same")                     \
    S(allowed_protocols, "allowed.protocols", USEPROXY, LIST, "", 0, 16, RELOAD,                   \
      "plain-HTTP protocols that may pass: acme, est, scep, cmp, ocsp, crl, aia, other; empty: "   \
      "all")                                                                                       \
    S(tunnel_sni, "tunnel.sni", USEPROXY, CHOICE, "match", 0, "match|strict|off", RELOAD,          \
      "a tunnel must begin with a TLS ClientHello whose server name, if there is one, is the "     \
      "CONNECT host; strict: there must be one; off: no such gate")                                \
    S(tunnel_raw_ports, "tunnel.raw.ports", USEPROXY, PORTS, "", 0, 1024, RELOAD,                  \
      "CONNECT ports without that gate")                                                           \
    S(source_address, "source.address", USEPROXY, LIST, "", 0, 2, RELOAD,                          \
      "local address for connections to origins; at most one IPv4 and one IPv6")                   \
    S(resolver_servers, "resolver.servers", USEPROXY, LIST, "", 0, 16, RELOAD,                     \
      "name servers as address or address:port; empty: /etc/resolv.conf")                          \
    S(resolver_timeout, "resolver.timeout", USEPROXY, TIME, "5s", 100, 29000, RELOAD,              \
      "for one look-up, all its tries together")                                                   \
    S(resolver_cache_entries, "resolver.cache.entries", USEPROXY, NUMBER, "1024", 0, 1000000,      \
      RELOAD, "names kept by each worker thread")                                                  \
    S(resolver_cache_max, "resolver.cache.max", USEPROXY, TIME, "10m", 0, 86400000, RELOAD,        \
      "an answer is kept for its TTL, but not longer than this")                                   \
    S(resolver_cache_failure, "resolver.cache.failure", USEPROXY, TIME, "5s", 0, 3600000, RELOAD,  \
      "a failed look-up is remembered so long")                                                    \
    S(limit_addresses, "limit.addresses", USEPROXY, NUMBER, "8", 1, 64, RELOAD,                    \
      "addresses of one name that are tried for one request")                                      \
    /* failover.properties: the peers */                                                           \
    S(advertise_host, "advertise.host", FAILOVER, TEXT, "", 0, 0, RELOAD,                          \
      "how clients reach this proxy: name or address; empty: the host name of the system")         \
    S(zone, "zone", FAILOVER, TEXT, "", 0, 0, RELOAD,                                              \
      "site of this proxy; near ones are listed first")                                            \
    S(peers, "peers", FAILOVER, LIST, "", 0, 256, RELOAD,                                          \
      "all proxies of the site as http://host:48999; may name this one too")                       \
    S(roster_ttl, "roster.ttl", FAILOVER, TIME, "10m", 20000, 86400000, RELOAD,                    \
      "validity of the roster document: its `expires` lies so far ahead")

enum settings_file {
    SETTINGS_WEBSERVER, /* webserver.properties */
    SETTINGS_USEPROXY,  /* useproxy.properties */
    SETTINGS_FAILOVER,  /* failover.properties */
    SETTINGS_GATEWAY,   /* gateway.properties: read when there is one, no keys of its own yet */
    SETTINGS_FILE_COUNT
};

enum tunnel_sni { TUNNEL_SNI_MATCH, TUNNEL_SNI_STRICT, TUNNEL_SNI_OFF };

struct settings {
#define SETTINGS_FIELD(field, key, file, type, text, min, max, reload, comment)                    \
    setting_##type field;
    SETTINGS_TABLE(SETTINGS_FIELD)
#undef SETTINGS_FIELD
    struct settings_origins *origins; /* settings.c's own: where each key was set */
};

/*
 * Reads the known files in the directory that `fd` is open on and that is called `dir` in messages;
 * a negative errno for `fd` is told as the reason why it could not be opened.
 * A file that is not there leaves its keys at their defaults; it is
 * an error when the directory holds none of them, or holds a *.properties file of another name. All
 * mistakes are collected in `e`. Returns owned, also when there were mistakes (bad keys at their
 * defaults), so that further checks can go on; NULL only when out of memory. Use it only if
 * `e->count` is 0.
 */
struct settings *settings_load(int fd, const char *dir, struct settings_errors *e);
void settings_free(struct settings *s);

/*
 * "conf/useproxy.properties:12: allowed.hosts" - or "conf/useproxy.properties: allowed.hosts
 * (default)" - for messages. Static buffer per call site of at least the last 4 calls; main thread
 * only.
 */
const char *settings_where(const struct settings *s, const char *key);

/*
 * Keys whose value differs between the two but that a reload can't change (RESTART): calls back
 * with each.
 */
void settings_restart_needed(const struct settings *old, const struct settings *new_,
                             void (*on_key)(void *arg, const char *key), void *arg);

/* Prints the reference of all keys in the form of the shipped files; the test compares the two. */
void settings_print_defaults(FILE *out, enum settings_file file);
const char *settings_file_name(enum settings_file file);

#endif
