/* test_conf_faults.c - no memory, and short reads, while configuration is loaded: what comes back
 * is whole, or an error is told; never settings that an operator did not write. */
#include "conf/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/properties.h"
#include "tests/support/faults.h"

static char dir[] = "/tmp/certferry-faults-XXXXXX";

static const char webserver[] = "heartbeatport=4000\n"
                                "clients.allow=192.0.2.1, 2001:db8::/32\n"
                                "zone = \\u0020plant 7\n"
                                "limit.head=1M\n";
static const char useproxy[] = "allowed.domains = digicert.com , \\\n  globalsign.com\n"
                               "allowed.hosts=ca.example, 192.0.2.7\n"
                               "allowed.connect.ports=443, 8080-8090\n"
                               "tunnel.sni=strict\n";
static const char roles[] = "sensors.identities=sensor-1, \"CN=a,O=b\"\n"
                            "sensors.allowed.hosts=ca.example\n"
                            "edge.mode=report\n";
/* Mistakes of every kind: syntax, unknown key, value, twice. */
static const char failover[] = "zoen=a\nroster.ttl=5\npeers=a,,b\nzone=b\npeers=c\nx=\\u12\n";
enum { MISTAKES = 7 };

static void put(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}

static void take_away(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)unlink(path);
}

/* ---- properties ---- */

static void on_error(void *arg, const char *file, unsigned line, const char *message)
{
    unsigned *told = arg;
    assert_non_null(file);
    assert_non_null(message);
    (void)line;
    (*told)++;
}

static bool properties_parsed(void)
{
    struct properties p;
    unsigned told = 0;
    int rc = properties_parse(&p, "f", webserver, sizeof webserver - 1, on_error, &told);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    assert_int_equal(told, 0);
    if (rc == 0) {
        assert_int_equal(p.count, 4);
        assert_string_equal(p.item[2].value, " plant 7");
    }
    properties_free(&p);
    return rc == 0;
}

/* -ENOMEM outweighs the mistakes told before it. */
static bool properties_with_mistakes(void)
{
    struct properties p;
    unsigned told = 0;
    int rc = properties_parse(&p, "f", failover, sizeof failover - 1, on_error, &told);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : -EINVAL);
    properties_free(&p);
    return rc != -ENOMEM;
}

/* ---- settings ---- */

static void assert_as_written(const struct settings *s)
{
    assert_int_equal(s->heartbeatport, 4000);
    assert_int_equal(s->clients_allow.count, 2);
    assert_string_equal(s->zone, "plant 7");
    assert_int_equal(s->limit_head, 1048576);
    assert_int_equal(s->allowed_domains.count, 2);
    assert_string_equal(s->allowed_domains.item[1], "globalsign.com");
    assert_string_equal(s->allowed_hosts.item[0], "ca.example");
    assert_int_equal(s->allowed_connect_ports.item[1].last, 8090);
    assert_int_equal(s->tunnel_sni, TUNNEL_SNI_STRICT);
    assert_int_equal(s->roles.count, 2);
    assert_string_equal(s->roles.role[0].identities.item[1], "CN=a,O=b");
    assert_int_equal(s->roles.role[0].allowed_hosts.count, 1);
    assert_int_equal(s->roles.role[1].mode, ROLES_FILE_REPORT);
}

/* The descriptor is the caller's of settings_load(), so opening it is not what is under test. */
static struct settings *settings_read(struct settings_errors *e)
{
    faults_pause();
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    faults_resume();
    assert_true(fd >= 0);
    struct settings *s = settings_load(fd, dir, e);
    assert_int_equal(close(fd), 0);
    return s;
}

/* Whoever looks at `count`, as he must, has what is written in the files, or nothing. */
static bool settings_loaded(void)
{
    struct settings_errors e = {0};
    struct settings *s = settings_read(&e);
    bool usable = s != NULL && e.count == 0;
    if (usable)
        assert_as_written(s);
    settings_free(s);
    settings_errors_free(&e);
    return usable;
}

/* Mistakes with memory running out while they are put in words: at least one line is always told.
 */
static bool settings_with_mistakes(void)
{
    struct settings_errors e = {0};
    faults_pause();
    put("failover.properties", failover);
    faults_resume();
    struct settings *s = settings_read(&e);
    bool all = s != NULL && e.count == MISTAKES;
    assert_true(s == NULL || e.count > 0);
    for (size_t i = 0; i < e.count; i++) {
        assert_non_null(e.line[i]);
        all = all && strstr(e.line[i], "out of memory") == NULL;
    }
    settings_free(s);
    settings_errors_free(&e);
    take_away("failover.properties");
    return all;
}

/* Files that come octet by octet, with interruptions. */
static bool settings_short_reads(void)
{
    static const struct faults_io plans[] = {{.most = 1},
                                             {.steps = 12, .pattern = 0xffdfd7, .most = 3}};
    bool done = true;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        faults_io_set(&plans[i]);
        done = settings_loaded() && done;
        assert_true(!done || faults_io_struck() > 0);
        faults_io_set(NULL);
    }
    return done;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"properties_parse", properties_parsed, false},
        {"properties_parse with mistakes", properties_with_mistakes, false},
        {"settings_load", settings_loaded, false},
        {"settings_load with mistakes", settings_with_mistakes, true},
        {"settings_load, short reads", settings_short_reads, false},
    };
    if (mkdtemp(dir) == NULL)
        return 1;
    put("webserver.properties", webserver);
    put("useproxy.properties", useproxy);
    put("roles.properties", roles);
    int failed = faults_main("conf_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    take_away("webserver.properties");
    take_away("useproxy.properties");
    take_away("failover.properties");
    take_away("roles.properties");
    return rmdir(dir) != 0 || failed != 0;
}
