/*
 * server.h - the running proxy: configuration, listeners, workers, signals, reload, drain.
 *
 * Knows no HTTP. Main thread.
 */
#ifndef CERTFERRY_SERVER_H
#define CERTFERRY_SERVER_H

/* Serves until SIGTERM or SIGINT. Returns the exit status: 0 drained in order, 1 could not start.
 */
int server_run(const char *conf_dir);

/* Builds the whole configuration, prints every mistake on stderr. 0 when there is none, 1
 * otherwise. */
int server_check(const char *conf_dir);

#endif
