/*
 * check.h - `certferry check URL`: can this CA be reached from here, and if not, which step fails?
 *
 * Policy, DNS, address guard, TCP, TLS with the chain of the CA, and an answer that proves that an
 * enrollment server is there; each with its time. Takes the configuration as the proxy would, but
 * talks to no running one. Short-lived; blocks. Main thread.
 */
#ifndef CERTFERRY_CHECK_H
#define CERTFERRY_CHECK_H

struct check_options {
    const char *conf_dir;
    const char *url;  /* http:// or https:// */
    const char *ca;   /* PEM file with the roots to believe; NULL: the system's */
    const char *role; /* whose rules; NULL: the general ones */
};

/* The exit status: 0 every step is fine, 1 one is not, or the configuration has mistakes, 2 `url`,
 * `ca` or `role` is none. */
int check_run(const struct check_options *o);

#endif
