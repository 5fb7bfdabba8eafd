#include "conf/settings.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/properties.h"

/* A directory of configuration that lives for one test. */
struct scratch {
    char dir[64];
};

static void scratch_make(struct scratch *s)
{
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/certferry-settings-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
}

static void scratch_put(const struct scratch *s, const char *name, const char *text, size_t len)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", s->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void scratch_remove(const struct scratch *s)
{
    DIR *d = opendir(s->dir);
    assert_non_null(d);
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_int_equal(unlinkat(dirfd(d), entry->d_name, 0), 0);
    }
    (void)closedir(d);
    assert_int_equal(rmdir(s->dir), 0);
}

/* Loads `text` as webserver.properties. */
static struct settings *load_directory(const char *dir, struct settings_errors *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct settings *settings = settings_load(fd >= 0 ? fd : -errno, dir, e);
    if (fd >= 0)
        (void)close(fd);
    return settings;
}

static struct settings *load_text(const char *text, struct settings_errors *e)
{
    struct scratch s;
    scratch_make(&s);
    scratch_put(&s, "webserver.properties", text, strlen(text));
    struct settings *settings = load_directory(s.dir, e);
    assert_non_null(settings);
    scratch_remove(&s);
    return settings;
}

static void defaults(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    struct settings *s = load_text("", &e);
    assert_int_equal(e.count, 0);
    assert_int_equal(s->heartbeatport, 48999);
    assert_int_equal(s->listen_addresses.count, 2);
    assert_string_equal(s->listen_addresses.item[1], "[::]");
    assert_int_equal(s->clients_allow.count, 8);
    assert_int_equal(s->clients_allow.item[5].bits, 7);
    assert_int_equal(s->threads, 0);
    assert_int_equal(s->timeout_tunnel_idle, 600000);
    assert_int_equal(s->limit_head, 65536);
    assert_string_equal(s->limit_connections_per_client, "");
    assert_true(s->log_access);
    assert_false(s->forwarded_for);
    assert_int_equal(s->allowed_hosts.count, 0);
    assert_null(s->allowed_hosts.item);
    assert_int_equal(s->allowed_connect_ports.count, 1);
    assert_int_equal(s->allowed_connect_ports.item[0].last, 443);
    assert_int_equal(s->tunnel_sni, TUNNEL_SNI_MATCH);
    settings_free(s);
}

static void values_of_every_type(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    struct settings *s = load_text("log.access = OFF\n"
                                   "forwarded.for: Yes\n"
                                   "heartbeatport 0\n"
                                   "threads=auto\n"
                                   "limit.connections=18\n"
                                   "limit.head = 1M\n"
                                   "limit.request.line = 16384\n"
                                   "timeout.head=250ms\n"
                                   "timeout.keepalive = 1h \t\n"
                                   "drain.grace=1d\n"
                                   "zone=\\u0020plant 7 \n"
                                   "allowed.domains = digicert.com , \\\n"
                                   "    globalsign.com\n"
                                   "allowed.hosts=\n"
                                   "clients.allow=192.0.2.1, 2001:db8::/32\n"
                                   "allowed.connect.ports=443, 8080-8090\n"
                                   "allowed.http.ports=\n"
                                   "tunnel.sni=off\n",
                                   &e);
    assert_int_equal(e.count, 0);
    assert_false(s->log_access);
    assert_true(s->forwarded_for);
    assert_int_equal(s->heartbeatport, 0);
    assert_int_equal(s->limit_connections, 18);
    assert_int_equal(s->limit_head, 1048576);
    assert_int_equal(s->limit_request_line, 16384);
    assert_int_equal(s->timeout_head, 250);
    assert_int_equal(s->timeout_keepalive, 3600000);
    assert_int_equal(s->drain_grace, 86400000);
    assert_string_equal(s->zone, "plant 7");
    assert_int_equal(s->allowed_domains.count, 2);
    assert_string_equal(s->allowed_domains.item[0], "digicert.com");
    assert_string_equal(s->allowed_domains.item[1], "globalsign.com");
    assert_int_equal(s->clients_allow.item[0].bits, 32);
    assert_int_equal(s->clients_allow.item[1].addr.sa.sa_family, AF_INET6);
    assert_int_equal(s->allowed_connect_ports.item[1].first, 8080);
    assert_int_equal(s->allowed_connect_ports.item[1].last, 8090);
    assert_int_equal(s->allowed_http_ports.count, 0);
    assert_int_equal(s->tunnel_sni, TUNNEL_SNI_OFF);
    settings_free(s);
}

