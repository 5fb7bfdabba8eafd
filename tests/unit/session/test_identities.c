/*
 * test_identities.c - what roles and identities are counted with, their limits, and that neither
 * memory nor metrics grow with the names that clients bring.
 */
#include "proxy/session/identities.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum outcome enter(struct identities *ids, const char *role, const char *identity,
                          size_t role_max, size_t identity_max, struct identities_place *place)
{
    const struct identities_client client = {role, identity, role_max, identity_max};
    return identities_enter(ids, &client, place);
}

static struct identities *identities_new(size_t most)
{
    struct identities *ids = identities_create();
    assert_non_null(ids);
    identities_set_limit(ids, most);
    return ids;
}

/* The text of all metrics; the caller's to free. */
static char *print(struct identities *ids)
{
    struct buf out;
    buf_init(&out, 16 * 1024 * 1024);
    assert_int_equal(identities_print(ids, &out), 0);
    char *text = strndup(buf_span(&out).ptr, buf_len(&out));
    assert_non_null(text);
    buf_release(&out);
    return text;
}

static void check_line(struct identities *ids, const char *line)
{
    char *text = print(ids), wanted[1024];
    (void)snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (strstr(text, wanted) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, text);
    free(text);
}

/* Those that begin with `with`, line end before it included. Not by strstr(), which under a
 * sanitizer reads all of the page for each of them. */
static size_t count_lines(struct identities *ids, const char *with)
{
    char *text = print(ids);
    size_t n = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        n += strncmp(at, with, strlen(with)) == 0;
    free(text);
    return n;
}

static void test_counts(void **state)
{
    struct identities *ids = identities_new(10);
    struct identities_place a, b, c;
    (void)state;
    assert_int_equal(enter(ids, "sensors", "sensor-1", 0, 0, &a), OUTCOME_OK);
    assert_int_equal(enter(ids, "sensors", "sensor-1", 0, 0, &b), OUTCOME_OK);
    assert_int_equal(enter(ids, "edge", NULL, 0, 0, &c), OUTCOME_OK);
    assert_true(identities_is_of(&a, "sensors"));
    assert_false(identities_is_of(&a, "edge"));
    assert_false(identities_is_of(&(struct identities_place){0}, ""));
    identities_count(&a, false, false);
    identities_count(&b, true, false);
    identities_count(&c, false, true);
    identities_count(&(struct identities_place){0}, true, true);
    check_line(ids, "certferry_role_connections{role=\"sensors\"} 2");
    check_line(ids, "certferry_role_exchanges_total{role=\"sensors\"} 2");
    check_line(ids, "certferry_role_refused_total{role=\"sensors\"} 1");
    check_line(ids, "certferry_role_would_deny_total{role=\"sensors\"} 0");
    check_line(ids, "certferry_role_would_deny_total{role=\"edge\"} 1");
    check_line(ids, "certferry_identity_connections{identity=\"sensor-1\",role=\"sensors\"} 2");
    check_line(ids, "certferry_identity_refused_total{identity=\"sensor-1\",role=\"sensors\"} 1");
    identities_leave(ids, &a);
    assert_null(a.role);
    identities_leave(ids, &a); /* harmless */
    identities_leave(ids, &b);
    identities_leave(ids, &c);
    check_line(ids, "certferry_role_connections{role=\"sensors\"} 0");
    check_line(ids, "certferry_role_connections_total{role=\"sensors\"} 2");
    check_line(ids, "certferry_identity_connections{identity=\"sensor-1\",role=\"sensors\"} 0");
    check_line(ids, "certferry_identities 1");
    identities_destroy(ids);
}

static void test_role_limit(void **state)
{
    struct identities *ids = identities_new(10);
    struct identities_place a, b, c;
    (void)state;
    assert_int_equal(enter(ids, "r", "a", 2, 0, &a), OUTCOME_OK);
    assert_int_equal(enter(ids, "r", NULL, 2, 0, &b), OUTCOME_OK);
    assert_int_equal(enter(ids, "r", "c", 2, 0, &c), OUTCOME_ROLE_LIMIT);
    assert_null(c.role);
    check_line(ids, "certferry_role_refused_total{role=\"r\"} 1");
    assert_int_equal(enter(ids, "other", "c", 2, 0, &c), OUTCOME_OK);
    identities_leave(ids, &c);
    identities_leave(ids, &a);
    assert_int_equal(enter(ids, "r", "c", 2, 0, &c), OUTCOME_OK);
    identities_leave(ids, &b);
    identities_leave(ids, &c);
    identities_destroy(ids);
}

