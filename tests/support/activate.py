"""
Execs a program as a service manager with socket activation does: activate.py NAME=FD,... PROGRAM [ARGUMENT...]

The descriptors come down to 3, 4, ...; LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID tell of them, unless the environment
has such a variable already: then that one stays, for what a confused manager would say.
"""

import fcntl
import os
import sys

FIRST = 3


def main():
    pairs = [item.rpartition("=") for item in sys.argv[1].split(",") if item]
    # First out of the way: one may stand where another is to go.
    aside = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for _, _, fd in pairs]
    for number, fd in enumerate(aside, FIRST):
        os.dup2(fd, number, inheritable=True)
        os.close(fd)
    os.closerange(FIRST + len(pairs), 256)
    told = {
        "LISTEN_FDS": str(len(pairs)),
        "LISTEN_FDNAMES": ":".join(name for name, _, _ in pairs),
        "LISTEN_PID": str(os.getpid()),
    }
    os.execve(sys.argv[2], sys.argv[2:], told | dict(os.environ))


if __name__ == "__main__":
    main()
