/*
 * fuzz_classify.c - any path and media type has one class, and its operation is one of ours, never
 * the peer's octets.
 *
 * Input: method, Content-Type and path with query, each ended by LF.
 */
#include "proxy/wire/classify.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span line_take(struct span *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    struct span line = *rest;
    if (end == NULL) {
        *rest = (struct span){rest->ptr + rest->len, 0};
        return line;
    }
    line.len = (size_t)(end - line.ptr);
    *rest = (struct span){end + 1, rest->len - line.len - 1};
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span rest = {(const char *)data, size};
    struct head h = {.kind = HEAD_REQUEST, .minor = 1};
    h.method = line_take(&rest);
    struct span type = line_take(&rest);
    if (type.len > 0)
        h.field[h.field_count++] = (struct head_field){SPAN("Content-Type"), type};
    struct target t = {.form = TARGET_ABSOLUTE, .host = SPAN("ca.example"), .port = 80};
    t.path = line_take(&rest);

    struct classified c = classify_request(&h, &t);
    assert((unsigned)c.protocol < PROTOCOL_COUNT && c.operation != NULL);
    assert(c.protocol != PROTOCOL_OTHER || c.operation[0] == '\0');
    assert(c.operation < (const char *)data || c.operation >= (const char *)data + size);
    assert(strlen(c.operation) < 32);
    return 0;
}
