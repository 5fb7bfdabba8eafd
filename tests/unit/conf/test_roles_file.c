/*
 * test_roles_file.c - roles.properties: keys of roles, identities between quotes, and every mistake
 * with its line.
 */
#include "conf/roles_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/settings.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void on_error(void *arg, const char *file, unsigned line, const char *message)
{
    (void)arg;
    fail_msg("%s:%u: %s", file, line, message);
}

static struct roles_file load(const char *text, struct settings_errors *e)
{
    struct roles_file f = {0};
    struct properties p;
    assert_int_equal(properties_parse(&p, "r", text, strlen(text), on_error, NULL), 0);
    for (size_t i = 0; i < p.count; i++)
        assert_int_equal(roles_file_apply(&f, "r", &p.item[i], e), 0);
    properties_free(&p);
    return f;
}

static void test_values(void **state)
{
    struct settings_errors e = {0};
    char where[64];
    struct roles_file f = load("sensors.identities = sensor-1 , *.plant.example\n"
                               "edge-7.mode=report\n"
                               "sensors.allowed.domains=a.example,b.example\n"
                               "sensors.allowed.connect.ports=443,8000-8010\n"
                               "sensors.limit.connections=200\n"
                               "sensors.limit.connections.per.identity=4\n"
                               "edge-7.allowed.hosts=\n",
                               &e);
    (void)state;
    assert_int_equal(e.count, 0);
    assert_int_equal(f.count, 2);
    const struct role_settings *r = &f.role[0];
    assert_string_equal(r->name, "sensors");
    assert_int_equal(r->identities.count, 2);
    assert_string_equal(r->identities.item[0], "sensor-1");
    assert_string_equal(r->identities.item[1], "*.plant.example");
    assert_int_equal(r->allowed_domains.count, 2);
    assert_int_equal(r->allowed_connect_ports.item[1].last, 8010);
    assert_int_equal(r->limit_connections, 200);
    assert_int_equal(r->limit_connections_per_identity, 4);
    assert_int_equal(r->mode, ROLES_FILE_ENFORCE);
    /* Given and empty is another thing than not given. */
    assert_int_equal(r->line[ROLES_FILE_allowed_hosts], 0);
    assert_int_equal(f.role[1].line[ROLES_FILE_allowed_hosts], 7);
    assert_int_equal(f.role[1].allowed_hosts.count, 0);
    assert_int_equal(f.role[1].mode, ROLES_FILE_REPORT);
    assert_string_equal(roles_file_where("r", r, ROLES_FILE_identities, where, sizeof where),
                        "r:1: sensors.identities");
    roles_file_free(&f);
    assert_int_equal(f.count, 0);
}

