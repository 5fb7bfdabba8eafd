"""What the lints share: finding the C files of a tree, and reading C without its comments and strings."""

import os
import re
import sys

# Folders with code of ours; the program first.
PROGRAM = ["proxy", "allowlist", "conf", "failover"]
TESTS = ["tests", "bench"]

_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def c_files(root, folders):
    """Paths relative to root, sorted, of all .c and .h files below the folders."""
    found = []
    for folder in folders:
        for where, _, names in os.walk(os.path.join(root, folder)):
            found += [
                os.path.relpath(os.path.join(where, name), root)
                for name in names
                if name.endswith((".c", ".h"))
            ]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def blank(text, strings=True):
    """The same text, line for line, with comments (and the insides of strings) emptied."""

    def emptied(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] * 2 if strings else token
        return "\n" * token.count("\n") or " "

    return _TOKEN.sub(emptied, text)


def report(name, faults, looked_at):
    """Prints the faults and returns the exit status. A lint that saw nothing has not passed."""
    for fault in faults:
        print(fault)
    if not looked_at:
        print(f"{name}: no file found to look at")
        return 1
    print(f"{name}: {looked_at} files, {len(faults)} faults")
    return 1 if faults else 0


def root_argument():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(f"usage: {sys.argv[0]} SOURCE-DIR")
    return sys.argv[1]
