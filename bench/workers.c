#include "bench/workers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/sockets.h"

void workers_fork(unsigned long count)
{
    pid_t first = getpid();
    for (unsigned long i = 1; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            give_up("cannot fork");
        if (pid > 0)
            continue;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != first) /* it has ended before we asked for the signal */
            _exit(1);
        return;
    }
}
