#include <stdio.h>
#include <unistd.h>

#include "proxy/check.h"
#include "proxy/cli.h"
#include "proxy/configuration.h"
#include "proxy/net/tls_thread.h"
#include "proxy/peers.h"
#include "proxy/server.h"
#include "proxy/snapshot_agent.h"

enum { DEVICE_PATIENCE_MS = 2000 };

/*
 * The threads of devices with TLS keys must have closed them before the libraries end; one that
 * waits for a device that does not answer is not waited for.
 */
static int end(int status)
{
    if (tls_threads_wait(DEVICE_PATIENCE_MS, true))
        return status;
    (void)fflush(NULL);
    _exit(status);
}

static int run(struct cli *cli)
{
    switch (cli->command) {
    case CLI_SERVE:
        return server_run(cli->conf_dir, cli->takeover);
    case CLI_CHECK_CONFIG:
        return configuration_check(cli->conf_dir);
    case CLI_CHECK: {
        const struct check_options o = {cli->conf_dir, cli->operand[0], cli->ca, cli->role};
        return check_run(&o);
    }
    case CLI_DRAIN:
        return server_drain(cli->conf_dir, !cli->no_wait);
    case CLI_PEERS: {
        const struct peers_options o = {cli->format, cli->signer, cli->operand, cli->operand_count};
        return peers_run(&o);
    }
    case CLI_AGENT: {
        const struct agent_command agent = {cli->listen, cli->operand, cli->operand_count};
        return agent_command_check(&agent) ? server_run_agent(cli->given_conf, &agent) : 2;
    }
    case CLI_DONE:
        break;
    }
    return cli->status;
}

int main(int argc, char **argv)
{
    static struct cli cli;
    cli_parse(&cli, argc, argv);
    return end(run(&cli));
}
