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
    SCRYPT_COST_MIN = 13,   /* crypt_gensalt() makes none below */
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

static const char alphabet[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static const char rounds_said[] = "rounds=";

/* The rounds of sha256crypt and sha512crypt. */
static bool sha_costs_too_much(const char *hash)
{
    return starts(hash + 3, rounds_said) &&
           strtoul(hash + 3 + sizeof rounds_said - 1, NULL, 10) > SHA_ROUNDS_MAX;
}

/* yescrypt and scrypt say the logarithm of their memory as one character of this alphabet. */
static bool memory_costs_too_much(char cost, int most)
{
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

/*
 * Of yescrypt, behind "j", the costs' exponent and a block size of 32 or less: what crypt_gensalt()
 * makes; libcrypt knows more forms, which nobody needs and which could cost anything.
 */
static const char *yescrypt_salt(const char *hash)
{
    const char *costs = hash + 3;
    if (strspn(costs, alphabet) != 3 || costs[3] != '$' || costs[0] != 'j')
        return NULL;
    return strchr(alphabet, costs[2]) - alphabet < 32 ? costs + 4 : NULL;
}

/* Of scrypt, behind the costs' exponent, block size 32 and no parallelism, for the same reason. */
static const char *scrypt_salt(const char *hash)
{
    static const char sizes[] = "U..../....";
    const char *cost = hash[3] != '\0' ? strchr(alphabet, hash[3]) : NULL;
    if (cost == NULL || cost - alphabet < SCRYPT_COST_MIN || !starts(hash + 4, sizes))
        return NULL;
    return hash + 4 + sizeof sizes - 1;
}

/* Fewer rounds than 1000, or a zero in front, are written otherwise in what libcrypt makes of it.
 */
static const char *sha_salt(const char *hash)
{
    const char *at = hash + 3;
    if (!starts(at, rounds_said))
        return at;
    at += sizeof rounds_said - 1;
    size_t digits = strspn(at, "0123456789");
    return digits >= 4 && at[0] != '0' && at[digits] == '$' ? at + digits + 1 : NULL;
}

/*
 * Of the kind's one form: a hash that libcrypt takes but writes otherwise, or whose digest is cut,
 * would never match any password.
 */
static bool is_whole(const char *hash)
{
    enum { SHA_SALT_MAX = 16, YESCRYPT_SALT = 22 /* 16 octets; 4 bits of the last are not used */ };
    if (starts(hash, "$2"))
        return strlen(hash) == 60 && strspn(hash + 7, alphabet) == 53;
    bool sha = starts(hash, "$5$") || starts(hash, "$6$");
    const char *salt = sha                   ? sha_salt(hash)
                       : starts(hash, "$y$") ? yescrypt_salt(hash)
                                             : scrypt_salt(hash);
    if (salt == NULL)
        return false;
    size_t len = strspn(salt, alphabet);
    if (salt[len] != '$' || (sha && len > SHA_SALT_MAX))
        return false;
    if (starts(hash, "$y$") && (len != YESCRYPT_SALT || strchr("./01", salt[len - 1]) == NULL))
        return false;
    const char *digest = salt + len + 1;
    size_t size = strspn(digest, alphabet);
    return digest[size] == '\0' && size == (starts(hash, "$6$") ? 86 : 43);
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
    u->count++;
    return 0;
}

const char *users_find(const struct users *u, const char *user)
{
    const struct user *at = find(u, user);
    return at->name != NULL ? at->hash : NULL;
}

const char *users_decoy(const struct users *u, const char *user)
{
    if (u->count == 0)
        return NULL;
    size_t i = (size_t)(find(u, user) - u->slot);
    while (u->slot[i].name == NULL)
        i = (i + 1) & (u->slots - 1);
    return u->slot[i].hash;
}

size_t users_count(const struct users *u)
{
    return u->count;
}
