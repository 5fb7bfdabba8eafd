#include "proxy/snapshot_agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/private_file.h"
#include "conf/settings.h"
#include "failover/signature.h"

#define CACHE_NAME "agent.json"

/* ---- the command line ---- */

static int parse_sensor(struct member *m, const char *text, const char **why)
{
    int rc = roster_parse_sensor(m, text, why);
    if (rc != 0 || m->protocol == MEMBER_HTTP_CONNECT)
        return rc;
    *why = "TLS to a sensor is not spoken; write http://host:port";
    return -EINVAL;
}

static bool sensors_check(const struct agent_command *command)
{
    for (size_t i = 0; i < command->sensor_count; i++) {
        struct member m;
        const char *why = "";
        if (parse_sensor(&m, command->sensor[i], &why) == 0)
            continue;
        (void)fprintf(stderr, "certferry: sensor \"%s\": %s; see certferry --help\n",
                      command->sensor[i], why);
        return false;
    }
    return true;
}

/* "address:port"; what it means is for the settings. */
static bool listen_check(const char *text)
{
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    struct addr address;
    char *end;
    if (text == NULL)
        return true;
    if (colon != NULL && colon[1] >= '0' && colon[1] <= '9' &&
        strtoul(colon + 1, &end, 10) <= 65535 && *end == '\0' &&
        addr_parse(&address, (struct span){text, (size_t)(colon - text)}, 0) == 0)
        return true;
    (void)fprintf(stderr,
                  "certferry: --listen \"%s\" is no address:port, such as 127.0.0.1:48999; see "
                  "certferry --help\n",
                  text);
    return false;
}

bool agent_command_check(const struct agent_command *command)
{
    return sensors_check(command) && listen_check(command->listen);
}

/* ---- the plan ---- */

/* An address or a name; rules want the brackets of IPv6. */
static int add_host(struct agent_plan *plan, const char *host, const char **why)
{
    char text[ROSTER_TEXT_MAX + 3];
    bool bare_v6 = strchr(host, ':') != NULL && host[0] != '[';
    (void)snprintf(text, sizeof text, bare_v6 ? "[%s]" : "%s", host);
    return rules_add_host(plan->hosts, span_of(text), why);
}

/* The sensors, and their hosts as ones that may be believed. 0 or -ENOMEM. */
static int add_seeds(struct agent_plan *plan, const struct agent_command *command)
{
    int rc = 0;
    for (size_t i = 0; i < command->sensor_count && rc != -ENOMEM; i++) {
        struct member m;
        const char *why = "";
        if (parse_sensor(&m, command->sensor[i], &why) != 0)
            continue; /* agent_command_check() has told */
        rc = roster_add(plan->seeds, &m);
        if (rc == 0)
            rc = add_host(plan, m.host, &why);
    }
    return rc == -ENOMEM ? rc : 0;
}

static void add_domains(struct agent_plan *plan, const struct settings *st,
                        struct settings_errors *e)
{
    for (size_t i = 0; i < st->agent_domains.count; i++) {
        const char *text = st->agent_domains.item[i], *why = "";
        struct addr literal;
        bool is_address = addr_parse(&literal, span_of(text), 0) == 0;
        int rc = is_address ? add_host(plan, text, &why)
                            : rules_add_domain(plan->hosts, span_of(text), &why);
        if (rc != 0)
            settings_error(e, settings_where(st, "agent.domains"), "\"%s\": %s", text,
                           rc == -ENOMEM ? "out of memory" : why);
    }
}

static void read_signer(struct agent_plan *plan, const struct settings *st, int dir,
                        struct settings_errors *e)
{
    struct buf text;
    const char *path = st->agent_signer, *why = "";
    if (path[0] == '\0')
        return;
    buf_init(&text, SIGNATURE_PEM_MAX);
    int rc = private_file_read(dir, path, 0, &text, &why);
    if (rc != 0)
        why = rc == -EPERM ? why : rc == -EISDIR ? "is no regular file" : strerror(-rc);
    else if ((rc = signature_trust_create(&plan->trust, buf_span(&text), &why)) == -ENOMEM)
        why = "out of memory";
    if (rc != 0)
        settings_error(e, settings_where(st, "agent.signer"), "\"%s\": %s", path, why);
    buf_release(&text);
}

/* Of a list of directories, as systemd writes it, the first. */
static char *cache_path(const struct settings *st)
{
    const char *state = getenv("STATE_DIRECTORY");
    char *path = NULL;
    if (st->agent_cache[0] != '\0')
        return strdup(st->agent_cache);
    if (state == NULL || state[0] != '/')
        return strdup("");
    return asprintf(&path, "%.*s/" CACHE_NAME, (int)strcspn(state, ":"), state) >= 0 ? path : NULL;
}

static void fill_times(struct agent_plan *plan, const struct settings *st,
                       struct settings_errors *e)
{
    plan->select = (struct select_options){
        .interval_ms = st->agent_check_interval,
        .retry_ms = st->agent_retry_after,
        .return_after_ms = st->agent_return_after,
    };
    plan->check_timeout_ms = st->agent_check_timeout;
    plan->attempt_ms = st->agent_attempt_timeout;
    if (strlen(st->agent_zone) >= sizeof plan->select.zone)
        settings_error(e, settings_where(st, "agent.zone"), "longer than %zu octets",
                       sizeof plan->select.zone - 1);
    (void)snprintf(plan->select.zone, sizeof plan->select.zone, "%.63s", st->agent_zone);
}

void agent_plan_build(struct agent_plan *plan, const struct agent_command *command,
                      const struct settings *settings, int dir, struct settings_errors *errors)
{
    *plan = (struct agent_plan){.seeds = roster_create(), .hosts = rules_create()};
    plan->cache = cache_path(settings);
    fill_times(plan, settings, errors);
    if (plan->seeds == NULL || plan->hosts == NULL || plan->cache == NULL ||
        add_seeds(plan, command) != 0) {
        settings_error(errors, "certferry agent", "out of memory");
        return;
    }
    add_domains(plan, settings, errors);
    read_signer(plan, settings, dir, errors);
    if (plan->cache[0] != '\0' && plan->cache[0] != '/')
        settings_error(errors, settings_where(settings, "agent.cache"), "\"%s\" is no full path",
                       plan->cache);
}