/* The one message that `key`=`value` in line 1 causes, without its place; NULL: none. */
struct refusal {
    const char *line;
    const char *told;
};

#define TIME_HEAD "allowed: time, 100ms to 10m"
#define SIZE_HEAD "allowed: size, 1KiB to 1MiB"
#define THREADS "allowed: number, 0 to 256, or auto"
#define PORTS                                                                                      \
    "allowed: ports 1 to 65535 and ranges such as 8080-8090, comma-separated, at most 1024; may "  \
    "be empty"
#define NETWORKS                                                                                   \
    "allowed: addresses and prefixes such as 192.0.2.0/24, comma-separated, at most 4096; may be " \
    "empty"
#define UNITS "needs one of the units ms, s, m, h, d"
#define OCTETS "needs octets or one of the units KiB, MiB, GiB"

static const struct refusal refusals[] = {
    {"threads=256", NULL},
    {"threads=257", "\"257\" is out of range, " THREADS},
    {"threads=-1", "\"-1\" is not a plain decimal number, " THREADS},
    {"threads=+1", "\"+1\" is not a plain decimal number, " THREADS},
    {"threads=010", "\"010\" is not a plain decimal number, " THREADS},
    {"threads=0x10", "\"0x10\" is not a plain decimal number, " THREADS},
    {"threads=4 4", "\"4 4\" is not a plain decimal number, " THREADS},
    {"threads=", "\"\" is empty, " THREADS},
    {"threads=18446744073709551616", "\"18446744073709551616\" is out of range, " THREADS},
    {"limit.fields=auto", "\"auto\" is not a plain decimal number, allowed: number, 8 to 256"},
    {"timeout.head=10", "\"10\" " UNITS ", " TIME_HEAD},
    {"timeout.head=10 s", "\"10 s\" " UNITS ", " TIME_HEAD},
    {"timeout.head=1.5s", "\"1.5s\" " UNITS ", " TIME_HEAD},
    {"timeout.head=10S", "\"10S\" " UNITS ", " TIME_HEAD},
    {"timeout.head=0", "\"0\" " UNITS ", " TIME_HEAD},
    {"timeout.head=99ms", "\"99ms\" is out of range, " TIME_HEAD},
    {"timeout.head=11m", "\"11m\" is out of range, " TIME_HEAD},
    {"timeout.head=213503982335d", "\"213503982335d\" is out of range, " TIME_HEAD},
    {"timeout.head=s", "\"s\" is not a plain decimal number, " TIME_HEAD},
    {"drain.grace=0s", NULL},
    {"limit.head=64KB", "\"64KB\" " OCTETS ", " SIZE_HEAD},
    {"limit.head=64kib", "\"64kib\" " OCTETS ", " SIZE_HEAD},
    {"limit.head=17592186044416M", "\"17592186044416M\" is out of range, " SIZE_HEAD},
    {"limit.head=2MiB", "\"2MiB\" is out of range, " SIZE_HEAD},
    {"log.access=1", "\"1\" is neither on nor off, allowed: on or off (also true, false, yes, no)"},
    {"log.access=", "\"\" is neither on nor off, allowed: on or off (also true, false, yes, no)"},
    {"tunnel.sni=loose", "\"loose\" is none of the words, allowed: match, strict or off"},
    {"tunnel.sni=match|strict",
     "\"match|strict\" is none of the words, allowed: match, strict or off"},
    {"tunnel.sni=", "\"\" is none of the words, allowed: match, strict or off"},
    {"listen.addresses=", "has 0 entries, allowed: list, comma-separated, 1 to 64"},
    {"source.address=192.0.2.1,192.0.2.2,192.0.2.3",
     "has 3 entries, allowed: list, comma-separated, at most 2; may be empty"},
    {"source.address=192.0.2.1,",
     "\"192.0.2.1,\" has an empty entry, allowed: list, comma-separated, at most 2; may be empty"},
    {"allowed.hosts=a\\nb", "\"a\\x0ab\" holds a control character, allowed: list, "
                            "comma-separated, at most 100000; may be empty"},
    {"allowed.networks=10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind its prefix, " NETWORKS},
    {"allowed.networks=10.0.0.0/33", "\"10.0.0.0/33\" is no address or prefix, " NETWORKS},
    {"allowed.networks=localhost", "\"localhost\" is no address or prefix, " NETWORKS},
    {"allowed.networks=127.1", "\"127.1\" is no address or prefix, " NETWORKS},
    {"allowed.connect.ports=0", "\"0\" is no port, " PORTS},
    {"allowed.connect.ports=65536", "\"65536\" is no port, " PORTS},
    {"allowed.connect.ports=*", "\"*\" is no port, " PORTS},
    {"allowed.connect.ports=-80", "\"-80\" is no port, " PORTS},
    {"allowed.connect.ports=80-", "\"80-\" is no port range, " PORTS},
    {"allowed.connect.ports=80-90-99", "\"80-90-99\" is no port range, " PORTS},
    {"allowed.connect.ports=80 - 90", "\"80 - 90\" is no port range, " PORTS},
    {"allowed.connect.ports=90-80", "\"90-80\" is a range that ends before it begins, " PORTS},
    {"limit.connections.per.client=0", NULL},
    {"limit.connections.per.client=many",
     "\"many\" is not a plain decimal number, allowed: number, 0 to 10000000"},
    {"limit.request.line=128KiB",
     "128KiB is more than limit.head allows for the whole head, allowed: at most 64KiB"},
    {"via.name=a\\u001b[2J",
     "\"a\\x1b[2J\" holds a control character, allowed: text; may be empty"},
};

