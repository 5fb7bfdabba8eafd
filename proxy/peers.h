/*
 * peers.h - `certferry peers`: the roster of the first sensor that gives a good one, printed.
 *
 * A loop of its own; nothing of a running proxy. Main thread.
 */
#ifndef CERTFERRY_PEERS_H
#define CERTFERRY_PEERS_H

#include <stddef.h>

enum peers_format {
    PEERS_TABLE,
    PEERS_JSON,
    PEERS_PAC,
    PEERS_ENV,
    PEERS_HOSTS,
    PEERS_FORMAT_COUNT
};

struct peers_options {
    enum peers_format format;
    const char *signer; /* PEM file: only a document signed by whom it names is good; "" any */
    char **sensor;      /* as roster_parse_sensor() takes them */
    size_t sensor_count;
};

/* "table", "json", ...; PEERS_FORMAT_COUNT when it is none. */
enum peers_format peers_format_of(const char *name);

/* The exit status: 0 printed, 1 no good roster or nothing to print, 2 a sensor's name or the
 * signer's file is wrong. What is wrong is told on stderr. */
int peers_run(const struct peers_options *o);

#endif
