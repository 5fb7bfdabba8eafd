/*
 * tsan_start.c - linked into certferry when it is built with the thread sanitizer.
 *
 * gcc 12's makes what it keeps of a thread's signals at the thread's first call that blocks, and a
 * signal that comes just then is lost: a SIGTERM right behind "ready", now and then. So the main
 * thread's first such call is made before anybody can send it a signal.
 */
#include <poll.h>
#include <stddef.h>

__attribute__((constructor)) static void wait_once(void)
{
    (void)poll(NULL, 0, 0);
}
