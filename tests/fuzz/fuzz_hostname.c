/*
 * fuzz_hostname.c - any octets as a host.
 *
 * Oracle: an accepted name has only what a host name has and is no address to inet_aton(); an
 * accepted literal is the address that inet_pton() reads in it; canonical text read again gives the
 * same text.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "allowlist/hostname.h"

static void must(bool true_or_bug, const char *what, const char *text)
{
    if (true_or_bug)
        return;
    (void)fprintf(stderr, "%s: \"%s\"\n", what, text);
    abort();
}

static void check_name(const char *text)
{
    static const char ldh[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
    size_t len = strlen(text);
    struct in_addr in;
    must(len > 0 && len <= HOSTNAME_MAX, "length", text);
    must(strspn(text, ldh) == len, "octets beyond LDH", text);
    must(text[0] != '.' && text[len - 1] != '.' && strstr(text, "..") == NULL, "empty label", text);
    must(inet_aton(text, &in) == 0, "inet_aton() takes it", text);
    for (const char *at = text; at != NULL; at = strchr(at + 1, '.')) {
        size_t label = strcspn(at + (*at == '.'), ".");
        must(label <= 63, "label too long", text);
    }
}

static void check_literal(const struct hostname *h)
{
    struct in6_addr octets;
    bool v4 = h->kind == HOST_IPV4;
    must(h->addr.sa.sa_family == (v4 ? AF_INET : AF_INET6), "family", h->text);
    must(inet_pton(v4 ? AF_INET : AF_INET6, h->text, &octets) == 1, "no address", h->text);
    must(memcmp(&octets, v4 ? (const void *)&h->addr.in.sin_addr : &h->addr.in6.sin6_addr,
                v4 ? 4 : 16) == 0,
         "another address", h->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hostname h, again;
    const char *why = NULL;
    int rc = hostname_parse(&h, (struct span){(const char *)data, size}, &why);
    if (rc != 0) {
        must(why != NULL && why[0] != '\0', "refusal without a reason", h.text);
        return 0;
    }
    if (h.kind == HOST_NAME)
        check_name(h.text);
    else
        check_literal(&h);

    char text[HOSTNAME_MAX + 3];
    (void)snprintf(text, sizeof text, h.kind == HOST_IPV6 ? "[%s]" : "%s", h.text);
    must(hostname_parse(&again, span_of(text), NULL) == 0, "refused the second time", h.text);
    must(again.kind == h.kind && strcmp(again.text, h.text) == 0, "not a fixed point", h.text);
    return 0;
}