static void values_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct settings_errors e = {0};
        settings_free(load_text(refusals[i].line, &e));
        if (refusals[i].told == NULL) {
            assert_int_equal(e.count, 0);
        } else {
            assert_int_equal(e.count, 1);
            const char *told = strstr(e.line[0], "webserver.properties:1: ");
            assert_non_null(told);
            told = strstr(told + 24, ": ");
            assert_non_null(told);
            assert_string_equal(told + 2, refusals[i].told);
        }
        settings_errors_free(&e);
    }
}

/*
 * Reads the "# expect: 3: key: message" lines at the head of a file into whole lines as they must
 * be told; "DIR" stands for the directory, and no line number for a mistake that has none.
 */
static size_t expectations(const char *text, const char *dir, char out[][512], size_t most)
{
    static const char mark[] = "# expect: ";
    size_t count = 0;
    while (strncmp(text, mark, sizeof mark - 1) == 0 && count < most) {
        text += sizeof mark - 1;
        size_t len = strcspn(text, "\n");
        const char *inner = memmem(text, len, "DIR", 3);
        size_t before = inner != NULL ? (size_t)(inner - text) : len;
        size_t after = inner != NULL ? len - before - 3 : 0;
        (void)snprintf(out[count++], 512, "%s/webserver.properties:%.*s%s%.*s", dir, (int)before,
                       text, inner != NULL ? dir : "", (int)after, text + len - after);
        text += len + (text[len] == '\n');
    }
    return count;
}

static void example_check(const char *name)
{
    char path[512];
    char text[8192] = "";
    char want[32][512];
    (void)snprintf(path, sizeof path, TESTS_DIR "/conf/%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);

    struct scratch s;
    struct settings_errors e = {0};
    scratch_make(&s);
    scratch_put(&s, "webserver.properties", text, len);
    size_t count = expectations(text, s.dir, want, 32);
    /* The name says what the file is, the first lines which messages it must cause. */
    if (strncmp(name, "bad.", 4) == 0)
        assert_true(count > 0);
    else
        assert_int_equal(count, 0);
    settings_free(load_directory(s.dir, &e));
    for (size_t i = 0; i < e.count && i < count; i++)
        assert_string_equal(e.line[i], want[i]);
    if (e.count > count)
        fail_msg("%s: not expected: %s", name, e.line[count]);
    assert_int_equal(e.count, count);
    settings_errors_free(&e);
    scratch_remove(&s);
}

static void examples(void **state)
{
    (void)state;
    size_t good = 0;
    size_t bad = 0;
    DIR *d = opendir(TESTS_DIR "/conf");
    assert_non_null(d);
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        if (strstr(entry->d_name, ".properties") == NULL)
            continue;
        example_check(entry->d_name);
        good += strncmp(entry->d_name, "good.", 5) == 0;
        bad += strncmp(entry->d_name, "bad.", 4) == 0;
    }
    (void)closedir(d);
    assert_true(good >= 3);
    assert_true(bad >= 10);
}

