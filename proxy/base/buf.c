#include "proxy/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BUF_FIRST_CAP = 1024,
    SMALL_CAP = 8192 /* an answer of ours fits */
};

static atomic_size_t budget = SIZE_MAX;
static atomic_size_t used;

void buf_budget_set(size_t octets)
{
    atomic_store_explicit(&budget, octets, memory_order_relaxed);
}

size_t buf_budget_used(void)
{
    return atomic_load_explicit(&used, memory_order_relaxed);
}

bool buf_budget_spent(void)
{
    size_t most = atomic_load_explicit(&budget, memory_order_relaxed);
    return buf_budget_used() >= most - most / 8;
}

static void give_back(const struct buf *b)
{
    if (b->cap > 0)
        (void)atomic_fetch_sub_explicit(&used, b->cap, memory_order_relaxed);
}

/* Memory for a buffer of `cap` octets, within the budget; NULL when there is none. */
static char *allocate(size_t cap)
{
    size_t most = atomic_load_explicit(&budget, memory_order_relaxed);
    if (cap <= SMALL_CAP && most < SIZE_MAX - most / 8)
        most += most / 8;
    size_t before = atomic_fetch_add_explicit(&used, cap, memory_order_relaxed);
    char *data = before <= most && cap <= most - before ? malloc(cap > 0 ? cap : 1) : NULL;
    if (data == NULL)
        (void)atomic_fetch_sub_explicit(&used, cap, memory_order_relaxed);
    return data;
}

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
    give_back(b);
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b, size_t keep)
{
    b->start = b->end = 0;
    if (b->cap > keep)
        buf_release(b);
}

/* The next capacity that holds `need` octets: doubling keeps the number of copies small. */
static size_t grown_cap(const struct buf *b, size_t need)
{
    size_t cap = b->cap > 0 ? b->cap : BUF_FIRST_CAP;
    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    return cap < b->max ? cap : b->max;
}

char *buf_reserve(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    assert(len == 0 || b->data != NULL);
    if (n > b->max - len) {
        errno = ENOBUFS;
        return NULL;
    }
    if (b->data != NULL && n <= b->cap - b->end)
        return b->data + b->end;
    if (len + n > b->cap || b->data == NULL) {
        size_t cap = grown_cap(b, len + n);
        char *data = allocate(cap);
        if (data == NULL) {
            errno = ENOMEM;
            return NULL;
        }
        if (len > 0)
            memcpy(data, b->data + b->start, len);
        give_back(b);
        free(b->data);
        b->data = data;
        b->cap = cap;
    } else {
        memmove(b->data, b->data + b->start, len);
    }
    b->start = 0;
    b->end = len;
    return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->end);
    b->end += n;
}

int buf_add(struct buf *b, const void *data, size_t n)
{
    if (n == 0)
        return 0;
    char *to = buf_reserve(b, n);
    if (to == NULL)
        return -errno;
    memcpy(to, data, n);
    buf_commit(b, n);
    return 0;
}

int buf_add_span(struct buf *b, struct span s)
{
    return buf_add(b, s.ptr, s.len);
}

int buf_add_str(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

int buf_printf(struct buf *b, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof text)
        return buf_add(b, text, (size_t)n);

    /* Rare: longer than the stack's text. The NUL that vsnprintf() ends with must not cost room in
     * the buffer. */
    char *longer = malloc((size_t)n + 1);
    if (longer == NULL)
        return -ENOMEM;
    va_start(args, format);
    (void)vsnprintf(longer, (size_t)n + 1, format, args);
    va_end(args);
    int rc = buf_add(b, longer, (size_t)n);
    free(longer);
    return rc;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}
