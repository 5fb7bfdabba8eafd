#include "proxy/session/loop_guard.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"
#include "proxy/session/secret_digest.h"

enum { BUCKETS = 1024 };

struct loop_pass {
    struct list node; /* in its bucket */
    unsigned char digest[SECRET_DIGEST_OCTETS];
};

struct loop_guard {
    pthread_mutex_t lock;
    struct secret_digest_key key; /* so that nobody can choose hellos that fall into one bucket */
    struct list bucket[BUCKETS];
};

struct loop_guard *loop_guard_create(void)
{
    struct loop_guard *g = calloc(1, sizeof *g);
    if (g == NULL || !secret_digest_key_make(&g->key)) {
        free(g);
        return NULL;
    }
    (void)pthread_mutex_init(&g->lock, NULL);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&g->bucket[i]);
    return g;
}

void loop_guard_destroy(struct loop_guard *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(list_empty(&g->bucket[i]));
    (void)pthread_mutex_destroy(&g->lock);
    secret_digest_key_release(&g->key);
    free(g);
}

/* False: the same one is there. */
static bool add(struct list *bucket, struct loop_pass *p)
{
    LIST_EACH_SAFE (at, after, bucket) {
        const struct loop_pass *other = LIST_ITEM(at, struct loop_pass, node);
        if (memcmp(other->digest, p->digest, sizeof p->digest) == 0)
            return false;
    }
    list_append(bucket, &p->node);
    return true;
}

enum outcome loop_guard_enter(struct loop_guard *g, struct span hello, struct loop_pass **pass)
{
    struct loop_pass *p = calloc(1, sizeof *p);
    *pass = NULL;
    if (p == NULL || !secret_digest_make(&g->key, hello.ptr, hello.len, p->digest)) {
        free(p);
        return OUTCOME_NO_MEMORY;
    }
    struct list *bucket = &g->bucket[(p->digest[0] << 8 | p->digest[1]) % BUCKETS];
    (void)pthread_mutex_lock(&g->lock);
    bool added = add(bucket, p);
    (void)pthread_mutex_unlock(&g->lock);
    if (!added) {
        free(p);
        return OUTCOME_LOOP;
    }
    *pass = p;
    return OUTCOME_OK;
}

void loop_guard_leave(struct loop_guard *g, struct loop_pass *pass)
{
    if (pass == NULL)
        return;
    (void)pthread_mutex_lock(&g->lock);
    list_remove(&pass->node);
    (void)pthread_mutex_unlock(&g->lock);
    free(pass);
}
