/*
 * protocol.h - the kinds of traffic that certferry tells apart; for log, metrics and
 * allowed.protocols.
 *
 * Only the names: wire/classify decides which one a request is, allowlist/policy whether it may
 * pass. Any thread.
 */
#ifndef CERTFERRY_BASE_PROTOCOL_H
#define CERTFERRY_BASE_PROTOCOL_H

#define PROTOCOL_TABLE(X)                                                                          \
    X(OTHER, "other")                                                                              \
    X(TUNNEL, "tunnel")   /* CONNECT: what is inside is not looked at */                           \
    X(CONTROL, "control") /* our own pages */                                                      \
    X(ACME, "acme")       /* RFC 8555 */                                                           \
    X(EST, "est")         /* RFC 7030 */                                                           \
    X(SCEP, "scep")       /* RFC 8894 */                                                           \
    X(CMP, "cmp")         /* RFC 9811 */                                                           \
    X(OCSP, "ocsp")       /* RFC 6960 */                                                           \
    X(CRL, "crl")         /* RFC 5280 4.2.1.13 */                                                  \
    X(AIA, "aia")         /* RFC 5280 4.2.2.1: issuer certificates */

enum protocol {
#define PROTOCOL_ENUM(name, text) PROTOCOL_##name,
    PROTOCOL_TABLE(PROTOCOL_ENUM)
#undef PROTOCOL_ENUM
        PROTOCOL_COUNT
};

/* Static. */
const char *protocol_name(enum protocol p);

#endif
