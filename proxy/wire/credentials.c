#include "proxy/wire/credentials.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { DECODED_MAX = 2 * CREDENTIALS_MAX + 1 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int sextet(char c)
{
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* RFC 4648 section 4: whole quanta, padding only at the end, no bits behind it. Octets or -1. */
static int decode(char *out, size_t size, struct span text)
{
    size_t len = 0;
    if (text.len == 0 || text.len % 4 != 0 || text.len / 4 * 3 > size)
        return -1;
    for (size_t i = 0; i < text.len; i += 4) {
        const char *at = text.ptr + i;
        bool last = i + 4 == text.len;
        unsigned pad = last && at[3] == '=' ? (at[2] == '=' ? 2 : 1) : 0;
        unsigned value = 0;
        for (unsigned k = 0; k < 4; k++) {
            int bits = k < 4 - pad ? sextet(at[k]) : 0;
            if (bits < 0)
                return -1;
            value = value << 6 | (unsigned)bits;
        }
        if ((value & ((1U << 8 * pad) - 1)) != 0)
            return -1;
        for (unsigned k = 0; k < 3 - pad; k++)
            out[len++] = (char)(value >> (16 - 8 * k));
    }
    return (int)len;
}

/* Control characters have no place in either part (RFC 7617 section 2). */
static bool has_controls(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)data[i] < ' ' || data[i] == 0x7f)
            return true;
    }
    return false;
}

static enum credentials_result bad(const char **why, const char *text)
{
    *why = text;
    return CREDENTIALS_BAD;
}

static enum credentials_result split(struct credentials *c, const char *data, size_t len,
                                     const char **why)
{
    const char *colon = memchr(data, ':', len);
    if (colon == NULL)
        return bad(why, "Proxy-Authorization: no colon between user and password");
    size_t user = (size_t)(colon - data), password = len - user - 1;
    if (has_controls(data, len))
        return bad(why, "Proxy-Authorization: control characters in user or password");
    if (user > CREDENTIALS_MAX || password > CREDENTIALS_MAX)
        return bad(why, "Proxy-Authorization: user or password longer than 255 octets");
    memcpy(c->user, data, user);
    memcpy(c->password, colon + 1, password);
    return CREDENTIALS_OK;
}

enum credentials_result credentials_parse(struct credentials *c, const struct head *head,
                                          const char **why)
{
    static const char scheme[] = "Basic";
    struct span name = SPAN("Proxy-Authorization");
    memset(c, 0, sizeof *c);
    size_t count = head_count(head, name);
    if (count == 0)
        return CREDENTIALS_NONE;
    if (count > 1)
        return bad(why, "more than one Proxy-Authorization");
    struct span value = head_find(head, name)->value;
    size_t word = 0;
    while (word < value.len && value.ptr[word] != ' ')
        word++;
    if (word != sizeof scheme - 1 || strncasecmp(value.ptr, scheme, word) != 0)
        return CREDENTIALS_NONE;
    size_t at = word;
    while (at < value.len && value.ptr[at] == ' ')
        at++;
    char decoded[DECODED_MAX + 3];
    int len = decode(decoded, sizeof decoded, (struct span){value.ptr + at, value.len - at});
    enum credentials_result result =
        len < 0 ? bad(why, "Proxy-Authorization: Basic with malformed base64, or too long")
                : split(c, decoded, (size_t)len, why);
    explicit_bzero(decoded, sizeof decoded);
    return result;
}

static void encode(char *out, struct span text)
{
    for (size_t i = 0; i < text.len; i += 3) {
        size_t left = text.len - i;
        unsigned value = (unsigned)(unsigned char)text.ptr[i] << 16;
        value |= left > 1 ? (unsigned)(unsigned char)text.ptr[i + 1] << 8 : 0;
        value |= left > 2 ? (unsigned char)text.ptr[i + 2] : 0;
        *out++ = alphabet[value >> 18];
        *out++ = alphabet[value >> 12 & 63];
        *out++ = left > 1 ? alphabet[value >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[value & 63] : '=';
    }
    *out = '\0';
}

int credentials_print(char out[CREDENTIALS_PRINTED_MAX], struct span user_password,
                      const char **why)
{
    static const char scheme[] = "Basic ";
    const char *fault = NULL;
    if (user_password.len > 2 * CREDENTIALS_MAX + 1)
        fault = "user and password are longer than 511 octets";
    else if (memchr(user_password.ptr, ':', user_password.len) == NULL ||
             user_password.ptr[0] == ':')
        fault = "a password is written as user:password";
    else if (has_controls(user_password.ptr, user_password.len))
        fault = "control characters in user or password";
    if (fault != NULL) {
        *why = fault;
        return -EINVAL;
    }
    memcpy(out, scheme, sizeof scheme - 1);
    encode(out + sizeof scheme - 1, user_password);
    return 0;
}

void credentials_wipe(struct credentials *c)
{
    explicit_bzero(c, sizeof *c);
}