/* Every line of the reference, in its order, stands in the shipped file, which may have more
 * comments but not more keys. */
static void shipped_file_check(enum settings_file file, size_t *keys)
{
    char path[512];
    char *reference = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&reference, &len);
    assert_non_null(out);
    settings_print_defaults(out, file);
    assert_int_equal(fclose(out), 0);

    (void)snprintf(path, sizeof path, SOURCE_DIR "/conf/%s", settings_file_name(file));
    FILE *shipped = fopen(path, "r");
    assert_non_null(shipped);
    char line[512];
    char *want = reference;
    while (fgets(line, sizeof line, shipped) != NULL) {
        want += strspn(want, "\n");
        size_t n = strcspn(want, "\n");
        if (n > 0 && strlen(line) == n + 1 && strncmp(want, line, n) == 0) {
            *keys += *want != '#';
            want += n;
        } else if (*line != '#' && *line != '\n') {
            fail_msg("%s: out of place: %s", path, line);
        }
    }
    (void)fclose(shipped);
    want += strspn(want, "\n");
    if (*want != '\0')
        fail_msg("%s lacks: %.*s", path, (int)strcspn(want, "\n"), want);
    free(reference);
}

static void shipped_files_are_the_table(void **state)
{
    (void)state;
    size_t keys = 0;
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++)
        shipped_file_check((enum settings_file)f, &keys);
    size_t rows = 0;
#define COUNT_ROW(field, key, file, type, text, min, max, reload, comment) rows++;
    SETTINGS_TABLE(COUNT_ROW)
#undef COUNT_ROW
    assert_int_equal(keys, rows);

    struct settings_errors e = {0};
    struct settings *s = load_directory(SOURCE_DIR "/conf", &e);
    assert_non_null(s);
    assert_int_equal(e.count, 0);
    settings_free(s);
}

/* What the reference says of a key: its default, and at the end of its comment what is allowed. */
struct reference {
    char key[64];
    char text[256];
    char allowed[320];
};

/* Reads the lines up to key=default; whether there were any. */
static bool reference_next(const char **at, struct reference *r)
{
    r->allowed[0] = '\0';
    for (const char *line = *at; *line != '\0'; line += strcspn(line, "\n") + 1) {
        int len = (int)strcspn(line, "\n");
        size_t had = strlen(r->allowed);
        if (*line == '#' && (had > 0 || line[2] == '(')) {
            (void)snprintf(r->allowed + had, sizeof r->allowed - had, "%s%.*s", had > 0 ? " " : "",
                           len - 2, line + 2);
        } else if (*line != '#' && len > 0) {
            int name = (int)strcspn(line, "=");
            (void)snprintf(r->key, sizeof r->key, "%.*s", name, line);
            (void)snprintf(r->text, sizeof r->text, "%.*s", len - name - 1, line + name + 1);
            *at = line + len;
            return true;
        }
    }
    return false;
}

/* Takes `word` out, once, if it is there. */
static void text_drop(char *text, const char *word)
{
    char *found = strstr(text, word);
    if (found != NULL)
        (void)memmove(found, found + strlen(word), strlen(found + strlen(word)) + 1);
}

