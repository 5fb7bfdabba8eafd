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

#include "conf/roles_file.h"
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
    S(tls_listen, "tls.listen", WEBSERVER, LIST, "", 0, 16, RESTART,                               \
      "where clients speak TLS to the proxy itself, as address, address:port, :port or on; port "  \
      "48998 where none is written; empty: nowhere")                                               \
    S(tls_cert, "tls.cert", WEBSERVER, LIST, "", 0, 64, RELOAD,                                    \
      "PEM files of our certificates for tls.listen, each with those that certify it behind it, "  \
      "beside this file or with a full path; chosen by the name a client asks for, the first for " \
      "all others")                                                                                \
    S(tls_key, "tls.key", WEBSERVER, LIST, "", 0, 64, RELOAD,                                      \
      "private files with their keys (PEM), in the same order, or URIs of keys in tls.provider; "  \
      "empty: they are in the same files as the certificates")                                     \
    S(tls_provider, "tls.provider", WEBSERVER, TEXT, "", 0, 0, RELOAD,                             \
      "OpenSSL providers, as tpm2 or pkcs11, through whose device the keys of tls.listen "         \
      "sign; tls.key may then be a URI; empty: keys are in files")                                 \
    S(tls_provider_path, "tls.provider.path", WEBSERVER, TEXT, "", 0, 0, RELOAD,                   \
      "full path of the directory with their modules; empty: OpenSSL's own")                       \
    S(tls_provider_config, "tls.provider.config", WEBSERVER, TEXT, "", 0, 0, RELOAD,               \
      "full path of an OpenSSL configuration for them alone; empty: none")                         \
    S(tls_propquery, "tls.propquery", WEBSERVER, TEXT, "", 0, 0, RELOAD,                           \
      "property query for their signatures; empty: what the provider is found to need")            \
    S(tls_pin_file, "tls.pin.file", WEBSERVER, TEXT, "", 0, 0, RELOAD,                             \
      "private file with the PIN or password of the keys, beside this file or with a full "        \
      "path")                                                                                      \
    S(tls_pin_env, "tls.pin.env", WEBSERVER, TEXT, "", 0, 0, RELOAD,                               \
      "environment variable with it instead")                                                      \
    S(tls_handshake_queue, "tls.handshake.queue", WEBSERVER, NUMBER, "64", 1, 65536, RELOAD,       \
      "TLS handshakes that may wait for the device at once; more are refused")                     \
    S(tls_provider_timeout, "tls.provider.timeout", WEBSERVER, TIME, "10s", 100, 600000, RELOAD,   \
      "for each answer of the device of a provider, of any door, while it is opened and a "        \
      "key loaded")                                                                                \
    S(tls_provider_retry, "tls.provider.retry", WEBSERVER, TIME, "1s", 50, 3600000, RELOAD,        \
      "a device that was lost is opened again after this, doubled each time")                      \
    S(tls_provider_retry_max, "tls.provider.retry.max", WEBSERVER, TIME, "60s", 50, 3600000,       \
      RELOAD, "but not later than this")                                                           \
    S(tls_tpm_tcti, "tls.tpm.tcti", WEBSERVER, TEXT, "", 0, 0, RESTART,                            \
      "how the provider tpm2 reaches its TPM, as device:/dev/tpmrm0 or "                           \
      "swtpm:host=127.0.0.1,port=2321; empty: TPM2OPENSSL_TCTI of the environment, or what "       \
      "tpm2-tss finds")                                                                            \
    S(tls_min_version, "tls.min.version", WEBSERVER, CHOICE, "1.2", 0, "1.2|1.3", RELOAD,          \
      "oldest version of TLS that is spoken there")                                                \
    S(tls_ciphers, "tls.ciphers", WEBSERVER, TEXT, "", 0, 0, RELOAD,                               \
      "cipher suites of TLS 1.2, as OpenSSL writes them, less those that are broken; empty: "      \
      "ECDHE "                                                                                     \
      "with AES-GCM or ChaCha20")                                                                  \
    S(tls_clients_allow, "tls.clients.allow", WEBSERVER, PREFIXES, "", 0, 4096, RELOAD,            \
      "client networks that may use tls.listen; empty: those of clients.allow")                    \
    S(tls_client_ca, "tls.client.ca", WEBSERVER, TEXT, "", 0, 0, RELOAD,                           \
      "PEM file of the CAs whose client certificates are believed at tls.listen, beside this "     \
      "file or with a full path; empty: clients are not asked for one")                            \
    S(tls_client_crl, "tls.client.crl", WEBSERVER, LIST, "", 0, 64, RELOAD,                        \
      "PEM files of their CRLs; with one, every CA below the believed one needs one that is not "  \
      "too old")                                                                                   \
    S(tls_client_auth, "tls.client.auth", WEBSERVER, CHOICE, "required", 0, "required|optional",   \
      RELOAD, "whether a client must show a certificate, once tls.client.ca is set")               \
    S(tls_client_identity, "tls.client.identity", WEBSERVER, CHOICE, "subject", 0,                 \
      "subject|cn|dns|uri|email", RELOAD,                                                          \
      "where its identity stands: the whole subject, its common name, or the first subject "       \
      "alternative name of that kind")                                                             \
    S(tls_ktls, "tls.ktls", WEBSERVER, BOOL, "on", 0, 0, RELOAD,                                   \
      "leave encryption to the kernel where it can, so that tunnels stay there")                   \
    S(tls_ticket_lifetime, "tls.ticket.lifetime", WEBSERVER, TIME, "1h", 0, 604800000, RELOAD,     \
      "a TLS session, at any door, may be resumed so long after its whole handshake; 0ms: never")  \
    S(tls_ticket_rotate, "tls.ticket.rotate", WEBSERVER, TIME, "30m", 1000, 604800000, RELOAD,     \
      "a key that seals their tickets is used so long")                                            \
    S(tls_watch_interval, "tls.watch.interval", WEBSERVER, TIME, "10s", 0, 86400000, RELOAD,       \
      "files of certificates, keys, CAs and CRLs of the doors are looked at so often and read "    \
      "again once they have changed; 0ms: only SIGHUP reads them")                                 \
    S(tls_role, "tls.role", WEBSERVER, TEXT, "", 0, 0, RELOAD,                                     \
      "role, of roles.properties, of clients of tls.listen that show no certificate; empty: the "  \
      "general rules hold for them")                                                               \
    S(tls_unknown_identity, "tls.unknown.identity", WEBSERVER, CHOICE, "refuse", 0,                \
      "refuse|general", RELOAD,                                                                    \
      "what becomes of a client certificate, at any door, whose identity no role names, once "     \
      "there are roles: 403, or the general rules")                                                \
    S(clients_allow, "clients.allow", WEBSERVER, PREFIXES,                                         \
      "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,169.254.0.0/16,fe80::/10", \
      1, 4096, RELOAD, "client networks that may use the proxy")                                   \
    S(control_allow, "control.allow", WEBSERVER, PREFIXES, "127.0.0.0/8,::1", 0, 4096, RELOAD,     \
      "networks that may read the status page / and /metrics")                                     \
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
    S(timeout_tls_handshake, "timeout.tls.handshake", WEBSERVER, TIME, "10s", 100, 600000, RELOAD, \
      "for a whole TLS handshake with a client, at any door that has TLS")                         \
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
    S(limit_identities, "limit.identities", WEBSERVER, NUMBER, "1000", 1, 20000, RELOAD,           \
      "identities of client certificates that are counted singly, in the metrics and for "         \
      "limit.connections.per.identity of their role")                                              \
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
    S(control_socket, "control.socket", WEBSERVER, TEXT, "/run/certferry/control.sock", 0, 0,      \
      RESTART,                                                                                     \
      "Unix socket, with its full path, through which certferry drain speaks to the running "      \
      "program; empty: none")                                                                      \
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
    S(upstream_proxies, "upstream.proxies", USEPROXY, LIST, "", 0, 64, RELOAD,                     \
      "parent proxies through which everything goes, as http://host:port or https://host:port; "   \
      "asked in this order, "                                                                      \
      "or "                                                                                        \
      "by ;priority=N behind the port, the lowest first; empty: none")                             \
    S(upstream_credentials_file, "upstream.credentials.file", USEPROXY, TEXT, "", 0, 0, RELOAD,    \
      "private file with a line host:port user:password for each parent proxy that wants one, "    \
      "beside this file or with a full path")                                                      \
    S(upstream_ca, "upstream.ca", USEPROXY, TEXT, "", 0, 0, RELOAD,                                \
      "PEM file of the CA of parent proxies that are written as https://; empty: the system's "    \
      "CAs")                                                                                       \
    S(upstream_attempt_timeout, "upstream.attempt.timeout", USEPROXY, TIME, "5s", 100, 29000,      \
      RELOAD,                                                                                      \
      "for one parent proxy to be reached and to answer CONNECT, then the next one is asked; all " \
      "together have timeout.connect")                                                             \
    S(upstream_retry_after, "upstream.retry.after", USEPROXY, TIME, "30s", 100, 3600000, RELOAD,   \
      "a parent proxy that fails is asked only after the others for so long, doubled each time")   \
    S(upstream_retry_max, "upstream.retry.max", USEPROXY, TIME, "5m", 100, 86400000, RELOAD,       \
      "but not longer than this")                                                                  \
    S(no_proxy, "no.proxy", USEPROXY, LIST, "", 0, 1024, RELOAD,                                   \
      "domains (the name itself and everything below it), addresses and networks of addresses "    \
      "that are reached without a parent proxy")                                                   \
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
    S(advertise_priority, "advertise.priority", FAILOVER, NUMBER, "1", 0, 65535, RELOAD,           \
      "clients go to members of a smaller priority first")                                         \
    S(advertise_weight, "advertise.weight", FAILOVER, NUMBER, "100", 1, 100, RELOAD,               \
      "share of the clients among members of the same priority")                                   \
    S(zone, "zone", FAILOVER, TEXT, "", 0, 0, RELOAD,                                              \
      "site of this proxy; near ones are listed first")                                            \
    S(peers, "peers", FAILOVER, LIST, "", 0, 256, RELOAD,                                          \
      "all proxies of the site as http://host:48999; may name this one too")                       \
    S(probe_interval, "probe.interval", FAILOVER, TIME, "5s", 100, 3600000, RELOAD,                \
      "each peer is asked so often whether it is ready")                                           \
    S(probe_timeout, "probe.timeout", FAILOVER, TIME, "2s", 50, 60000, RELOAD,                     \
      "for its whole answer, connecting included")                                                 \
    S(probe_rise, "probe.rise", FAILOVER, NUMBER, "2", 1, 100, RELOAD,                             \
      "good answers in a row until a peer that was down is up again")                              \
    S(probe_fall, "probe.fall", FAILOVER, NUMBER, "3", 1, 100, RELOAD,                             \
      "bad or missing answers in a row until a peer is down; it is then listed last")              \
    S(probe_ca, "probe.ca", FAILOVER, TEXT, "", 0, 0, RELOAD,                                      \
      "full path of a PEM file of the CA of peers that are written as https://; empty: the "       \
      "system's CAs")                                                                              \
    S(drain_notice, "drain.notice", FAILOVER, TIME, "5s", 0, 600000, RELOAD,                       \
      "on SIGTERM, when there are others in the roster, connections are still accepted so long, "  \
      "while clients and peers learn of it; only then drain.grace begins")                         \
    S(document_sign_key, "document.sign.key", FAILOVER, TEXT, "", 0, 0, RELOAD,                    \
      "private file with the key (PEM: P-256, RSA or Ed25519) that signs the roster document, so " \
      "that agents can trust it, beside this file or with a full path; empty: it is not signed")   \
    S(document_sign_cert, "document.sign.cert", FAILOVER, TEXT, "", 0, 0, RELOAD,                  \
      "certificate of that key, then those that certify it (PEM), to be sent along; empty: none")  \
    S(etcd_endpoints, "etcd.endpoints", FAILOVER, LIST, "", 0, 16, RELOAD,                         \
      "etcd servers as http://host:2379 or https://host:2379, tried in turn: we register there "   \
      "and learn of the others; empty: no etcd")                                                   \
    S(etcd_prefix, "etcd.prefix", FAILOVER, TEXT, "/certferry/v1/", 0, 0, RELOAD,                  \
      "members stand below this key; ends with a slash")                                           \
    S(etcd_lease_ttl, "etcd.lease.ttl", FAILOVER, TIME, "15s", 2000, 600000, RELOAD,               \
      "a member that has crashed is forgotten after this; whole seconds")                          \
    S(etcd_timeout, "etcd.timeout", FAILOVER, TIME, "5s", 100, 60000, RELOAD,                      \
      "for one request to etcd")                                                                   \
    S(etcd_user, "etcd.user", FAILOVER, TEXT, "", 0, 0, RELOAD,                                    \
      "user to log in as; empty: nobody logs in")                                                  \
    S(etcd_password_file, "etcd.password.file", FAILOVER, TEXT, "", 0, 0, RELOAD,                  \
      "private file with the password of that user, beside this file or with a full path")         \
    S(etcd_ca, "etcd.ca", FAILOVER, TEXT, "", 0, 0, RELOAD,                                        \
      "full path of a PEM file of the CA of https:// endpoints; empty: the system's CAs")          \
    S(etcd_cert, "etcd.cert", FAILOVER, TEXT, "", 0, 0, RELOAD,                                    \
      "full path of our own certificate for etcd (PEM); empty: none is shown")                     \
    S(etcd_key, "etcd.key", FAILOVER, TEXT, "", 0, 0, RELOAD,                                      \
      "full path of the private file with its key (PEM)")                                          \
    S(roster_dns, "roster.dns", FAILOVER, TEXT, "", 0, 0, RELOAD,                                  \
      "name whose SRV records (_certferry._tcp.site.example) or addresses are members too; "       \
      "empty: none")                                                                               \
    S(roster_dns_interval, "roster.dns.interval", FAILOVER, TIME, "30s", 1000, 86400000, RELOAD,   \
      "that name is asked for so often")                                                           \
    S(roster_cache, "roster.cache", FAILOVER, TEXT, "", 0, 0, RESTART,                             \
      "file of the last good roster, for a start while etcd and DNS are away; empty: roster.json " \
      "in $STATE_DIRECTORY as systemd sets it, else none")                                         \
    S(roster_ttl, "roster.ttl", FAILOVER, TIME, "10m", 20000, 86400000, RELOAD,                    \
      "validity of the roster document: its `expires` lies so far ahead")                          \
    /* gateway.properties: front doors for devices that cannot use a proxy */                      \
    S(gateway_listen, "gateway.listen", GATEWAY, LIST, "", 0, 16, RESTART,                         \
      "where the EST gateway listens, as address, address:port, :port or on; port 443 where none " \
      "is written; empty: nowhere")                                                                \
    S(gateway_redirect_listen, "gateway.redirect.listen", GATEWAY, LIST, "", 0, 16, RESTART,       \
      "where plain HTTP is answered with a redirect to the gateway's https, in the same form; "    \
      "port 80 where none is written; empty: nowhere")                                             \
    S(gateway_tls, "gateway.tls", GATEWAY, BOOL, "on", 0, 0, RESTART,                              \
      "speak TLS to clients of gateway.listen; off is for loopback addresses only, behind a "      \
      "TLS server of your own")                                                                    \
    S(gateway_names, "gateway.names", GATEWAY, LIST, "", 0, 256, RELOAD,                           \
      "names and addresses by which clients may ask for us (Host); others are refused with "       \
      "421; empty: any")                                                                           \
    S(gateway_paths, "gateway.paths", GATEWAY, LIST,                                               \
      "/.well-known/est/**,/.well-known/cmp/**,/scep/**,/cgi-bin/pkiclient.exe,"                   \
      "/certsrv/mscep/mscep.dll/**",                                                               \
      1, 256, RELOAD,                                                                              \
      "paths that may be asked for, all else is refused; * stands for octets of a segment, ** "    \
      "for any number of segments")                                                                \
    S(gateway_upstreams, "gateway.upstreams", GATEWAY, LIST, "", 0, 64, RELOAD,                    \
      "servers behind the gateway, as https://host or https://host:port, which take turns; the "   \
      "allowlist holds for them too, and upstream.retry.after where one is broken")                \
    S(gateway_upstream_ca, "gateway.upstream.ca", GATEWAY, TEXT, "", 0, 0, RELOAD,                 \
      "PEM file of the CAs that certify them, beside this file or with a full path; empty: "       \
      "those of the system")                                                                       \
    S(gateway_upstream_host, "gateway.upstream.host", GATEWAY, TEXT, "", 0, 0, RELOAD,             \
      "Host that they are sent, as host or host:port; empty: the upstream's own")                  \
    S(gateway_upstream_resume, "gateway.upstream.resume", GATEWAY, BOOL, "on", 0, 0, RELOAD,       \
      "resume TLS sessions with them, at most a day after their certificate was verified")         \
    S(gateway_upstream_cert, "gateway.upstream.cert", GATEWAY, TEXT, "", 0, 0, RELOAD,             \
      "PEM file of the certificate that we show them, with those that certify it behind it; "      \
      "empty: none")                                                                               \
    S(gateway_upstream_key, "gateway.upstream.key", GATEWAY, TEXT, "", 0, 0, RELOAD,               \
      "private file with its key (PEM), or the URI of a key in gateway.upstream.provider; empty: " \
      "it is in the same file as the certificate")                                                 \
    S(gateway_upstream_provider, "gateway.upstream.provider", GATEWAY, TEXT, "", 0, 0, RELOAD,     \
      "OpenSSL providers, as tpm2 or pkcs11, through whose device the keys of "                    \
      "gateway.upstream.cert sign; gateway.upstream.key may then be a URI; empty: keys are "       \
      "in files")                                                                                  \
    S(gateway_upstream_provider_path, "gateway.upstream.provider.path", GATEWAY, TEXT, "", 0, 0,   \
      RELOAD, "full path of the directory with their modules; empty: OpenSSL's own")               \
    S(gateway_upstream_provider_config, "gateway.upstream.provider.config", GATEWAY, TEXT, "", 0,  \
      0, RELOAD, "full path of an OpenSSL configuration for them alone; empty: none")              \
    S(gateway_upstream_propquery, "gateway.upstream.propquery", GATEWAY, TEXT, "", 0, 0, RELOAD,   \
      "property query for their signatures; empty: what the provider is found to need")            \
    S(gateway_upstream_pin_file, "gateway.upstream.pin.file", GATEWAY, TEXT, "", 0, 0, RELOAD,     \
      "private file with the PIN or password of the keys, beside this file or with a full "        \
      "path")                                                                                      \
    S(gateway_upstream_pin_env, "gateway.upstream.pin.env", GATEWAY, TEXT, "", 0, 0, RELOAD,       \
      "environment variable with it instead")                                                      \
    S(gateway_upstream_handshake_queue, "gateway.upstream.handshake.queue", GATEWAY, NUMBER, "64", \
      1, 65536, RELOAD, "TLS handshakes that may wait for the device at once; more are refused")   \
    S(gateway_forwarded_for, "gateway.forwarded.for", GATEWAY, BOOL, "on", 0, 0, RELOAD,           \
      "tell upstreams the client's address in X-Forwarded-For")                                    \
    S(gateway_forwarded_except, "gateway.forwarded.except", GATEWAY, PREFIXES, "127.0.0.0/8,::1",  \
      0, 4096, RELOAD, "but not of clients in these networks")                                     \
    S(gateway_forwarded_proto, "gateway.forwarded.proto", GATEWAY, BOOL, "on", 0, 0, RELOAD,       \
      "tell upstreams in X-Forwarded-Proto whether the client came by https or http")              \
    S(gateway_forwarded_port, "gateway.forwarded.port", GATEWAY, BOOL, "on", 0, 0, RELOAD,         \
      "tell upstreams the port that the client came to in X-Forwarded-Port")                       \
    S(gateway_client_cert_field, "gateway.client.cert.field", GATEWAY, BOOL, "off", 0, 0, RELOAD,  \
      "tell upstreams the certificate that the client has shown us in Client-Cert (RFC 9440)")     \
    S(gateway_timeout_connect, "gateway.timeout.connect", GATEWAY, TIME, "20s", 100, 600000,       \
      RELOAD, "for one attempt at an upstream: name look-up, TCP connection and TLS handshake")    \
    S(gateway_timeout_idle, "gateway.timeout.idle", GATEWAY, TIME, "30s", 100, 3600000, RELOAD,    \
      "at the gateway instead of timeout.keepalive, timeout.response and timeout.body")            \
    S(gateway_timeout_queue, "gateway.timeout.queue", GATEWAY, TIME, "60s", 100, 3600000, RELOAD,  \
      "at the gateway instead of queue.timeout")                                                   \
    S(gateway_retries, "gateway.retries", GATEWAY, NUMBER, "3", 0, 100, RELOAD,                    \
      "attempts more at an upstream that could not be reached, each at the next one, or at the "   \
      "same after a second; never of what may have arrived")                                       \
    S(gateway_check_interval, "gateway.check.interval", GATEWAY, TIME, "0ms", 0, 86400000, RELOAD, \
      "upstreams are asked so often for a TLS handshake; three that fail in a row put one out "    \
      "of use, two good ones back; 0ms: they are not asked")                                       \
    S(gateway_limit_connections, "gateway.limit.connections", GATEWAY, NUMBER, "300", 0, 10000000, \
      RELOAD,                                                                                      \
      "connections in use to all upstreams at once; further requests wait in the queue; 0: no "    \
      "such limit")                                                                                \
    S(gateway_redirect_port, "gateway.redirect.port", GATEWAY, NUMBER, "443", 1, 65535, RELOAD,    \
      "port of the gateway's https that gateway.redirect.listen sends clients to")                 \
    S(gateway_cert, "gateway.cert", GATEWAY, LIST, "", 0, 64, RELOAD,                              \
      "PEM files of our certificates for gateway.listen, each with those that certify it behind "  \
      "it, beside this file or with a full path; chosen by the name a client asks for, the first " \
      "for all others")                                                                            \
    S(gateway_key, "gateway.key", GATEWAY, LIST, "", 0, 64, RELOAD,                                \
      "private files with their keys (PEM), in the same order, or URIs of keys in "                \
      "gateway.provider; empty: they are in the same files as the certificates")                   \
    S(gateway_provider, "gateway.provider", GATEWAY, TEXT, "", 0, 0, RELOAD,                       \
      "OpenSSL providers, as tpm2 or pkcs11, through whose device the keys of "                    \
      "gateway.listen sign; gateway.key may then be a URI; empty: keys are in files")              \
    S(gateway_provider_path, "gateway.provider.path", GATEWAY, TEXT, "", 0, 0, RELOAD,             \
      "full path of the directory with their modules; empty: OpenSSL's own")                       \
    S(gateway_provider_config, "gateway.provider.config", GATEWAY, TEXT, "", 0, 0, RELOAD,         \
      "full path of an OpenSSL configuration for them alone; empty: none")                         \
    S(gateway_propquery, "gateway.propquery", GATEWAY, TEXT, "", 0, 0, RELOAD,                     \
      "property query for their signatures; empty: what the provider is found to need")            \
    S(gateway_pin_file, "gateway.pin.file", GATEWAY, TEXT, "", 0, 0, RELOAD,                       \
      "private file with the PIN or password of the keys, beside this file or with a full "        \
      "path")                                                                                      \
    S(gateway_pin_env, "gateway.pin.env", GATEWAY, TEXT, "", 0, 0, RELOAD,                         \
      "environment variable with it instead")                                                      \
    S(gateway_handshake_queue, "gateway.handshake.queue", GATEWAY, NUMBER, "64", 1, 65536, RELOAD, \
      "TLS handshakes that may wait for the device at once; more are refused")                     \
    S(gateway_min_version, "gateway.min.version", GATEWAY, CHOICE, "1.2", 0, "1.2|1.3", RELOAD,    \
      "oldest version of TLS that is spoken there")                                                \
    S(gateway_ciphers, "gateway.ciphers", GATEWAY, TEXT, "", 0, 0, RELOAD,                         \
      "cipher suites of TLS 1.2, as OpenSSL writes them, less those that are broken; empty: "      \
      "ECDHE "                                                                                     \
      "with AES-GCM or ChaCha20")                                                                  \
    S(gateway_clients_allow, "gateway.clients.allow", GATEWAY, PREFIXES, "", 0, 4096, RELOAD,      \
      "client networks that may use gateway.listen; empty: those of clients.allow")                \
    S(gateway_client_ca, "gateway.client.ca", GATEWAY, TEXT, "", 0, 0, RELOAD,                     \
      "PEM file of the CAs whose client certificates are believed at gateway.listen, beside this " \
      "file or with a full path; empty: clients are not asked for one")                            \
    S(gateway_client_crl, "gateway.client.crl", GATEWAY, LIST, "", 0, 64, RELOAD,                  \
      "PEM files of their CRLs; with one, every CA below the believed one needs one that is not "  \
      "too old")                                                                                   \
    S(gateway_client_auth, "gateway.client.auth", GATEWAY, CHOICE, "required", 0,                  \
      "required|optional", RELOAD,                                                                 \
      "whether a client must show a certificate, once gateway.client.ca is set")                   \
    S(gateway_client_identity, "gateway.client.identity", GATEWAY, CHOICE, "subject", 0,           \
      "subject|cn|dns|uri|email", RELOAD,                                                          \
      "where its identity stands: the whole subject, its common name, or the first subject "       \
      "alternative name of that kind")                                                             \
    S(gateway_ktls, "gateway.ktls", GATEWAY, BOOL, "on", 0, 0, RELOAD,                             \
      "leave encryption to the kernel where it can, so that tunnels stay there")                   \
    S(gateway_role, "gateway.role", GATEWAY, TEXT, "", 0, 0, RELOAD,                               \
      "role of clients of gateway.listen that show no certificate; empty: the general rules hold " \
      "for them")                                                                                  \
    S(passthrough_listen, "passthrough.listen", GATEWAY, LIST, "", 0, 16, RESTART,                 \
      "where a TLS ClientHello's server name says where a tunnel goes, in the same form; port "    \
      "443 where none is written; empty: nowhere")                                                 \
    S(passthrough_port, "passthrough.port", GATEWAY, NUMBER, "443", 1, 65535, RELOAD,              \
      "port of the host that a server name leads to; it must be in allowed.connect.ports")         \
    S(passthrough_clients_allow, "passthrough.clients.allow", GATEWAY, PREFIXES, "", 0, 4096,      \
      RELOAD, "client networks that may use passthrough.listen; empty: those of clients.allow")    \
    S(passthrough_role, "passthrough.role", GATEWAY, TEXT, "", 0, 0, RELOAD,                       \
      "role of all clients of passthrough.listen; empty: the general rules hold for them")         \
    /* of certferry agent alone */                                                                 \
    S(agent_zone, "agent.zone", FAILOVER, TEXT, "", 0, 0, RESTART,                                 \
      "site of this machine; its sensors are preferred")                                           \
    S(agent_domains, "agent.domains", FAILOVER, LIST, "", 0, 256, RESTART,                         \
      "domains (the name itself and everything below it) and addresses that an unsigned roster "   \
      "may name, besides the hosts of the command line")                                           \
    S(agent_signer, "agent.signer", FAILOVER, TEXT, "", 0, 0, RESTART,                             \
      "PEM file of public keys and certificates, beside this file or with a full path: whom they " \
      "show to have signed a roster may name any host in it; empty: nobody")                       \
    S(agent_cache, "agent.cache", FAILOVER, TEXT, "", 0, 0, RESTART,                               \
      "file of the last good roster, for a start while no sensor answers; empty: agent.json in "   \
      "$STATE_DIRECTORY as systemd sets it, else none")                                            \
    S(agent_attempt_timeout, "agent.attempt.timeout", FAILOVER, TIME, "5s", 100, 20000, RESTART,   \
      "for one sensor to be reached and to answer CONNECT, then the next one is asked")            \
    S(agent_check_interval, "agent.check.interval", FAILOVER, TIME, "1m", 100, 86400000, RESTART,  \
      "the best sensors are asked so often whether they are ready")                                \
    S(agent_check_timeout, "agent.check.timeout", FAILOVER, TIME, "2s", 50, 60000, RESTART,        \
      "for the whole answer, connecting included")                                                 \
    S(agent_retry_after, "agent.retry.after", FAILOVER, TIME, "1s", 50, 3600000, RESTART,          \
      "one that did not answer is asked again so soon, and then after twice that and so on up to " \
      "agent.check.interval")                                                                      \
    S(agent_return_after, "agent.return.after", FAILOVER, TIME, "2m", 0, 86400000, RESTART,        \
      "a better sensor that was broken must have worked for so long before it is used first "      \
      "again")

