/*
 * sockets.h - what load, origins and relay share: IPv4 loopback sockets and epoll.
 *
 * Descriptors are non-blocking. A bench program has nobody to report to but its starter: what fails
 * at start ends it with a sentence.
 */
#ifndef BENCH_SOCKETS_H
#define BENCH_SOCKETS_H

#include <netinet/in.h>
#include <stdint.h>

/* "PORT" or "ADDRESS:PORT"; without an address it is 127.0.0.1. Ends the program when malformed. */
struct sockaddr_in socket_address(const char *text);

/* A descriptor that listens there. */
int socket_listen(struct sockaddr_in at);

/* A descriptor on its way to `to`, or -1 with errno. */
int socket_connect(struct sockaddr_in to);

/* A descriptor of a waiting connection, or -1. */
int socket_accept(int listener);

/* Adds `fd` to an epoll descriptor, or changes it there. Ends the program on error. */
void socket_watch(int epoll_fd, int fd, uint32_t events, void *owner);
void socket_rewatch(int epoll_fd, int fd, uint32_t events, void *owner);

/* Allows as many descriptors as the hard limit does. */
void socket_raise_limit(void);

/* A whole number, 0 or more. Ends the program when malformed. */
unsigned long number_of(const char *text, const char *what);

/* Prints the sentence and ends the program. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
