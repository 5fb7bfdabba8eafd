"""
Refuses calls that have no safe use here, with what to write instead.

Comments and strings do not count, nor names that merely end alike (pipe_gets).
"""

import re
import sys

from source import PROGRAM, TESTS, blank, c_files, read, report, root_argument

UNBOUNDED = "it knows no bound: use snprintf or memcpy with a checked length"
NO_ERRORS = "it cannot tell an error: use strtoul with its end checked, or the module's own parser"
SHELL = "a shell would read what a peer sent: use posix_spawn with an argument list"
BLOCKING = "it blocks the loop for as long as a name server likes: use proxy/net/resolver.h"

EVERYWHERE = {
    "strcpy": UNBOUNDED,
    "stpcpy": UNBOUNDED,
    "strcat": UNBOUNDED,
    "sprintf": UNBOUNDED,
    "vsprintf": UNBOUNDED,
    "gets": UNBOUNDED,
    "strncpy": "it leaves strings without their end: use snprintf or memcpy",
    "strtok": "it keeps hidden state between threads: use strtok_r or strcspn",
    "atoi": NO_ERRORS,
    "atol": NO_ERRORS,
    "atoll": NO_ERRORS,
    "atof": NO_ERRORS,
    "alloca": "the stack has no error to give: use malloc, or an array of a fixed maximum",
    "system": SHELL,
    "popen": SHELL,
    "tmpnam": "another may take the name first: use mkstemp",
    "mktemp": "another may take the name first: use mkstemp",
}
IN_PROGRAM = {
    "getaddrinfo": BLOCKING,
    "gethostbyname": BLOCKING,
    "getnameinfo": BLOCKING,
    "inet_addr": "it takes 0x7f.1 for an address: use addr_parse",
    "inet_aton": "it takes 0x7f.1 for an address: use addr_parse",
    "usleep": "it stops the loop: use a timer",
    "sleep": "it stops the loop: use a timer",
    "localtime": "its buffer is shared between threads: use localtime_r",
    "gmtime": "its buffer is shared between threads: use gmtime_r",
}

# A call, not a member, a declaration of another thing or part of a longer name.
CALL = r"(?<![\w.>])(?:%s)\s*\("


def calls(text, banned):
    """[(line, name)] in the order of the text."""
    pattern = re.compile(CALL % "|".join(f"(?P<{name}>{name})" for name in banned))
    return [
        (text.count("\n", 0, match.start()) + 1, match.lastgroup)
        for match in pattern.finditer(text)
    ]


def main():
    root = root_argument()
    program = c_files(root, PROGRAM)
    tests = c_files(root, TESTS)
    faults = []
    for path in program + tests:
        banned = dict(EVERYWHERE, **IN_PROGRAM) if path in program else EVERYWHERE
        for line, name in calls(blank(read(root, path)), banned):
            faults.append(f"{path}:{line}: {name}(): {banned[name]}")
    return report("banned", faults, len(program) + len(tests))


if __name__ == "__main__":
    sys.exit(main())
