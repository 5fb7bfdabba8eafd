/*
 * notify.h - tells the service manager how far we are (sd_notify(3)), where NOTIFY_SOCKET names
 * one.
 *
 * Nobody is waited for, and nothing depends on its being heard. Main thread.
 */
#ifndef CERTFERRY_NOTIFY_H
#define CERTFERRY_NOTIFY_H

struct notify {
    int fd; /* -1: nobody wants to know */
};

/* Takes the variable away. Before system calls are confined. */
void notify_open(struct notify *n);

/* "READY=1", "STOPPING=1" */
void notify_tell(const struct notify *n, const char *state);

void notify_close(struct notify *n);

#endif