static void test_identity_limit(void **state)
{
    struct identities *ids = identities_new(10);
    struct identities_place a, b, c;
    (void)state;
    assert_int_equal(enter(ids, "r", "a", 0, 1, &a), OUTCOME_OK);
    assert_int_equal(enter(ids, "r", "a", 0, 1, &b), OUTCOME_IDENTITY_LIMIT);
    assert_int_equal(enter(ids, "r", "b", 0, 1, &b), OUTCOME_OK);
    /* Who has no identity is under the role's limit alone. */
    assert_int_equal(enter(ids, "r", NULL, 0, 1, &c), OUTCOME_OK);
    identities_leave(ids, &c);
    /* Of another role after a reload it is still the same client. */
    assert_int_equal(enter(ids, "s", "a", 0, 1, &c), OUTCOME_IDENTITY_LIMIT);
    identities_leave(ids, &a);
    assert_int_equal(enter(ids, "s", "a", 0, 1, &c), OUTCOME_OK);
    check_line(ids, "certferry_identity_refused_total{identity=\"a\",role=\"s\"} 2");
    identities_leave(ids, &b);
    identities_leave(ids, &c);
    identities_destroy(ids);
}

/* However many names come: the oldest without a connection goes, and one with a connection never.
 */
static void test_names_are_bounded(void **state)
{
    enum { MOST = 8 };
    struct identities *ids = identities_new(MOST);
    struct identities_place kept, place;
    char name[32];
    (void)state;
    assert_int_equal(enter(ids, "r", "kept", 0, 0, &kept), OUTCOME_OK);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "name-%u", i);
        assert_int_equal(enter(ids, "r", name, 0, 1, &place), OUTCOME_OK);
        identities_leave(ids, &place);
    }
    assert_int_equal(count_lines(ids, "\ncertferry_identity_connections{"), MOST);
    check_line(ids, "certferry_identity_connections{identity=\"kept\",role=\"r\"} 1");
    check_line(ids, "certferry_identity_connections{identity=\"name-999\",role=\"r\"} 0");
    check_line(ids, "certferry_role_connections_total{role=\"r\"} 1001");
    check_line(ids, "certferry_identities 8");
    identities_set_limit(ids, 2);
    assert_int_equal(count_lines(ids, "\ncertferry_identity_connections{"), 2);
    identities_leave(ids, &kept);
    identities_destroy(ids);
}

static void test_no_room(void **state)
{
    struct identities *ids = identities_new(2);
    struct identities_place a, b, c;
    (void)state;
    assert_int_equal(enter(ids, "r", "a", 0, 0, &a), OUTCOME_OK);
    assert_int_equal(enter(ids, "r", "b", 0, 0, &b), OUTCOME_OK);
    /* A limit that could not be kept is not given up. */
    assert_int_equal(enter(ids, "r", "c", 0, 1, &c), OUTCOME_IDENTITY_LIMIT);
    /* Without one, it is counted with its role. */
    assert_int_equal(enter(ids, "r", "c", 0, 0, &c), OUTCOME_OK);
    assert_null(c.identity);
    check_line(ids, "certferry_role_connections{role=\"r\"} 3");
    check_line(ids, "certferry_identities_uncounted_total 2");
    identities_set_limit(ids, 1); /* nobody is sent away */
    check_line(ids, "certferry_identities 2");
    identities_leave(ids, &a);
    check_line(ids, "certferry_identities 1");
    identities_leave(ids, &b);
    identities_leave(ids, &c);
    check_line(ids, "certferry_identities 1");
    identities_destroy(ids);
}

