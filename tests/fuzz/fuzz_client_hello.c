/*
 * fuzz_client_hello.c - the verdict on a ClientHello must not depend on how its octets or its
 * records are cut.
 *
 * Input: the first octets of a tunnel. The verdict on all of them is the first verdict but MORE on
 * any beginning of them; an accepted hello put into other records is accepted with the same name; a
 * name shown is a plain DNS name.
 */
#include "proxy/wire/client_hello.h"
#include "proxy/wire/client_hello_repeat.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From a copy of exactly that size, so that a sanitizer sees one octet too far. */
static enum client_hello_result parse(struct client_hello *hello, const void *data, size_t size)
{
    char *exact = malloc(size > 0 ? size : 1);
    assert(exact != NULL);
    memcpy(exact, data, size);
    enum client_hello_result r = client_hello_parse(hello, exact, size);
    free(exact);
    return r;
}

static void name_check(const struct client_hello *hello)
{
    size_t len = strlen(hello->sni);
    assert(hello->has_sni == (len > 0) && len <= 253);
    assert(strspn(hello->sni, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len);
    assert(len == 0 || (hello->sni[0] != '.' && hello->sni[len - 1] != '.'));
    assert(strstr(hello->sni, "..") == NULL);
}

/* Puts the handshake octets of the hello into records of `per_record` octets; returns the size. */
static size_t refragment(const uint8_t *data, size_t size, uint8_t *out, size_t per_record)
{
    size_t at = 0, to = 0, in_record = 0, total = 0;
    while (at + 5 <= size) {
        size_t payload = (size_t)data[at + 3] << 8 | data[at + 4];
        at += 5;
        for (size_t i = 0; i < payload && at < size; i++, at++) {
            if (in_record == 0) {
                memcpy(out + to, "\x16\x03\x01", 3);
                out[to + 3] = (uint8_t)(per_record >> 8);
                out[to + 4] = (uint8_t)per_record;
                to += 5;
                in_record = per_record;
            }
            out[to++] = data[at];
            in_record--;
            total++;
        }
    }
    return total > 0 ? to : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_hello whole, part;
    enum client_hello_result r = parse(&whole, data, size);
    name_check(&whole);
    assert(r == CLIENT_HELLO_OK || !whole.has_sni);
    /* Its size is the least beginning that is a whole hello. */
    assert((r == CLIENT_HELLO_OK) == (whole.size > 0) && whole.size <= size);
    assert(r != CLIENT_HELLO_OK || (parse(&part, data, whole.size) == r &&
                                    parse(&part, data, whole.size - 1) == CLIENT_HELLO_MORE));

    /* Every beginning of short inputs, some of long ones. */
    size_t step = size / 600 + 1, first = 0;
    enum client_hello_result p = CLIENT_HELLO_MORE;
    while (first < size && (p = parse(&part, data, first)) == CLIENT_HELLO_MORE)
        first += step;
    if (first < size)
        assert(p == r && strcmp(part.sni, whole.sni) == 0);

    /* Only what is one record: behind the hello anything may stand. */
    size_t record = size >= 5 ? ((size_t)data[3] << 8 | data[4]) + 5 : 0;
    assert(client_hello_repeat((const char *)data, size) != CLIENT_HELLO_REPEAT_YES ||
           (r == CLIENT_HELLO_OK && record == size));
    if (r != CLIENT_HELLO_OK || record > size || size > 4000)
        return 0;
    uint8_t *out = malloc(size * 6);
    assert(out != NULL);
    for (size_t per_record = 1; per_record < 8; per_record++) {
        size_t n = refragment(data, record, out, per_record);
        if (parse(&part, out, n) == CLIENT_HELLO_MORE)
            continue; /* the hello went on in the next record */
        assert(parse(&part, out, n) == r && strcmp(part.sni, whole.sni) == 0);
    }
    free(out);
    return 0;
}
