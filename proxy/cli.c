#include "proxy/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "Usage: certferry [serve] [--conf DIR] [--takeover]\n"
    "                                           run the proxy in the foreground\n"
    "       certferry check-config [--conf DIR]  build the configuration, print every mistake\n"
    "       certferry check [--conf DIR] [--ca FILE] [--role NAME] URL\n"
    "                                           can this CA be reached from here? Step by step\n"
    "       certferry drain [--conf DIR] [--no-wait]\n"
    "                                           let the running one end in order\n"
    "       certferry agent [--listen ADDRESS:PORT] [--conf DIR] SENSOR...\n"
    "                                           proxy on a client machine, before several sensors\n"
    "       certferry peers [--format FORMAT] [--signer FILE] SENSOR...\n"
    "                                           print the roster that a sensor tells\n"
    "       certferry --help | --version\n"
    "\n"
    "An enrollment forward proxy: tunnels CONNECT and forwards plain-HTTP ACME, EST, SCEP, CMP, "
    "OCSP and\n"
    "CRL requests to the certificate authorities that its operator has allowed, and to nothing "
    "else.\n"
    "\n"
    "  --conf DIR  directory with webserver.properties, useproxy.properties, failover.properties,\n"
    "              gateway.properties and roles.properties\n"
    "              (default: conf/ of the checkout the program was built in, "
    "else " CERTFERRY_INSTALLED_CONF ")\n"
    "  --listen ADDRESS:PORT\n"
    "              where the agent listens (default: 127.0.0.1:48999)\n"
    "  --takeover  take the sockets of the one that runs, then have it end: no connection is lost\n"
    "  --ca FILE   PEM with the roots to believe for the CA (default: the system's)\n"
    "  --role NAME judge as for clients that have this role of roles.properties\n"
    "  --no-wait   do not wait until it has ended\n"
    "  --format FORMAT\n"
    "              table (default), json, pac, env (shell variables of the best proxy) or hosts\n"
    "  --signer FILE\n"
    "              PEM of a certificate or public key: only a roster that it signed is taken\n"
    "  SENSOR      a running certferry: http://host:port, host:port or host; the first that gives "
    "a\n"
    "              good roster is enough\n"
    "\n"
    "Exit status: 0 fine, 1 it ran and the answer is no, 2 wrong usage. See certferry(8).\n";

static void done(struct cli *cli, int status)
{
    cli->command = CLI_DONE;
    cli->status = status;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* In a checkout the program is build/PRESET/certferry, and its configuration ../../conf. */
static void default_conf(char out[PATH_MAX])
{
    char exe[PATH_MAX - 64];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        char *slash = strrchr(exe, '/');
        *slash = '\0';
        (void)snprintf(out, PATH_MAX, "%s/../../conf", exe);
        if (strstr(exe, "/build/") != NULL && is_directory(out))
            return;
    }
    (void)snprintf(out, PATH_MAX, "%s", CERTFERRY_INSTALLED_CONF);
}

static void wrong_usage(struct cli *cli, const char *what, const char *arg)
{
    (void)fprintf(stderr, "certferry: %s \"%s\"; see certferry --help\n", what, arg);
    done(cli, 2);
}

/* ---- options ---- */

static void take_conf(struct cli *cli, const char *value)
{
    if (strlen(value) >= sizeof cli->conf_dir)
        wrong_usage(cli, "too long a path after", "--conf");
    else
        (void)snprintf(cli->conf_dir, sizeof cli->conf_dir, "%s", value);
    cli->given_conf = cli->conf_dir;
}

static void take_listen(struct cli *cli, const char *value)
{
    cli->listen = value;
}

static void take_no_wait(struct cli *cli, const char *value)
{
    (void)value;
    cli->no_wait = true;
}

static void take_ca(struct cli *cli, const char *value)
{
    cli->ca = value;
}

static void take_role(struct cli *cli, const char *value)
{
    cli->role = value;
}

static void take_takeover(struct cli *cli, const char *value)
{
    (void)value;
    cli->takeover = true;
}

static void take_format(struct cli *cli, const char *value)
{
    cli->format = peers_format_of(value);
    if (cli->format == PEERS_FORMAT_COUNT)
        wrong_usage(cli, "no such format, but table, json, pac, env and hosts:", value);
}

