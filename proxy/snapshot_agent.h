/*
 * snapshot_agent.h - the command line and the configuration of certferry agent -> its plan.
 *
 * Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_AGENT_H
#define CERTFERRY_SNAPSHOT_AGENT_H

#include "proxy/agent.h"

struct settings;
struct settings_errors;

/* As it was written: certferry agent [--listen ADDRESS:PORT] SENSOR... */
struct agent_command {
    const char *listen; /* NULL: not given */
    char **sensor;      /* as roster_parse_sensor() takes them */
    size_t sensor_count;
};

/* Prints what is wrong with the command on stderr. True: nothing. */
bool agent_command_check(const struct agent_command *command);

/* Mistakes are told in `errors`; the plan is released in any case. `dir` is open on the
 * configuration directory, or negative. */
void agent_plan_build(struct agent_plan *plan, const struct agent_command *command,
                      const struct settings *settings, int dir, struct settings_errors *errors);

#endif
