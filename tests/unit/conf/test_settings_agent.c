/* test_settings_agent.c - the configuration of certferry agent: its own defaults, no directory
 * needed, --listen above all. */
#include "conf/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory with one file of these lines; its descriptor. */
static int directory_made(char path[64], const char *lines)
{
    char file[96];
    (void)snprintf(path, 64, "/tmp/certferry-settings-XXXXXX");
    assert_non_null(mkdtemp(path));
    (void)snprintf(file, sizeof file, "%s/failover.properties", path);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_true(fputs(lines, out) >= 0);
    assert_int_equal(fclose(out), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void directory_gone(int fd, const char *path)
{
    assert_int_equal(unlinkat(fd, "failover.properties", 0), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(rmdir(path), 0);
}

static void safe_without_any_file(void **state)
{
    (void)state;
    struct settings_errors e = {0};
    struct settings *s = settings_load_agent(-ENOENT, NULL, NULL, &e);
    assert_non_null(s);
    assert_int_equal(e.count, 0);
    assert_int_equal(s->role, SETTINGS_AGENT);
    assert_int_equal(s->heartbeatport, 48999);
    assert_int_equal(s->listen_addresses.count, 1);
    assert_string_equal(s->listen_addresses.item[0], "127.0.0.1");
    assert_int_equal(s->clients_allow.count, 2);
    struct addr loopback, neighbour;
    assert_int_equal(addr_parse(&loopback, SPAN("127.0.0.1"), 0), 0);
    assert_int_equal(addr_parse(&neighbour, SPAN("192.168.1.7"), 0), 0);
    assert_true(prefix_match_any(s->clients_allow.item, s->clients_allow.count, &loopback));
    assert_false(prefix_match_any(s->clients_allow.item, s->clients_allow.count, &neighbour));
    assert_int_equal(s->allowed_domains.count, 0);
    assert_int_equal(s->tunnel_sni, TUNNEL_SNI_OFF);
    assert_string_equal(s->control_socket, "");
    assert_non_null(strstr(settings_where(s, "agent.signer"), "(default)"));
    settings_free(s);
}

static void sensors_keep_theirs(void **state)
{
    (void)state;
    char path[64];
    int fd = directory_made(path, "");
    struct settings_errors e = {0};
    struct settings *s = settings_load(fd, path, &e);
    assert_non_null(s);
    assert_int_equal(s->role, SETTINGS_SENSOR);
    assert_int_equal(s->tunnel_sni, TUNNEL_SNI_MATCH);
    assert_string_equal(s->allowed_domains.item[0], "digicert.com");
    settings_free(s);
    directory_gone(fd, path);
}

static void files_and_option(void **state)
{
    (void)state;
    char path[64];
    int fd = directory_made(path, "agent.zone=plant7\nlisten.addresses=192.0.2.1\n"
                                  "heartbeatport=3128\nclients.allow=192.0.2.0/24\n");
    struct settings_errors e = {0};
    struct settings *s = settings_load_agent(fd, path, NULL, &e);
    assert_non_null(s);
    assert_int_equal(e.count, 0);
    assert_string_equal(s->agent_zone, "plant7");
    assert_string_equal(s->listen_addresses.item[0], "192.0.2.1");
    assert_int_equal(s->heartbeatport, 3128);
    assert_int_equal(s->clients_allow.count, 1);
    settings_free(s);
    s = settings_load_agent(fd, path, "[::1]:48998", &e);
    assert_non_null(s);
    assert_int_equal(e.count, 0);
    assert_string_equal(s->listen_addresses.item[0], "[::1]");
    assert_int_equal(s->heartbeatport, 48998);
    settings_free(s);
    directory_gone(fd, path);
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const listens[] = {
        "",           ":", "127.0.0.1", "127.0.0.1:", ":48999", "127.0.0.1:70000", "127.0.0.1:-1",
        "127.0.0.1:x"};
    for (size_t i = 0; i < sizeof listens / sizeof *listens; i++) {
        struct settings_errors e = {0};
        struct settings *s = settings_load_agent(-ENOENT, NULL, listens[i], &e);
        assert_non_null(s);
        if (e.count != 1 || strstr(e.line[0], "--listen") == NULL)
            fail_msg("%s: %zu mistakes", listens[i], e.count);
        settings_errors_free(&e);
        settings_free(s);
    }
    char path[64];
    int fd = directory_made(path, "agent.attempt.timeout=10\nagent.zones=x\n");
    struct settings_errors e = {0};
    struct settings *s = settings_load_agent(fd, path, NULL, &e);
    assert_non_null(s);
    assert_int_equal(e.count, 2);
    settings_errors_free(&e);
    settings_free(s);
    directory_gone(fd, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safe_without_any_file),
        cmocka_unit_test(sensors_keep_theirs),
        cmocka_unit_test(files_and_option),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