static void take_signer(struct cli *cli, const char *value)
{
    cli->signer = value;
}

#define OF(command) (1U << (command))

static const struct option {
    const char *name;
    unsigned commands; /* bits of those that have it */
    bool bare;         /* no value follows */
    void (*take)(struct cli *cli, const char *value);
} options[] = {
    {"--conf", OF(CLI_SERVE) | OF(CLI_CHECK_CONFIG) | OF(CLI_CHECK) | OF(CLI_DRAIN) | OF(CLI_AGENT),
     false, take_conf},
    {"--ca", OF(CLI_CHECK), false, take_ca},
    {"--role", OF(CLI_CHECK), false, take_role},
    {"--listen", OF(CLI_AGENT), false, take_listen},
    {"--format", OF(CLI_PEERS), false, take_format},
    {"--signer", OF(CLI_PEERS), false, take_signer},
    {"--no-wait", OF(CLI_DRAIN), true, take_no_wait},
    {"--takeover", OF(CLI_SERVE), true, take_takeover},
};

static const struct command {
    const char *name;
    enum cli_command command;
    size_t operands_min, operands_max;
} commands[] = {
    {"serve", CLI_SERVE, 0, 0},       {"check-config", CLI_CHECK_CONFIG, 0, 0},
    {"drain", CLI_DRAIN, 0, 0},       {"agent", CLI_AGENT, 1, INT_MAX},
    {"peers", CLI_PEERS, 1, INT_MAX}, {"check", CLI_CHECK, 1, 1},
};

static const struct option *find_option(const char *arg, size_t len)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, arg, len) == 0)
            return &options[i];
    }
    return NULL;
}

/* "--name VALUE" or "--name=VALUE" at `argv[*at]`. */
static void take_option(struct cli *cli, int argc, char **argv, int *at)
{
    const char *arg = argv[*at];
    size_t len = strcspn(arg, "=");
    const struct option *option = find_option(arg, len);
    if (option == NULL || !(option->commands & OF(cli->command))) {
        wrong_usage(cli, "unknown option", arg);
        return;
    }
    if (option->bare) {
        if (arg[len] == '=')
            wrong_usage(cli, "no value belongs to", arg);
        else
            option->take(cli, "");
        return;
    }
    const char *value = arg[len] == '=' ? arg + len + 1 : *at + 1 < argc ? argv[++*at] : "";
    if (value[0] == '\0')
        wrong_usage(cli, "no value after", option->name);
    else
        option->take(cli, value);
}

/* ---- the whole ---- */

/* The command stands first; without one it is serve. How many arguments it took. */
static int take_command(struct cli *cli, int argc, char **argv, const struct command **command)
{
    *command = &commands[0];
    if (argc < 2 || argv[1][0] == '-')
        return 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            *command = &commands[i];
            cli->command = commands[i].command;
            return 1;
        }
    }
    wrong_usage(cli, "unknown command", argv[1]);
    return 1;
}

static void take_operand(struct cli *cli, const struct command *command, char *operand)
{
    if (cli->operand_count == command->operands_max)
        wrong_usage(cli, "too much:", operand);
    else
        cli->operand[cli->operand_count++] = operand;
}

void cli_parse(struct cli *cli, int argc, char **argv)
{
    const struct command *command;
    cli->command = CLI_SERVE;
    cli->status = 0;
    cli->operand = argv; /* operands move to the front, over what was read already */
    cli->operand_count = 0;
    cli->given_conf = cli->listen = cli->ca = NULL;
    cli->format = PEERS_TABLE;
    cli->signer = "";
    default_conf(cli->conf_dir);
    int at = 1 + take_command(cli, argc, argv, &command);
    for (; at < argc && cli->command != CLI_DONE; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            (void)fputs(usage, stdout);
            done(cli, 0);
        } else if (strcmp(argv[at], "--version") == 0) {
            (void)puts("certferry " CERTFERRY_VERSION);
            done(cli, 0);
        } else if (argv[at][0] == '-') {
            take_option(cli, argc, argv, &at);
        } else {
            take_operand(cli, command, argv[at]);
        }
    }
    if (cli->command != CLI_DONE && cli->operand_count < command->operands_min)
        wrong_usage(cli, "what is to be asked? Nothing follows", command->name);
}