/* `text` is as it stands in the file, so a backslash of a name is doubled there. */
static void test_identities(void **state)
{
    static const struct {
        const char *text, *first, *second;
    } cases[] = {
        {"a", "a", NULL},
        {"a,b", "a", "b"},
        {"  a b  ,\tc ", "a b", "c"},
        {"\"CN=a,O=b\"", "CN=a,O=b", NULL},
        {" \"CN=a,O=b\" , \"c\" ", "CN=a,O=b", "c"},
        {"\"a\"\"b\",c", "a\"b", "c"},
        {"\" a \"", " a ", NULL},
        {"\"CN=a\\\\,O\\\\=b\"", "CN=a\\,O\\=b", NULL},
        {"\"\"\"\"", "\"", NULL},
        {"", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char line[128];
        struct settings_errors e = {0};
        (void)snprintf(line, sizeof line, "r.identities=%s\n", cases[i].text);
        struct roles_file f = load(line, &e);
        assert_int_equal(e.count, 0);
        const struct text_list *list = &f.role[0].identities;
        assert_int_equal(list->count, (cases[i].first != NULL) + (cases[i].second != NULL));
        if (cases[i].first != NULL)
            assert_string_equal(list->item[0], cases[i].first);
        if (cases[i].second != NULL)
            assert_string_equal(list->item[1], cases[i].second);
        roles_file_free(&f);
    }
}

#define KEYS "certferry.properties(5) lists the keys of a role"
#define NAMES "no name of a role before the first dot, allowed: 1 to 32 of a-z, 0-9 and hyphen"
#define QUOTED "has a quoted entry without an end, allowed: \"...\", a double quote in it doubled"
#define EMPTY "has an empty entry, allowed: list, comma-separated; may be empty"

static void test_mistakes(void **state)
{
    static const struct {
        const char *line, *told; /* NULL: none */
    } cases[] = {
        {"sensors.identitys=a", "r:1: sensors.identitys: unknown key, did you mean "
                                "sensors.identities?"},
        {"a.identity=x", "r:1: a.identity: unknown key, did you mean a.identities?"},
        {"a.allowed.domain=x", "r:1: a.allowed.domain: unknown key, did you mean "
                               "a.allowed.domains?"},
        {"a.clients.allow=x", "r:1: a.clients.allow: unknown key, " KEYS},
        {"a.=x", "r:1: a.: unknown key, " KEYS},
        {"sensors=x", "r:1: sensors: is no ROLE.KEY, such as sensors.identities; " KEYS},
        {"=x", "r:1: : is no ROLE.KEY, such as sensors.identities; " KEYS},
        {"Sensors.mode=report", "r:1: Sensors.mode: " NAMES},
        {"s\\u00e9.mode=report", "r:1: s\xc3\xa9.mode: " NAMES},
        {".mode=report", "r:1: .mode: " NAMES},
        {"a_b.mode=report", "r:1: a_b.mode: " NAMES},
        {"a\\n\\u001b.mode=report", "r:1: a\\x0a\\x1b.mode: " NAMES},
        {"abcdefghijklmnopqrstuvwxyz-01234.mode=report", NULL},
        {"abcdefghijklmnopqrstuvwxyz-012345.mode=report",
         "r:1: abcdefghijklmnopqrstuvwxyz-012345.mode: " NAMES},
        {"a.mode=observe", "r:1: a.mode: \"observe\" is none of the words, allowed: enforce or "
                           "report"},
        {"a.mode=Report", "r:1: a.mode: \"Report\" is none of the words, allowed: enforce or "
                          "report"},
        {"a.limit.connections=many", "r:1: a.limit.connections: \"many\" is not a plain decimal "
                                     "number, allowed: number, 0 to 10000000"},
        {"a.allowed.http.ports=0", "r:1: a.allowed.http.ports: \"0\" is no port, allowed: ports 1 "
                                   "to 65535 and ranges such as 8080-8090, comma-separated, at "
                                   "most 1024; may be empty"},
        {"a.mode=report\na.mode=enforce", "r:2: a.mode: given twice, first in r:1"},
        {"a.identities=x,", "r:1: a.identities: " EMPTY},
        {"a.identities=,x", "r:1: a.identities: " EMPTY},
        {"a.identities=x,,y", "r:1: a.identities: " EMPTY},
        {"a.identities=\"\"", "r:1: a.identities: " EMPTY},
        {"a.identities=\"CN=a,O=b", "r:1: a.identities: " QUOTED},
        {"a.identities=\"a\"\"", "r:1: a.identities: " QUOTED},
        {"a.identities=\"a\"b", "r:1: a.identities: has something behind a quoted entry, allowed: "
                                "a comma"},
        {"a.identities=a\"b", "r:1: a.identities: has a double quote inside an entry, allowed: "
                              "the whole entry in double quotes"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct settings_errors e = {0};
        struct roles_file f = load(cases[i].line, &e);
        assert_int_equal(e.count, cases[i].told != NULL);
        if (cases[i].told != NULL)
            assert_string_equal(e.line[0], cases[i].told);
        settings_errors_free(&e);
        roles_file_free(&f);
    }
}

static void test_too_many_roles(void **state)
{
    char text[4096] = "";
    struct settings_errors e = {0};
    size_t len = 0;
    (void)state;
    for (unsigned i = 0; i <= ROLES_FILE_ROLES_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "r%u.mode=report\n", i);
    struct roles_file f = load(text, &e);
    assert_int_equal(f.count, ROLES_FILE_ROLES_MAX);
    assert_int_equal(e.count, 1);
    assert_string_equal(e.line[0], "r:65: r64.mode: one role too many, allowed: at most 64");
    settings_errors_free(&e);
    roles_file_free(&f);
}

/* ---- among the other files ---- */

static char directory[64];

static void put(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct settings *load_directory(struct settings_errors *e)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct settings *s = settings_load(fd, "conf", e);
    assert_non_null(s);
    (void)close(fd);
    return s;
}

static int scratch_make(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/certferry-roles-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int scratch_remove(void **state)
{
    static const char *const names[] = {"roles.properties", "webserver.properties"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    return rmdir(directory);
}

/* Neither kind of key stands among the other, and the message says where it belongs. */
static void test_keys_in_the_wrong_file(void **state)
{
    struct settings_errors e = {0};
    (void)state;
    put("webserver.properties", "threads=1\nsensors.mode=report\n");
    put("roles.properties", "allowed.hosts=x\ntls.role=sensors\nsensors.identities=a\n");
    struct settings *s = load_directory(&e);
    static const char *const want[] = {
        "conf/webserver.properties:2: sensors.mode: is the key of a role, which belongs into "
        "roles.properties",
        "conf/roles.properties:1: allowed.hosts: is no key of a role and belongs into "
        "useproxy.properties",
        "conf/roles.properties:2: tls.role: is no key of a role and belongs into "
        "webserver.properties",
    };
    assert_int_equal(e.count, COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++)
        assert_string_equal(e.line[i], want[i]);
    assert_int_equal(s->roles.count, 1);
    assert_string_equal(settings_where_role(s, &s->roles.role[0], ROLES_FILE_identities),
                        "conf/roles.properties:3: sensors.identities");
    settings_errors_free(&e);
    settings_free(s);
}

/* ---- the shipped file ---- */

static char *read_whole(const char *path)
{
    static char text[262144];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text - 1, f);
    assert_true(len > 0 && len < sizeof text - 1);
    text[len] = '\0';
    (void)fclose(f);
    return text;
}

/* Every key is explained, and the example is one once its marks are off. */
static void test_shipped_file(void **state)
{
    struct settings_errors e = {0};
    char *text = read_whole(SOURCE_DIR "/conf/roles.properties");
    (void)state;
#define FIND_KEY(field, key, type, value, min, max, comment)                                       \
    if (strstr(text, "#   ROLE." key "=" value) == NULL && strcmp(key, "mode") != 0)               \
        fail_msg("roles.properties does not explain %s", key);
    ROLES_FILE_TABLE(FIND_KEY)
#undef FIND_KEY
    struct roles_file f = load(text, &e);
    assert_int_equal(f.count, 0);
    for (char *at = text; *at != '\0'; at++) {
        if (at[0] == '\n' && at[1] == '#' && at[2] >= 'a' && at[2] <= 'z')
            at[1] = ' ';
    }
    f = load(text, &e);
    if (e.count > 0)
        fail_msg("%s", e.line[0]);
    assert_int_equal(f.count, 2);
    assert_string_equal(f.role[1].identities.item[0], "CN=Jo Field,OU=Engineering,O=Plant");
    roles_file_free(&f);
}

static void test_manual_names_every_key(void **state)
{
    const char *page = read_whole(SOURCE_DIR "/docs/certferry.properties.5");
    (void)state;
#define FIND_KEY(field, key, type, value, min, max, comment)                                       \
    if (strstr(page, "\n.It Ar ROLE Ns Ic ." key " Ns = Ns ") == NULL)                             \
        fail_msg("certferry.properties.5 lacks %s", key);
    ROLES_FILE_TABLE(FIND_KEY)
#undef FIND_KEY
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_too_many_roles),
        cmocka_unit_test_setup_teardown(test_keys_in_the_wrong_file, scratch_make, scratch_remove),
        cmocka_unit_test(test_shipped_file),
        cmocka_unit_test(test_manual_names_every_key),
    };
    return cmocka_run_group_tests_name("roles_file", tests, NULL, NULL);
}
