#include "proxy/cli.h"
#include "proxy/configuration.h"
#include "proxy/peers.h"
#include "proxy/server.h"
#include "proxy/snapshot_agent.h"

int main(int argc, char **argv)
{
    static struct cli cli;
    cli_parse(&cli, argc, argv);
    switch (cli.command) {
    case CLI_SERVE:
        return server_run(cli.conf_dir);
    case CLI_CHECK_CONFIG:
        return configuration_check(cli.conf_dir);
    case CLI_DRAIN:
        return server_drain(cli.conf_dir, !cli.no_wait);
    case CLI_PEERS: {
        const struct peers_options o = {cli.format, cli.signer, cli.operand, cli.operand_count};
        return peers_run(&o);
    }
    case CLI_AGENT: {
        const struct agent_command agent = {cli.listen, cli.operand, cli.operand_count};
        return agent_command_check(&agent) ? server_run_agent(cli.given_conf, &agent) : 2;
    }
    case CLI_DONE:
        break;
    }
    return cli.status;
}