/* The manual's entry of a key, without the backslashes in front of hyphens. */
static void manual_entry(const char *page, const char *key, char *out, size_t size)
{
    char item[96];
    (void)snprintf(item, sizeof item, "\n.It Ic %s Ns = Ns ", key);
    const char *start = strstr(page, item);
    if (start == NULL)
        fail_msg("certferry.properties.5 lacks %s", key);
    start += strlen(item);
    const char *next = strstr(start, "\n.It ");
    const char *list = strstr(start, "\n.El");
    const char *end = next != NULL && next < list ? next : list;
    size_t len = 0;
    for (const char *c = start; c < end && len + 1 < size; c++) {
        if (*c != '\\' || c[1] != '-')
            out[len++] = *c;
    }
    out[len] = '\0';
}

/* The entry begins with the default, or names all of a long one, and its last line is what is
 * allowed. */
static void manual_entry_check(const char *page, struct reference *r)
{
    char entry[4096];
    manual_entry(page, r->key, entry, sizeof entry);
    char head[300] = "Aq empty\n";
    if (r->text[0] != '\0')
        (void)snprintf(head, sizeof head, "Cm %s\n", r->text);
    bool told = strncmp(entry, head, strlen(head)) == 0;
    if (strlen(r->text) > 40) {
        char *rest = NULL;
        told = true;
        for (char *word = strtok_r(r->text, ",", &rest); word != NULL && told;
             word = strtok_r(NULL, ",", &rest))
            told = strstr(entry, word) != NULL;
    }
    if (!told)
        fail_msg("certferry.properties.5: %s has another default", r->key);

    /* A boolean's other words stand under TYPES, and not every text may be empty. */
    const char *last = strrchr(entry, '\n') + 1;
    text_drop(r->allowed, " (also true, false, yes, no)");
    if (strncmp(last, "Text;", 5) == 0 && strstr(last, "may be empty") == NULL)
        text_drop(r->allowed, " may be empty;");
    char *want = r->allowed + 1;
    want[strlen(want) - 1] = '.';
    if (strcasecmp(last, want) != 0)
        fail_msg("certferry.properties.5: %s: \"%s\", not \"%s\"", r->key, last, want);
}

static void the_manual_is_the_table(void **state)
{
    (void)state;
    static char page[262144];
    FILE *f = fopen(SOURCE_DIR "/docs/certferry.properties.5", "r");
    assert_non_null(f);
    size_t len = fread(page, 1, sizeof page - 1, f);
    assert_true(len > 0 && len < sizeof page - 1);
    (void)fclose(f);

    size_t keys = 0;
    for (int file = 0; file < SETTINGS_FILE_COUNT; file++) {
        char *text = NULL;
        FILE *out = open_memstream(&text, &len);
        assert_non_null(out);
        settings_print_defaults(out, (enum settings_file)file);
        assert_int_equal(fclose(out), 0);
        struct reference r;
        for (const char *at = text; reference_next(&at, &r); keys++)
            manual_entry_check(page, &r);
        free(text);
    }
    size_t rows = 0;
#define COUNT_ROW(field, key, file, type, text, min, max, reload, comment) rows++;
    SETTINGS_TABLE(COUNT_ROW)
#undef COUNT_ROW
    assert_int_equal(keys, rows);
}

static void unknown_keys(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"allowed.domain=a", "allowed.domain: unknown key, did you mean allowed.domains?"},
        {"heartbeatPort=1", "heartbeatPort: unknown key, did you mean heartbeatport?"},
        {"http_access=1", "http_access: unknown key, certferry.properties(5) lists all keys"},
        {"=1", ": no key before the value, certferry.properties(5) lists all keys"},
        {"a\\nb: c=1", "a\\x0ab: unknown key, certferry.properties(5) lists all keys"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings_errors e = {0};
        settings_free(load_text(cases[i].line, &e));
        assert_int_equal(e.count, 1);
        const char *told = strstr(e.line[0], "properties:1: ");
        assert_non_null(told);
        assert_string_equal(told + 14, cases[i].told);
        settings_errors_free(&e);
    }
}

