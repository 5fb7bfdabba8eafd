#include "proxy/cli.h"
#include "proxy/server.h"

int main(int argc, char **argv)
{
    static struct cli cli;
    cli_parse(&cli, argc, argv);
    switch (cli.command) {
    case CLI_SERVE:
        return server_run(cli.conf_dir);
    case CLI_CHECK_CONFIG:
        return server_check(cli.conf_dir);
    case CLI_DONE:
        break;
    }
    return cli.status;
}