/* Defaults differ between the two. */
enum settings_role { SETTINGS_SENSOR, SETTINGS_AGENT };

enum settings_file {
    SETTINGS_WEBSERVER, /* webserver.properties */
    SETTINGS_USEPROXY,  /* useproxy.properties */
    SETTINGS_FAILOVER,  /* failover.properties */
    SETTINGS_GATEWAY,   /* gateway.properties: read when there is one */
    SETTINGS_ROLES,     /* roles.properties: the same; its keys are in roles_file.h */
    SETTINGS_FILE_COUNT
};

enum tunnel_sni { TUNNEL_SNI_MATCH, TUNNEL_SNI_STRICT, TUNNEL_SNI_OFF };
enum tls_unknown_identity { TLS_UNKNOWN_IDENTITY_REFUSE, TLS_UNKNOWN_IDENTITY_GENERAL };

/* In the table's order: one struct, and nobody waits for its padding. */
struct settings { // NOLINT(clang-analyzer-optin.performance.Padding)
#define SETTINGS_FIELD(field, key, file, type, text, min, max, reload, comment)                    \
    setting_##type field;
    SETTINGS_TABLE(SETTINGS_FIELD)
#undef SETTINGS_FIELD
    enum settings_role role;
    struct roles_file roles;
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

/*
 * The same for certferry agent: a loopback listener, every host and port, no gate, since all of
 * that is for the sensors to judge. `dir` NULL: no directory. `listen` ("address:port", NULL: none)
 * outranks the files.
 */
struct settings *settings_load_agent(int fd, const char *dir, const char *listen,
                                     struct settings_errors *e);
void settings_free(struct settings *s);

/*
 * "conf/useproxy.properties:12: allowed.hosts" - or "conf/useproxy.properties: allowed.hosts
 * (default)" - for messages. The last 4 texts of a thread stay.
 */
const char *settings_where(const struct settings *s, const char *key);

/* The same for a key of a role that stands in the file. */
const char *settings_where_role(const struct settings *s, const struct role_settings *role,
                                enum roles_file_key key);

/* Which file of the directory sets the key; NULL: none. */
const char *settings_set_in(const struct settings *s, const char *key);

/*
 * Keys whose value differs between the two but that a reload can't change (RESTART): calls back
 * with each.
 */
void settings_restart_needed(const struct settings *old, const struct settings *new_,
                             void (*on_key)(void *arg, const char *key), void *arg);

/*
 * Such keys become what they are in `in_force`, whatever the files say now: what is running was
 * made by them. 0, or -ENOMEM.
 */
int settings_keep(struct settings *s, const struct settings *in_force);

/* Prints the reference of all keys in the form of the shipped files; the test compares the two. */
void settings_print_defaults(FILE *out, enum settings_file file);
const char *settings_file_name(enum settings_file file);

#endif