/* All mistakes of all files in one run, also those behind a broken line. */
static void all_mistakes_of_all_files(void **state)
{
    (void)state;
    struct scratch s;
    scratch_make(&s);
    static const char web[] = "threads=x\nzone=a\nzone=b\n";
    static const char use[] = "\nzone=c\nallowed.networks=1,::1,2\n";
    scratch_put(&s, "webserver.properties", web, sizeof web - 1);
    scratch_put(&s, "useproxy.properties", use, sizeof use - 1);
    static const char *const want[] = {
        "/webserver.properties:1: threads: \"x\" is not a plain decimal number, " THREADS,
        "/webserver.properties:3: zone: given twice, first in %s/webserver.properties:2, "
        "allowed: once in all files",
        "/useproxy.properties:2: zone: given twice, first in %s/webserver.properties:2, "
        "allowed: once in all files",
        "/useproxy.properties:3: allowed.networks: \"1\" is no address or prefix, " NETWORKS,
        "/useproxy.properties:3: allowed.networks: \"2\" is no address or prefix, " NETWORKS,
    };
    struct settings_errors e = {0};
    struct settings *settings = load_directory(s.dir, &e);
    assert_non_null(settings);
    assert_int_equal(e.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < e.count; i++) {
        char line[1024];
        const char *dir = strstr(want[i], "%s");
        size_t before = dir != NULL ? (size_t)(dir - want[i]) : strlen(want[i]);
        (void)snprintf(line, sizeof line, "%s%.*s%s%s", s.dir, (int)before, want[i],
                       dir != NULL ? s.dir : "", dir != NULL ? dir + 2 : "");
        assert_string_equal(e.line[i], line);
    }
    assert_string_equal(settings->zone, "a"); /* the first stands */
    assert_int_equal(settings->threads, 0);   /* a bad key is at its default */
    assert_int_equal(settings->allowed_networks.count, 0);
    settings_errors_free(&e);
    settings_free(settings);
    scratch_remove(&s);
}

static void only_message(const char *dir, const char *told)
{
    struct settings_errors e = {0};
    settings_free(load_directory(dir, &e));
    assert_int_equal(e.count, 1);
    assert_memory_equal(e.line[0], dir, strlen(dir));
    assert_string_equal(e.line[0] + strlen(dir), told);
    settings_errors_free(&e);
}

static void directories(void **state)
{
    (void)state;
    struct scratch s;
    scratch_make(&s);
    only_message("/nonexistent/certferry", ": cannot be read: No such file or directory; name the "
                                           "directory of webserver.properties");
    only_message("/dev/null",
                 ": cannot be read: Not a directory; name the directory of webserver.properties");
    only_message(s.dir, ": holds none of webserver.properties, useproxy.properties, "
                        "failover.properties, gateway.properties, roles.properties; name the "
                        "directory that does");
    scratch_put(&s, "gateway.properties", "", 0);
    scratch_put(&s, ".#useproxy.properties", "x", 1); /* an editor's */
    scratch_put(&s, "useproxy.properties.new", "x", 1);
    scratch_put(&s, "README", "x", 1);
    struct settings_errors e = {0};
    settings_free(load_directory(s.dir, &e));
    assert_int_equal(e.count, 0);

    /* Its rules would silently not apply. */
    scratch_put(&s, "userproxy.properties", "", 0);
    only_message(
        s.dir, ": userproxy.properties is no file of certferry, did you mean useproxy.properties?");
    scratch_remove(&s);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct scratch s;
    char path[128];
    scratch_make(&s);
    (void)snprintf(path, sizeof path, "%s/useproxy.properties", s.dir);
    /* Taken for a missing file it would open the defaults. */
    assert_int_equal(symlink("nowhere", path), 0);
    only_message(s.dir, "/useproxy.properties: is a symbolic link that leads nowhere");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    only_message(s.dir, "/useproxy.properties: is not a regular file");
    assert_int_equal(unlink(path), 0);
    scratch_put(&s, "useproxy.properties", "", 0);
    if (geteuid() != 0) { /* root reads everything */
        assert_int_equal(chmod(path, 0), 0);
        only_message(s.dir, "/useproxy.properties: cannot be read: Permission denied");
    }
    char *text = malloc(PROPERTIES_FILE_MAX + 1);
    assert_non_null(text);
    memset(text, '\n', PROPERTIES_FILE_MAX + 1);
    assert_int_equal(unlink(path), 0);
    scratch_put(&s, "useproxy.properties", text, PROPERTIES_FILE_MAX + 1);
    only_message(s.dir, "/useproxy.properties: larger than the 4 MiB that are allowed");
    free(text);
    scratch_remove(&s);
}