static void test_roles_are_bounded(void **state)
{
    struct identities *ids = identities_new(2);
    struct identities_place kept, place;
    char name[32];
    (void)state;
    assert_int_equal(enter(ids, "kept", NULL, 0, 0, &kept), OUTCOME_OK);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "role-%u", i);
        assert_int_equal(enter(ids, name, NULL, 0, 0, &place), OUTCOME_OK);
        identities_leave(ids, &place);
    }
    assert_int_equal(count_lines(ids, "\ncertferry_role_connections{"), 256);
    check_line(ids, "certferry_role_connections{role=\"kept\"} 1");
    identities_leave(ids, &kept);
    identities_destroy(ids);
}

static void test_labels(void **state)
{
    struct identities *ids = identities_new(10);
    struct identities_place place;
    char longest[256], line[1024];
    (void)state;
    assert_int_equal(enter(ids, "", "CN=a\\,\"b\"} 1,O=c", 0, 0, &place), OUTCOME_OK);
    identities_leave(ids, &place);
    check_line(ids, "certferry_identity_connections_total{identity=\"CN=a\\\\,\\\"b\\\"} "
                    "1,O=c\",role=\"\"} 1");
    memset(longest, '"', sizeof longest - 1);
    longest[255] = '\0';
    assert_int_equal(enter(ids, "abcdefghijklmnopqrstuvwxyz-01234", longest, 0, 0, &place),
                     OUTCOME_OK);
    identities_leave(ids, &place);
    size_t n = (size_t)snprintf(line, sizeof line, "certferry_identity_connections{identity=\"");
    for (unsigned i = 0; i < 255; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, "\\\"");
    (void)snprintf(line + n, sizeof line - n, "\",role=\"abcdefghijklmnopqrstuvwxyz-01234\"} 0");
    check_line(ids, line);
    identities_destroy(ids);
}

/* The most that may be set, each name as long as it may be: the page stays one that can be served.
 */
static void test_page_is_bounded(void **state)
{
    enum { MANY = 20000 };
    struct identities *ids = identities_new(MANY);
    struct identities_place place;
    char name[256];
    (void)state;
    memset(name, '\\', sizeof name - 1);
    name[255] = '\0';
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, 8, "%07u", i);
        name[7] = '\\';
        assert_int_equal(enter(ids, "r", name, 0, 0, &place), OUTCOME_OK);
        identities_leave(ids, &place);
    }
    char *text = print(ids);
    assert_true(strlen(text) < 9 * 1024 * 1024);
    free(text);
    check_line(ids, "certferry_identities 20000");
    size_t present = count_lines(ids, "\ncertferry_identity_connections{");
    assert_true(present > 1000 && present < MANY);
    assert_int_equal(count_lines(ids, "\ncertferry_identity_would_deny_total{"), present);
    identities_destroy(ids);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 2000, LIMIT = 3 };

static struct identities *shared;

static void *crowd(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct identities_place place[4];
        char name[32];
        (void)snprintf(name, sizeof name, "name-%u", (i * 7 + seed) % 20);
        for (unsigned k = 0; k < 4; k++) {
            (void)enter(shared, k % 2 == 0 ? "r" : "s", name, 0, LIMIT, &place[k]);
            identities_count(&place[k], i % 3 == 0, i % 5 == 0);
        }
        if (i % 100 == 0) {
            char *text = print(shared);
            assert_non_null(strstr(text, "certferry_identities "));
            free(text);
            identities_set_limit(shared, 4 + i % 16);
        }
        for (unsigned k = 0; k < 4; k++)
            identities_leave(shared, &place[k]);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t thread[THREADS];
    unsigned seed[THREADS];
    (void)state;
    shared = identities_new(8);
    for (unsigned i = 0; i < THREADS; i++) {
        seed[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, crowd, &seed[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    check_line(shared, "certferry_role_connections{role=\"r\"} 0");
    check_line(shared, "certferry_role_connections{role=\"s\"} 0");
    identities_destroy(shared); /* asserts that all have left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),         cmocka_unit_test(test_role_limit),
        cmocka_unit_test(test_identity_limit), cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_no_room),        cmocka_unit_test(test_roles_are_bounded),
        cmocka_unit_test(test_labels),         cmocka_unit_test(test_page_is_bounded),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("identities", tests, NULL, NULL);
}
