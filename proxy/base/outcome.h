/*
 * outcome.h - every way an exchange can end, once: token, status, Proxy-Status error, words for
 * people.
 *
 * The answer to the client, the access log and the metrics all read this table, so they cannot
 * disagree. Statuses: what an operator must change is 4xx; what may pass by itself is 502, 503 or
 * 504 and never 403, because ACME clients stay away for hours after a 403. Proxy-Status error types
 * are those of RFC 9209 section 2.3. Any thread.
 */
#ifndef CERTFERRY_BASE_OUTCOME_H
#define CERTFERRY_BASE_OUTCOME_H

/*
 * X(name, token, status, proxy_status, phrase, remedy)
 * status 0: no answer of ours is due (the exchange ran, or the client is gone).
 * phrase: becomes the reason phrase, the only thing Go, lego and wget show of a refused CONNECT.
 */
#define OUTCOME_TABLE(X)                                                                           \
    /* ended well, or by the will of an endpoint */                                                \
    X(OK, "ok", 0, NULL, "OK", NULL)                                                               \
    X(CLIENT_LEFT, "client-left", 0, NULL, "Client left", NULL)                                    \
    X(CLIENT_RESET, "client-reset", 0, NULL, "Client reset the connection", NULL)                  \
    X(ORIGIN_RESET, "origin-reset", 0, "connection_terminated", "Origin reset the connection",     \
      NULL)                                                                                        \
    X(TUNNEL_IDLE, "tunnel-idle", 0, NULL, "Tunnel idle too long", NULL)                           \
    X(TUNNEL_LIFETIME, "tunnel-lifetime", 0, NULL, "Tunnel older than timeout.tunnel.lifetime",    \
      NULL)                                                                                        \
    X(DRAIN_ENDED, "drain-ended", 0, NULL, "Ended by the proxy's shutdown", NULL)                  \
    /* who may talk to us */                                                                       \
    X(CLIENT_DENIED, "client-denied", 403, "http_request_denied",                                  \
      "Client address not in clients.allow",                                                       \
      "The operator must add your network to clients.allow in webserver.properties.")              \
    X(PROXY_HEADER_MALFORMED, "proxy-header-malformed", 400, "http_request_error",                 \
      "Malformed or missing PROXY protocol header",                                                \
      "A source in proxy.protocol.from must begin each connection with a PROXY header, version 1 " \
      "or 2.")                                                                                     \
    X(AUTH_REQUIRED, "auth-required", 407, "http_request_denied", "Proxy password required",       \
      "Write user and password into the proxy's address: http://user:password@host:port.")         \
    X(AUTH_FAILED, "auth-failed", 407, "http_request_denied", "Proxy user or password wrong",      \
      "Check the user and password in the proxy's address; the operator keeps them in auth.file.") \
    X(AUTH_BUSY, "auth-busy", 503, "proxy_internal_response",                                      \
      "Too many password checks at auth.pending.max", "Try later.")                                \
    X(ROLE_UNKNOWN, "role-unknown", 403, "http_request_denied",                                    \
      "No role for this client certificate",                                                       \
      "The operator must list the certificate's identity in roles.properties.")                    \
    X(CONTROL_DENIED, "control-denied", 403, "http_request_denied",                                \
      "Client address not in control.allow",                                                       \
      "Ask from the proxy host itself, or add your network to control.allow in "                   \
      "webserver.properties.")                                                                     \
    /* what the client sent */                                                                     \
    X(BAD_REQUEST, "bad-request", 400, "http_request_error", "Malformed HTTP request",             \
      "Send HTTP/1.1 as RFC 9112 defines it.")                                                     \
    X(TLS_TO_PLAIN_PORT, "tls-to-plain-port", 400, "http_request_error",                           \
      "TLS sent to a plain HTTP proxy port",                                                       \
      "Write the proxy's address as http://host:port, not https://host:port.")                     \
    X(BAD_VERSION, "bad-version", 505, "http_request_error", "HTTP version not supported",         \
      "Use HTTP/1.1 or HTTP/1.0 on this port.")                                                    \
    X(BAD_FRAMING, "bad-framing", 400, "http_request_error",                                       \
      "Ambiguous length of the request body",                                                      \
      "Send exactly one Content-Length, or Transfer-Encoding: chunked alone.")                     \
    X(BAD_TARGET, "bad-target", 400, "http_request_error", "Malformed request target",             \
      "To a proxy port write CONNECT host:port for https and an absolute http:// URL otherwise, "  \
      "to a gateway /path.")                                                                       \
    X(BAD_HOST, "bad-host", 400, "http_request_error", "Host is not a valid DNS name or address",  \
      "Use a plain DNS name (letters, digits, hyphens; international names as A-labels).")         \
    X(HTTPS_NEEDS_CONNECT, "https-needs-connect", 400, "http_request_error",                       \
      "Use CONNECT for https URLs",                                                                \
      "This proxy never decrypts: open a tunnel with CONNECT host:443 instead of sending it the "  \
      "https:// URL.")                                                                             \
    X(METHOD_UNKNOWN, "method-unknown", 501, "http_request_error", "Method not implemented",       \
      "Use a registered HTTP method.")                                                             \
    X(METHOD_NOT_ALLOWED, "method-not-allowed", 405, "http_request_error",                         \
      "Method not allowed on this page", "The proxy's own pages answer GET and HEAD.")             \
    X(NOT_FOUND, "not-found", 404, "http_request_error", "No such page on the proxy",              \
      "This is a forward proxy: configure it as HTTP_PROXY / HTTPS_PROXY. Own pages: /healthz, "   \
      "/readyz, /.well-known/pvd, /proxy.pac, /metrics, / (status).")                              \
    X(REQUEST_LINE_TOO_LONG, "request-line-too-long", 414, "http_request_error",                   \
      "Request line longer than limit.request.line",                                               \
      "Use POST for long SCEP messages, or raise limit.request.line.")                             \
    X(HEAD_TOO_LARGE, "head-too-large", 431, "http_request_error",                                 \
      "Request head larger than limit.head", "Send fewer or shorter fields, or raise limit.head.") \
    X(TOO_MANY_FIELDS, "too-many-fields", 431, "http_request_error",                               \
      "More request fields than limit.fields", "Send fewer fields, or raise limit.fields.")        \
    X(HEAD_TIMEOUT, "head-timeout", 408, "http_request_error",                                     \
      "Request head not complete within timeout.head", "Send the whole request head at once.")     \
    X(BODY_MALFORMED, "body-malformed", 400, "http_request_error", "Malformed chunked body",       \
      "Send chunks as RFC 9112 section 7.1 defines them.")                                         \
    X(BODY_TIMEOUT, "body-timeout", 408, "http_request_error",                                     \
      "Request body stalled longer than timeout.body",                                             \
      "Send the body without long pauses; at a gateway the operator's limit is "                   \
      "gateway.timeout.idle.")                                                                     \
    X(BODY_TOO_SLOW, "body-too-slow", 408, "http_request_error",                                   \
      "Request body slower than limit.body.rate",                                                  \
      "Send the body faster, or lower limit.body.rate.")                                           \
    X(LOOP, "proxy-loop", 508, "proxy_loop_detected", "Request came back to this proxy",           \
      "A Via field already names this proxy: check upstream and client proxy settings.")           \
    /* what may go out */                                                                          \
    X(HOST_DENIED, "host-denied", 403, "http_request_denied", "Host not in the allowlist",         \
      "The operator must add the domain to allowed.domains, or the exact host to allowed.hosts, "  \
      "in useproxy.properties.")                                                                   \
    X(LITERAL_DENIED, "literal-denied", 403, "http_request_denied",                                \
      "IP address as host not in the allowlist",                                                   \
      "Use the CA's DNS name; an IP address must be listed in allowed.hosts in "                   \
      "useproxy.properties.")                                                                      \
    X(PORT_DENIED, "port-denied", 403, "http_request_denied", "Port not in the allowlist",         \
      "The operator must add the port to allowed.connect.ports (CONNECT) or allowed.http.ports "   \
      "(http://) in useproxy.properties.")                                                         \
    X(PROTOCOL_DENIED, "protocol-denied", 403, "http_request_denied",                              \
      "Protocol not in allowed.protocols",                                                         \
      "The operator must add the protocol to allowed.protocols in useproxy.properties.")           \
    X(ADDRESS_DENIED, "address-denied", 403, "destination_ip_prohibited",                          \
      "Host resolves to a special-purpose address",                                                \
      "The name leads to a private or special-purpose address; if that is meant, add its network " \
      "to allowed.networks in useproxy.properties.")                                               \
    /* the way to the origin */                                                                    \
    X(DNS_NOT_FOUND, "dns-not-found", 502, "dns_error", "Host name does not exist in DNS",         \
      "Check the spelling of the host and the name servers of the proxy host.")                    \
    X(DNS_FAILED, "dns-failed", 502, "dns_error", "Name servers could not answer",                 \
      "Check /etc/resolv.conf (or resolver.servers) on the proxy host.")                           \
    X(DNS_TIMEOUT, "dns-timeout", 504, "dns_timeout", "Name servers did not answer in time",       \
      "Check that the proxy host reaches its name servers.")                                       \
    X(CONNECT_REFUSED, "connect-refused", 502, "connection_refused",                               \
      "Origin refused the connection", "Is the CA up, and is the port right?")                     \
    X(CONNECT_UNREACHABLE, "connect-unreachable", 502, "destination_ip_unroutable",                \
      "No route to the origin", "Check the routes and firewalls of the proxy host.")               \
    X(CONNECT_TIMEOUT, "connect-timeout", 504, "connection_timeout",                               \
      "Origin did not accept within timeout.connect",                                              \
      "Check the firewall between the proxy host and the CA; at a gateway the limit is "           \
      "gateway.timeout.connect.")                                                                  \
    X(CONNECT_FAILED, "connect-failed", 502, "destination_unavailable",                            \
      "Could not connect to the origin", "The proxy's log has the system's reason.")               \
    /* the origin's answer */                                                                      \
    X(RESPONSE_TIMEOUT, "response-timeout", 504, "http_response_timeout",                          \
      "Origin sent no response within timeout.response",                                           \
      "The CA is slow or stuck: try later; at a gateway the operator's limit is "                  \
      "gateway.timeout.idle.")                                                                     \
    X(RESPONSE_MALFORMED, "response-malformed", 502, "http_protocol_error",                        \
      "Malformed response from the origin",                                                        \
      "The origin does not speak HTTP/1.1 as RFC 9112 defines it.")                                \
    X(RESPONSE_HEAD_TOO_LARGE, "response-head-too-large", 502,                                     \
      "http_response_header_section_size", "Response head larger than limit.head",                 \
      "Raise limit.head if the origin really needs it.")                                           \
    X(RESPONSE_INCOMPLETE, "response-incomplete", 502, "http_response_incomplete",                 \
      "Origin closed before its response was complete", "Try again; the CA may be restarting.")    \
    X(RESPONSE_STALLED, "response-stalled", 0, "http_response_incomplete",                         \
      "Response body stalled longer than timeout.body", NULL)                                      \
    X(RESPONSE_TOO_SLOW, "response-too-slow", 0, "http_response_incomplete",                       \
      "Response body slower than limit.body.rate", NULL)                                           \
    X(UPGRADE_REFUSED, "upgrade-refused", 502, "http_upgrade_failed",                              \
      "Origin switched protocols unasked", "The origin answered 101 to a plain request.")          \
    /* the way through a parent proxy (upstream.proxies) */                                        \
    X(PARENT_UNREACHABLE, "parent-unreachable", 502, "destination_unavailable",                    \
      "Parent proxy not reachable", "Check upstream.proxies and the way to the parent proxy.")     \
    X(PARENT_TIMEOUT, "parent-timeout", 504, "http_response_timeout",                              \
      "Parent proxy did not answer in time", "The parent proxy is slow or stuck: try later.")      \
    X(PARENT_CLOSED, "parent-closed", 502, "http_response_incomplete",                             \
      "Parent proxy closed without an answer", "Try again; it may be restarting.")                 \
    X(PARENT_MALFORMED, "parent-malformed", 502, "http_protocol_error",                            \
      "Parent proxy's answer is no HTTP response, or passes a limit",                              \
      "Check that upstream.proxies names proxies, by http:// or https:// as they speak.")          \
    X(PARENT_TLS, "parent-tls", 502, "tls_protocol_error", "No TLS with the parent proxy",         \
      "Check that upstream.proxies names it as https:// only if it speaks TLS itself.")            \
    X(PARENT_CERTIFICATE, "parent-certificate", 502, "tls_certificate_error",                      \
      "Parent proxy's certificate is not believed",                                                \
      "The operator must set upstream.ca, or write the parent's name as its certificate has it.")  \
    X(PARENT_PASSWORD, "parent-password", 502, "proxy_configuration_error",                        \
      "Parent proxy does not take our password",                                                   \
      "The operator must correct upstream.credentials.file.")                                      \
    X(PARENT_DENIED, "parent-denied", 403, "http_request_denied", "Parent proxy denies this",      \
      "The operator of the parent proxy must allow the host and port.")                            \
    X(PARENT_FAILED, "parent-failed", 502, "destination_unavailable",                              \
      "Parent proxy could not open the tunnel", "Is the CA up, and may the parent reach it?")      \
    X(PARENT_BUSY, "parent-busy", 503, "destination_unavailable",                                  \
      "Parent proxy has no capacity or no way out now", "Try later.")                              \
    X(PARENT_GATEWAY_TIMEOUT, "parent-gateway-timeout", 504, "connection_timeout",                 \
      "Parent proxy did not reach the origin in time",                                             \
      "Check the firewall between the parent proxy and the CA.")                                   \
    X(PARENT_ANSWER, "parent-answer", 0, NULL, "Parent proxy's own answer, passed on", NULL)       \
    /* the gateway */                                                                              \
    X(PATH_DENIED, "path-denied", 403, "http_request_denied",                                      \
      "Path not allowed through the gateway",                                                      \
      "The operator must add the path to gateway.paths in gateway.properties; it must be written " \
      "plainly, without dot segments, double slashes, parameters and needless escapes.")           \
    X(METHOD_DENIED, "method-denied", 405, "http_request_denied",                                  \
      "Method not allowed through the gateway", "Enrollment needs GET, HEAD and POST only.")       \
    X(GATEWAY_NAME_UNKNOWN, "gateway-name-unknown", 421, "http_request_error",                     \
      "The gateway does not have that name",                                                       \
      "Ask by one of its names, which the operator keeps in gateway.names.")                       \
    X(UPSTREAM_NONE, "upstream-none", 503, "destination_unavailable", "No upstream to ask",        \
      "The operator must name one in gateway.upstreams that the allowlist lets pass; after a "     \
      "reload ask again.")                                                                         \
    X(UPSTREAM_TLS, "upstream-tls", 502, "tls_protocol_error", "No TLS with the upstream",         \
      "It must speak TLS 1.2 or later; if it wants a certificate of ours, the operator must set "  \
      "gateway.upstream.cert.")                                                                    \
    X(UPSTREAM_CERTIFICATE, "upstream-certificate", 502, "tls_certificate_error",                  \
      "The upstream's certificate is not believed",                                                \
      "The operator must set gateway.upstream.ca, or write the upstream's name as its "            \
      "certificate has it.")                                                                       \
    X(UPSTREAM_KEY_LOST, "upstream-key-lost", 503, "proxy_internal_error",                         \
      "The gateway's key for its upstream is not there",                                           \
      "The TPM or HSM that holds it does not answer; the gateway's log has the reason.")           \
    X(UPSTREAM_KEY_BUSY, "upstream-key-busy", 503, "proxy_internal_error",                         \
      "Too many handshakes wait for the gateway's key", "Try later.")                              \
    X(UPSTREAM_TIMEOUT, "upstream-timeout", 504, "connection_timeout",                             \
      "No TLS with the upstream within gateway.timeout.connect",                                   \
      "The upstream is slow or stuck: try later.")                                                 \
    /* inside a tunnel: the client has its 200, so these end in a TLS alert (RFC 8446 section 6)   \
     */                                                                                            \
    X(HELLO_TIMEOUT, "hello-timeout", 0, NULL, "No TLS ClientHello in the tunnel", NULL)           \
    X(HELLO_NOT_TLS, "hello-not-tls", 0, NULL, "Tunnel does not begin with TLS", NULL)             \
    X(HELLO_MALFORMED, "hello-malformed", 0, NULL, "Malformed TLS ClientHello", NULL)              \
    X(SNI_MISSING, "sni-missing", 0, NULL, "TLS ClientHello without server name", NULL)            \
    X(SNI_MISMATCH, "sni-mismatch", 0, NULL, "TLS server name is not the CONNECT host", NULL)      \
    /* TLS with a client at a door of ours; it hears of it by a TLS alert, if at all */            \
    X(TLS_HANDSHAKE_FAILED, "tls-handshake-failed", 0, NULL, "No TLS with the client", NULL)       \
    X(TLS_HANDSHAKE_TIMEOUT, "tls-handshake-timeout", 0, NULL,                                     \
      "No TLS with the client within timeout.tls.handshake", NULL)                                 \
    X(PLAIN_TO_TLS_PORT, "plain-to-tls-port", 400, "http_request_error", "This port speaks TLS",   \
      "Write https:// before this proxy's host and port, or use its other port.")                  \
    X(TLS_KEY_LOST, "tls-key-lost", 0, NULL,                                                       \
      "The device with the proxy's TLS key does not answer", NULL)                                 \
    X(HANDSHAKE_QUEUE_FULL, "handshake-queue-full", 0, NULL,                                       \
      "More than tls.handshake.queue TLS handshakes wait for the proxy's key", NULL)               \
    X(CLIENT_CERTIFICATE_MISSING, "client-certificate-missing", 0, NULL,                           \
      "Client showed no certificate", NULL)                                                        \
    X(CLIENT_CERTIFICATE_INVALID, "client-certificate-invalid", 403, "http_request_denied",        \
      "Client certificate is not believed any more", "Connect anew with a present certificate.")   \
    /* our own state */                                                                            \
    X(CONNECTIONS_LIMIT, "connections-limit", 503, "connection_limit_reached",                     \
      "Proxy is at limit.connections", "Try later or use another proxy of the roster.")            \
    X(CLIENT_LIMIT, "client-limit", 429, "connection_limit_reached",                               \
      "Too many connections from this client",                                                     \
      "Use fewer connections, or raise limit.connections.per.client.")                             \
    X(ROLE_LIMIT, "role-limit", 503, "connection_limit_reached",                                   \
      "Too many connections of this client's role",                                                \
      "Try later, or raise limit.connections of the role in roles.properties.")                    \
    X(IDENTITY_LIMIT, "identity-limit", 429, "connection_limit_reached",                           \
      "Too many connections with this client certificate",                                         \
      "Use fewer connections, or raise limit.connections.per.identity of the role in "             \
      "roles.properties, or limit.identities when that is used up.")                               \
    X(UPSTREAM_LIMIT, "upstream-limit", 503, "connection_limit_reached",                           \
      "Proxy is at limit.upstream.per.host", "Try later or use another proxy of the roster.")      \
    X(QUEUE_FULL, "queue-full", 503, "connection_limit_reached", "Proxy's queue is at queue.max",  \
      "Try later or use another proxy of the roster.")                                             \
    X(QUEUE_SHARE, "queue-share", 429, "connection_limit_reached",                                 \
      "Half of the proxy's queue waits for this client",                                           \
      "Ask for less at once; what waits is served in turn.")                                       \
    X(QUEUE_TIMEOUT, "queue-timeout", 503, "connection_limit_reached",                             \
      "No free connection to the origin within queue.timeout",                                     \
      "Try later or use another proxy of the roster; at a gateway the operator's limits are "      \
      "gateway.timeout.queue and gateway.limit.connections.")                                      \
    X(MEMORY_LIMIT, "memory-limit", 503, "connection_limit_reached", "Proxy is at limit.memory",   \
      "Try later or use another proxy of the roster.")                                             \
    X(NO_DESCRIPTORS, "no-descriptors", 503, "proxy_internal_error",                               \
      "Proxy is out of file descriptors", "Raise LimitNOFILE for the proxy, or try later.")        \
    X(NO_MEMORY, "no-memory", 503, "proxy_internal_error", "Proxy is out of memory",               \
      "Try later or use another proxy of the roster.")                                             \
    X(INTERNAL, "internal-error", 500, "proxy_internal_error", "Internal error of the proxy",      \
      "Please report this with the proxy's log.")

enum outcome {
#define OUTCOME_ENUM(name, token, status, proxy_status, phrase, remedy) OUTCOME_##name,
    OUTCOME_TABLE(OUTCOME_ENUM)
#undef OUTCOME_ENUM
        OUTCOME_COUNT,
    OUTCOME_PENDING = OUTCOME_COUNT /* none yet: it will come */
};

struct outcome_info {
    const char *token;        /* in the access log and as a metrics label */
    unsigned status;          /* HTTP status of our answer, 0: none is due */
    const char *proxy_status; /* error parameter of Proxy-Status, or NULL */
    const char *phrase;       /* reason phrase */
    const char *remedy;       /* what to do, or NULL */
};

/* Never NULL; static. */
const struct outcome_info *outcome_info(enum outcome o);

#endif