static void places(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    struct settings *s = load_text("\n\nzone = \\\n a\n", &e);
    assert_int_equal(e.count, 0);
    const char *where = settings_where(s, "zone");
    assert_non_null(strstr(where, "/webserver.properties:3: zone"));
    const char *other = settings_where(s, "allowed.hosts");
    assert_non_null(strstr(other, "/useproxy.properties: allowed.hosts (default)"));
    (void)settings_where(s, "peers");
    (void)settings_where(s, "threads");
    assert_non_null(strstr(where, "/webserver.properties:3: zone")); /* the fourth call ago */

    settings_error(&e, where, "unknown %s\n\x1b[31m", "zone");
    assert_int_equal(e.count, 1);
    assert_non_null(strstr(e.line[0], ":3: zone: unknown zone\\x0a\\x1b[31m"));
    settings_errors_free(&e);
    settings_free(s);
}

static void error_lines_are_bounded(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    for (int i = 0; i < 1000; i++)
        settings_error(&e, "f", "mistake %d", i);
    assert_int_equal(e.count, SETTINGS_ERRORS_MAX + 1);
    assert_string_equal(e.line[199], "f: mistake 199");
    assert_string_equal(e.line[200], "more mistakes than are shown: mend these first");
    settings_errors_free(&e);
    assert_int_equal(e.count, 0);
}

static void on_restart_key(void *arg, const char *key)
{
    char *keys = arg;
    size_t at = strlen(keys);
    (void)snprintf(keys + at, 256 - at, "%s ", key);
}

static void changes_that_need_a_restart(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    char keys[256] = "";
    struct settings *old = load_text("", &e);
    struct settings *same = load_text("listen.addresses=0.0.0.0, [::]\nthreads=0\n", &e);
    struct settings *new_ = load_text("listen.addresses=[::],0.0.0.0\nthreads=2\nzone=a\n"
                                      "limit.log.queue=1M\nallowed.hosts=a.example\n",
                                      &e);
    assert_int_equal(e.count, 0);
    settings_restart_needed(old, same, on_restart_key, keys);
    assert_string_equal(keys, "");
    settings_restart_needed(old, new_, on_restart_key, keys);
    assert_string_equal(keys, "listen.addresses threads limit.log.queue ");
    settings_free(old);
    settings_free(same);
    settings_free(new_);
}

/* What is running was made by them. */
static void restart_keys_are_kept(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    char keys[256] = "";
    struct settings *in_force =
        load_text("listen.addresses=127.0.0.1,[::1]\ntls.listen=on\nthreads=2\n"
                  "service.user=root\nseccomp=off\nallowed.hosts=a.example\n",
                  &e);
    struct settings *now = load_text("threads=3\nseccomp=on\nallowed.hosts=b.example\n", &e);
    assert_int_equal(e.count, 0);
    assert_int_equal(settings_keep(now, in_force), 0);
    settings_restart_needed(in_force, now, on_restart_key, keys);
    assert_string_equal(keys, "");
    settings_free(in_force);
    assert_int_equal(now->tls_listen.count, 1);
    assert_string_equal(now->tls_listen.item[0], "on");
    assert_string_equal(now->listen_addresses.item[1], "[::1]");
    assert_int_equal(now->threads, 2);
    assert_string_equal(now->service_user, "root");
    assert_false(now->seccomp);
    assert_string_equal(now->allowed_hosts.item[0], "b.example");
    settings_free(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_of_every_type),
        cmocka_unit_test(values_refused),
        cmocka_unit_test(examples),
        cmocka_unit_test(shipped_files_are_the_table),
        cmocka_unit_test(the_manual_is_the_table),
        cmocka_unit_test(unknown_keys),
        cmocka_unit_test(all_mistakes_of_all_files),
        cmocka_unit_test(directories),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(places),
        cmocka_unit_test(error_lines_are_bounded),
        cmocka_unit_test(changes_that_need_a_restart),
        cmocka_unit_test(restart_keys_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
