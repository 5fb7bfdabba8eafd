/*
 * server.h - the running proxy: configuration, listeners, workers, signals, reload, drain.
 *
 * Knows no HTTP. Main thread.
 */
#ifndef CERTFERRY_SERVER_H
#define CERTFERRY_SERVER_H

#include <stdbool.h>

struct agent_command; /* snapshot_agent.h */

/*
 * Serves until SIGTERM or SIGINT, or until another takes over; with `takeover` after we have taken
 * over from the one that runs. Returns the exit status: 0 drained in order, 1 could not start.
 */
int server_run(const char *conf_dir, bool takeover);

/* Asks the certferry that runs with this configuration to drain; `wait`: until it has ended.
 * Returns the exit status. */
int server_drain(const char *conf_dir, bool wait);

/* The same for certferry agent; `conf_dir` NULL: no directory. */
int server_run_agent(const char *conf_dir, const struct agent_command *command);

#endif
