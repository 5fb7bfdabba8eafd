/*
 * cli.h - the command line: what to run, with which configuration.
 *
 * Opens no socket. Main thread.
 */
#ifndef CERTFERRY_CLI_H
#define CERTFERRY_CLI_H

#include <limits.h>

enum cli_command { CLI_SERVE, CLI_CHECK_CONFIG, CLI_DONE };

struct cli {
    enum cli_command command;
    int status; /* CLI_DONE: exit status, everything is said already */
    char conf_dir[PATH_MAX];
};

void cli_parse(struct cli *cli, int argc, char **argv);

#endif
