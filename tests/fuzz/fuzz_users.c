/*
 * fuzz_users.c - any file of users: who is in it, with which hash, and nothing that cannot be
 * computed in a moment.
 *
 * Input: lines as in an htpasswd file. Oracle: a plain list of what was taken, first come first
 * served, gives the same answers as the table; a cheap hash that was taken is really computed and
 * libcrypt must not refuse it.
 */
#include "allowlist/users.h"

#include <assert.h>
#include <crypt.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TAKEN_MAX = 256, COMPUTED_MAX = 2 };

struct taken {
    char name[1025], hash[1025];
};

static struct taken taken[TAKEN_MAX];
static size_t taken_count;

static const struct taken *find_taken(const char *name)
{
    for (size_t i = 0; i < taken_count; i++) {
        if (strcmp(taken[i].name, name) == 0)
            return &taken[i];
    }
    return NULL;
}

/* The cheapest of their kind: others would take the fuzzer's time. */
static bool is_cheap(const char *hash)
{
    static const char *const cheap[] = {"$2a$04$", "$2b$04$", "$2y$04$", "$y$j0", "$y$j1",
                                        "$y$j2",   "$7$B",    "$5$",     "$6$"};
    if (strstr(hash, "rounds=") != NULL && strncmp(hash + 3, "rounds=1000$", 12) != 0)
        return false;
    for (size_t i = 0; i < sizeof cheap / sizeof *cheap; i++) {
        if (strncmp(hash, cheap[i], strlen(cheap[i])) == 0)
            return true;
    }
    return false;
}

/* What is made of any password has the shape of what was taken: kind, cost, salt and length. */
static void check_computed(const char *hash)
{
    static struct crypt_data data;
    const char *made = crypt_r("sesame", hash, &data);
    assert(made != NULL && made[0] == '$');
    assert(strlen(made) == strlen(hash));
    size_t salt = (size_t)(strrchr(hash, '$') - hash) + 1;
    if (hash[1] == '2')
        salt += 21; /* the last character of bcrypt's salt holds two bits only */
    assert(strncmp(made, hash, salt) == 0);
}

/* A line that was taken is user, colon, hash; no more and no less. */
static void note(struct span line)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    if (line.ptr[line.len - 1] == '\r')
        line.len--;
    assert(colon != NULL && colon > line.ptr && line.len <= 1024);
    struct taken *t = &taken[taken_count];
    size_t name = (size_t)(colon - line.ptr), hash = line.len - name - 1;
    assert(name <= 255);
    memcpy(t->name, line.ptr, name);
    t->name[name] = '\0';
    memcpy(t->hash, colon + 1, hash);
    t->hash[hash] = '\0';
    assert(strlen(t->name) == name && strlen(t->hash) == hash);
    assert(t->name[0] != '#' && find_taken(t->name) == NULL);
    taken_count++;
}

static void check_all(const struct users *u)
{
    unsigned computed = 0;
    assert(users_count(u) == taken_count);
    assert((users_decoy(u, "x") == NULL) == (taken_count == 0));
    for (size_t i = 0; i < taken_count; i++) {
        const char *hash = users_find(u, taken[i].name);
        assert(hash != NULL && strcmp(hash, taken[i].hash) == 0);
        if (computed < COMPUTED_MAX && is_cheap(hash)) {
            check_computed(hash);
            computed++;
        }
        /* One octet less is somebody else. */
        struct taken shorter = taken[i];
        shorter.name[strlen(shorter.name) - 1] = '\0';
        const struct taken *other = find_taken(shorter.name);
        hash = users_find(u, shorter.name);
        assert((hash != NULL) == (other != NULL));
        assert(other == NULL || strcmp(hash, other->hash) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct users *u = users_create();
    const char *at = (const char *)data, *end = at + size;
    assert(u != NULL);
    taken_count = 0;
    while (at < end && taken_count < TAKEN_MAX) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            line_end = end;
        struct span line = {at, (size_t)(line_end - at)};
        const char *why = NULL;
        size_t before = users_count(u);
        int rc = users_add_line(u, line, &why);
        assert((rc != 0) == (why != NULL));
        if (users_count(u) > before)
            note(line);
        assert(rc == 0 || users_count(u) == before);
        at = line_end + 1;
    }
    check_all(u);
    users_destroy(u);
    return 0;
}
