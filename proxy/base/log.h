/*
 * log.h - the operational log: one line on stderr for each event that a person may act on.
 *
 * Peer input in a line is escaped, so that nobody can forge a second line. The traffic path has the
 * access log (session/access_log.h) instead. Any thread: one write(2) a line.
 */
#ifndef CERTFERRY_BASE_LOG_H
#define CERTFERRY_BASE_LOG_H

#include "proxy/base/buf.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE };

/* "certferry: warning: ..." Control octets, quotes of no use to a reader and non-ASCII become \xNN.
 */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Adds `s` as a JSON string with its quotes. Octets that are not UTF-8 become U+FFFD. 0, -ENOBUFS
 * or -ENOMEM.
 */
int log_json_string(struct buf *out, struct span s);

#endif
