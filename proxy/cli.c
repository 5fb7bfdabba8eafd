#include "proxy/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "Usage: certferry [serve] [--conf DIR]       run the proxy in the foreground\n"
    "       certferry check-config [--conf DIR]  build the configuration, print every mistake\n"
    "       certferry --help | --version\n"
    "\n"
    "An enrollment forward proxy: tunnels CONNECT and forwards plain-HTTP ACME, EST, SCEP, CMP, "
    "OCSP and\n"
    "CRL requests to the certificate authorities that its operator has allowed, and to nothing "
    "else.\n"
    "\n"
    "  --conf DIR  directory with webserver.properties, useproxy.properties, failover.properties\n"
    "              (default: conf/ of the checkout the program was built in, "
    "else " CERTFERRY_INSTALLED_CONF ")\n"
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

/* True when `arg` is the option, with its value in `*value` (the next argument or behind '='). */
static bool option_value(const char *name, int argc, char **argv, int *at, const char **value)
{
    size_t len = strlen(name);
    if (strncmp(argv[*at], name, len) != 0)
        return false;
    if (argv[*at][len] == '=') {
        *value = argv[*at] + len + 1;
        return true;
    }
    if (argv[*at][len] != '\0')
        return false;
    *value = *at + 1 < argc ? argv[++*at] : NULL;
    return true;
}

static void wrong_usage(struct cli *cli, const char *what, const char *arg)
{
    (void)fprintf(stderr, "certferry: %s \"%s\"; see certferry --help\n", what, arg);
    done(cli, 2);
}

static void take_conf(struct cli *cli, const char *value)
{
    if (value == NULL || value[0] == '\0' || strlen(value) >= sizeof cli->conf_dir)
        wrong_usage(cli, "no usable directory after", "--conf");
    else
        (void)snprintf(cli->conf_dir, sizeof cli->conf_dir, "%s", value);
}

void cli_parse(struct cli *cli, int argc, char **argv)
{
    bool named = false;
    cli->command = CLI_SERVE;
    cli->status = 0;
    default_conf(cli->conf_dir);
    for (int i = 1; i < argc && cli->command != CLI_DONE; i++) {
        const char *value;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(usage, stdout);
            done(cli, 0);
        } else if (strcmp(argv[i], "--version") == 0) {
            (void)puts("certferry " CERTFERRY_VERSION);
            done(cli, 0);
        } else if (option_value("--conf", argc, argv, &i, &value)) {
            take_conf(cli, value);
        } else if (argv[i][0] == '-') {
            wrong_usage(cli, "unknown option", argv[i]);
        } else if (named) {
            wrong_usage(cli, "one command is enough, what is", argv[i]);
        } else if (strcmp(argv[i], "serve") == 0 || strcmp(argv[i], "check-config") == 0) {
            named = true;
            cli->command = argv[i][0] == 's' ? CLI_SERVE : CLI_CHECK_CONFIG;
        } else {
            wrong_usage(cli, "unknown command", argv[i]);
        }
    }
}
