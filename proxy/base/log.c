#include "proxy/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 4096 };

static const char *const level_names[] = {"error", "warning", "notice"};

/* Copies printable ASCII and escapes the rest; always leaves room for the newline. */
static size_t escape_line(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0' && n + 6 < size; p++) {
        if (*p >= 0x20 && *p < 0x7f)
            out[n++] = (char)*p;
        else
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", *p);
    }
    out[n++] = '\n';
    return n;
}

void log_line(enum log_level level, const char *format, ...)
{
    char text[LOG_LINE_MAX / 2];
    char line[LOG_LINE_MAX];
    int head = snprintf(text, sizeof text, "certferry: %s: ", level_names[level]);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + head, sizeof text - (size_t)head, format, args);
    va_end(args);
    size_t n = escape_line(line, sizeof line, text);
    /* A log that cannot be written must not stop the proxy. */
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written;
}

/* Length of the well-formed UTF-8 sequence at `p`, 0 if there is none (RFC 3629 section 4). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    if (p[0] >= 0xf5 || n == 0 || n > left)
        return 0;
    uint32_t code = p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fU);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < least[n] || surrogate || code > 0x10ffff ? 0 : n;
}

/* What must be escaped at `p`; returns the octets taken from the input. */
static size_t json_escape(struct buf *out, const unsigned char *p, size_t left, int *rc)
{
    if (*p == '"' || *p == '\\') {
        *rc = buf_printf(out, "\\%c", *p);
        return 1;
    }
    if (*p < 0x20 || *p == 0x7f) {
        *rc = buf_printf(out, "\\u%04x", *p);
        return 1;
    }
    size_t n = utf8_length(p, left);
    if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0) { /* C1: a terminal may obey it */
        *rc = buf_printf(out, "\\u%04x", p[1]);
        return n;
    }
    *rc = n > 0 ? buf_add(out, p, n) : buf_add_str(out, "\\ufffd");
    return n > 0 ? n : 1;
}

int log_json_string(struct buf *out, struct span s)
{
    int rc = buf_add_str(out, "\"");
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;
    while (rc == 0 && i < s.len) {
        size_t run = i;
        while (run < s.len && p[run] >= 0x20 && p[run] < 0x7f && p[run] != '"' && p[run] != '\\')
            run++;
        rc = buf_add(out, p + i, run - i);
        i = run;
        if (rc == 0 && i < s.len)
            i += json_escape(out, p + i, s.len - i, &rc);
    }
    return rc == 0 ? buf_add_str(out, "\"") : rc;
}
