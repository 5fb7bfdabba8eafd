#include "failover/base64url.h"

#include <errno.h>
#include <stdint.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64url_add(struct buf *out, struct span octets)
{
    const unsigned char *p = (const unsigned char *)octets.ptr;
    if (octets.len == 0)
        return 0;
    size_t length = octets.len / 3 * 4 + (octets.len % 3 > 0 ? octets.len % 3 + 1 : 0);
    char *to = buf_reserve(out, length);
    uint32_t bits = 0;
    unsigned count = 0;
    if (to == NULL)
        return -errno;
    for (size_t i = 0; i < octets.len; i++) {
        bits = bits << 8 | p[i];
        for (count += 8; count >= 6; count -= 6)
            *to++ = letters[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *to = letters[bits << (6 - count) & 63];
    buf_commit(out, length);
    return 0;
}

static int letter_value(char c)
{
    const char *at = c != '\0' ? strchr(letters, c) : NULL;
    return at != NULL ? (int)(at - letters) : -1;
}

int base64url_read(struct buf *out, struct span text)
{
    size_t length = text.len / 4 * 3 + (text.len % 4 > 1 ? text.len % 4 - 1 : 0);
    uint32_t bits = 0;
    unsigned count = 0;
    if (text.len == 0)
        return 0;
    if (text.len % 4 == 1)
        return -EINVAL;
    unsigned char *to = (unsigned char *)buf_reserve(out, length);
    if (to == NULL)
        return -errno;
    for (size_t i = 0; i < text.len; i++) {
        int value = letter_value(text.ptr[i]);
        if (value < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (unsigned char)(bits >> count);
        }
    }
    /* Bits that stand for nothing: with them one text would have many spellings. */
    if ((bits & ((1U << count) - 1)) != 0)
        return -EINVAL;
    buf_commit(out, length);
    return 0;
}
