#include "allowlist/users.h"

#include <crypt.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    USERS_MAX = 100000,
    LINE_MAX_OCTETS = 1024,
    USER_MAX = 255,
    FIRST_SLOTS = 64,       /* a power of two, as all sizes of the table */
    BCRYPT_COST_MAX = 14,   /* a second or so */
    YESCRYPT_COST_MAX = 14, /* 128 MiB */
    SCRYPT_COST_MAX = 15,   /* the same */
    SHA_ROUNDS_MAX = 1000000,
};

struct user {
    char *name; /* owned, with its hash in one piece; NULL: free slot */
    const char *hash;
};

struct users {
    uint64_t seed;
    struct user *slot; /* open addressing, at most half full */
    size_t slots, count;
    const char *decoy; /* the first user's hash */
};

struct users *users_create(void)
{
    struct users *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->slots = FIRST_SLOTS;
    u->slot = calloc(u->slots, sizeof *u->slot);
    if (getrandom(&u->seed, sizeof u->seed, 0) != (ssize_t)sizeof u->seed)
        u->seed = (uint64_t)(uintptr_t)u;
    if (u->slot != NULL)
        return u;
    free(u);
    return NULL;
}

void users_destroy(struct users *u)
{
    for (size_t i = 0; i < u->slots; i++)
        free(u->slot[i].name);
    free(u->slot);
    free(u);
}

/* Where `name` is, or where it would be. */
static struct user *find(const struct users *u, const char *name)
{
    uint64_t h = u->seed;
    for (const char *at = name; *at != '\0'; at++)
        h = ((h ^ (unsigned char)*at) * 0x9e3779b97f4a7c15U) ^ h >> 29;
    size_t i = (size_t)(h >> 32);
    for (;; i++) {
        struct user *at = &u->slot[i & (u->slots - 1)];
        if (at->name == NULL || strcmp(at->name, name) == 0)
            return at;
    }
}

static int grow(struct users *u)
{
    if (2 * (u->count + 1) <= u->slots)
        return 0;
    struct users bigger = {.seed = u->seed, .slots = 2 * u->slots};
    bigger.slot = calloc(bigger.slots, sizeof *bigger.slot);
    if (bigger.slot == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < u->slots; i++) {
        if (u->slot[i].name != NULL)
            *find(&bigger, u->slot[i].name) = u->slot[i];
    }
    free(u->slot);
    u->slot = bigger.slot;
    u->slots = bigger.slots;
    return 0;
}

/* ---- one line ---- */

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The rounds of sha256crypt and sha512crypt, 5000 when not said. */
static bool sha_costs_too_much(const char *hash)
{
    static const char said[] = "rounds=";
    return starts(hash + 3, said) && strtoul(hash + 3 + sizeof said - 1, NULL, 10) > SHA_ROUNDS_MAX;
}

/* yescrypt and scrypt say the logarithm of their memory as one character of this alphabet. */
static bool memory_costs_too_much(char cost, int most)
{
    static const char alphabet[] =
        "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *at = cost != '\0' ? strchr(alphabet, cost) : NULL;
    return at == NULL || at - alphabet > most;
}

/* A hash that takes a minute, or a gigabyte, is a mistake or a trap. */
static bool costs_too_much(const char *hash)
{
    if (starts(hash, "$2"))
        return strtoul(hash + 4, NULL, 10) > BCRYPT_COST_MAX;
    if (starts(hash, "$y$"))
        return memory_costs_too_much(hash[4], YESCRYPT_COST_MAX);
    if (starts(hash, "$7$"))
        return memory_costs_too_much(hash[3], SCRYPT_COST_MAX);
    return sha_costs_too_much(hash);
}

/* What stands behind the salt has one length for each kind: half a hash would never match. */
static bool is_whole(const char *hash)
{
    size_t digest = strlen(strrchr(hash, '$') + 1);
    if (starts(hash, "$2"))
        return strlen(hash) == 60;
    return digest == (starts(hash, "$6$") ? 86 : 43);
}

static const char *hash_fault(const char *hash)
{
    static const char *const kinds[] = {"$2a$", "$2b$", "$2y$", "$y$", "$7$", "$5$", "$6$"};
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        known = known || starts(hash, kinds[i]);
    if (!known)
        return "hash is not bcrypt, yescrypt, scrypt, sha512crypt or sha256crypt; make it with "
               "htpasswd -B or mkpasswd";
    int salt = crypt_checksalt(hash);
    bool usable =
        salt == CRYPT_SALT_OK || salt == CRYPT_SALT_TOO_CHEAP || salt == CRYPT_SALT_METHOD_LEGACY;
    if (!usable || !is_whole(hash))
        return "hash is malformed; make it anew with htpasswd -B or mkpasswd";
    return costs_too_much(hash)
               ? "hash costs too much time or memory; make it anew with fewer rounds"
               : NULL;
}

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EINVAL;
}

static bool has_controls(struct span line)
{
    for (size_t i = 0; i < line.len; i++) {
        if ((unsigned char)line.ptr[i] < ' ' || line.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

int users_add_line(struct users *u, struct span line, const char **why)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (line.len == 0 || line.ptr[0] == '#')
        return 0;
    if (line.len > LINE_MAX_OCTETS)
        return refuse(why, "line is longer than 1024 octets");
    if (has_controls(line))
        return refuse(why, "line holds control characters");
    const char *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL || colon == line.ptr)
        return refuse(why, "line is not user:hash");
    size_t name_len = (size_t)(colon - line.ptr);
    if (name_len > USER_MAX)
        return refuse(why, "user is longer than 255 octets");
    if (u->count == USERS_MAX)
        return refuse(why, "more than 100000 users");
    char *name = strndup(line.ptr, line.len);
    if (name == NULL || grow(u) != 0) {
        free(name);
        return -ENOMEM;
    }
    name[name_len] = '\0';
    const char *hash = name + name_len + 1;
    struct user *at = find(u, name);
    const char *fault = at->name != NULL ? "user is given twice" : hash_fault(hash);
    if (fault != NULL) {
        free(name);
        return refuse(why, fault);
    }
    *at = (struct user){name, hash};
    if (u->decoy == NULL)
        u->decoy = hash;
    u->count++;
    return 0;
}

const char *users_find(const struct users *u, const char *user)
{
    const struct user *at = find(u, user);
    return at->name != NULL ? at->hash : NULL;
}

const char *users_decoy(const struct users *u)
{
    return u->decoy;
}

size_t users_count(const struct users *u)
{
    return u->count;
}
