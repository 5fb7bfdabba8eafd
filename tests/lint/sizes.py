"""
Refuses functions over 80 lines and files over 800: what does not fit is two things.

A function is what the formatter makes of it: from its opening brace in the first column to its closing one.
"""

import re
import sys

from source import PROGRAM, TESTS, blank, c_files, read, report, root_argument

FUNCTION_LINES = 80
FILE_LINES = 800

# The line before the brace, or the one a wrapped parameter list began on, ends with ')'.
HEAD_END = re.compile(r"\)\s*(?:__attribute__.*)?$")
NAME = re.compile(r"(\w+)\s*\(")


def name_above(lines, brace):
    """Name of the function whose body opens at index `brace`: of the nearest line above that starts in column 0."""
    for line in reversed(lines[:brace]):
        if line and not line[0].isspace():
            found = NAME.search(line)
            return found.group(1) if found else "?"
    return "?"


def functions(text):
    """[(name, first line, lines)] of the functions in the text."""
    lines = blank(text).split("\n")
    found, start = [], None
    for at, line in enumerate(lines):
        if line.rstrip() == "{" and at > 0 and HEAD_END.search(lines[at - 1].rstrip()):
            start = at
        elif line.rstrip() == "}" and start is not None:
            found.append((name_above(lines, start), start + 1, at - start + 1))
            start = None
    return found


def main():
    root = root_argument()
    files = c_files(root, PROGRAM + TESTS)
    faults = []
    for path in files:
        text = read(root, path)
        length = text.count("\n")
        if length > FILE_LINES:
            faults.append(f"{path}:1: {length} lines; {FILE_LINES} are the end: split it by notion")
        for name, line, length in functions(text):
            if length > FUNCTION_LINES:
                faults.append(
                    f"{path}:{line}: {name}() has {length} lines, {FUNCTION_LINES} are the end"
                )
    return report("sizes", faults, len(files))


if __name__ == "__main__":
    sys.exit(main())
