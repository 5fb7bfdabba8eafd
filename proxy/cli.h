/*
 * cli.h - the command line: which command, with which options and operands.
 *
 * Opens no socket. Main thread.
 */
#ifndef CERTFERRY_CLI_H
#define CERTFERRY_CLI_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "proxy/peers.h"

enum cli_command {
    CLI_SERVE,
    CLI_CHECK_CONFIG,
    CLI_CHECK,
    CLI_DRAIN,
    CLI_PEERS,
    CLI_AGENT,
    CLI_DONE, /* `status` is the exit status, everything is said already */
};

struct cli {
    enum cli_command command;
    int status;
    char conf_dir[PATH_MAX];  /* --conf, or the default */
    bool no_wait;             /* --no-wait */
    bool takeover;            /* --takeover */
    enum peers_format format; /* --format */
    const char *signer;       /* --signer, or ""; of argv */
    const char *given_conf;   /* conf_dir, or NULL: no --conf */
    const char *listen;       /* --listen; NULL: not given */
    const char *ca;           /* --ca; NULL: not given */
    const char *role;         /* --role; NULL: not given */
    char **operand;           /* what follows the command and is no option; of argv */
    size_t operand_count;
};

void cli_parse(struct cli *cli, int argc, char **argv);

#endif
