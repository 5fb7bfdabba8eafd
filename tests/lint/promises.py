"""
Refuses a threat model (docs/threat-model.md) that says more than the tree holds:

- a promise ("- **P7** ...") that names no test, or whose number does not follow those before it;
- a test that is not there: functional/test_x.py::test_y, unit/<floor>/test_x.c::test_y or fuzz/fuzz_x.c below tests/;
- an item of "Not yet held by a test" ("- **N3** ...") that names one, and so belongs among the promises;
- a key limit.*, timeout.*, queue.* or auth.* of conf/settings.h that has no row in the tables of limits, a row without
  a test or the words "none yet", and a default, an outcome, its status or a metric that the program has otherwise.
"""

import os
import re
import sys

from source import PROGRAM, c_files, read, report, root_argument

PAGE = "docs/threat-model.md"
SETTINGS, OUTCOMES = "conf/settings.h", "proxy/base/outcome.h"
LIMIT_KEYS = ("limit.", "timeout.", "queue.", "auth.")
COLUMNS = ["key", "default", "unit", "over it", "outcome", "metric", "test"]
NO_TEST = "none yet"

ITEM = re.compile(r"^- \*\*([PN])(\d+)\*\*(.*?)(?=^- |^#|^\||\Z)", re.MULTILINE | re.DOTALL)
# What stands in backquotes and looks like a file of the tests.
NAMED = re.compile(r"`(tests/[^`\s]+)`")
TEST = re.compile(r"tests/(?:functional/test_\w+\.py::\w+|unit/\w+/test_\w+\.c::\w+|fuzz/fuzz_\w+\.c)")
ROW = re.compile(r"^\| `([a-z.]+)` \|.*$", re.MULTILINE)
HEADER = re.compile(r"^\| key \|.*$", re.MULTILINE)
# A key or an outcome in its X-macro table, with the two values that the page repeats.
KEY = re.compile(r'\bS\(\s*\w+,\s*"([a-z.]+)",\s*\w+,\s*\w+,\s*"([^"]*)"')
OUTCOME = re.compile(r'\bX\(\s*\w+,\s*"([a-z-]+)",\s*(\d+)')
TOLD = re.compile(r"`([a-z-]+)`(?: (\d{3}))?")
METRIC = re.compile(r"`certferry_(\w+)(?:\{[^}`]*\})?`")


def table(root, path, row):
    """{name: value} of an X-macro table, whose lines end with backslashes."""
    return dict(row.findall(re.sub(r"\\\n", "\n", read(root, path))))


def line_of(page, at):
    return f"{PAGE}:{page.count(chr(10), 0, at) + 1}"


def tests_in(text):
    return [name for name in NAMED.findall(text) if TEST.fullmatch(name)]


def check_test(root, name):
    """What is wrong with the name of a test or of another file of the tests; None if nothing is."""
    path, _, function = name.partition("::")
    if not os.path.isfile(os.path.join(root, path)):
        return f"{path} is not there"
    if not function:
        return None
    definition = r"^def %s\(" if path.endswith(".py") else r"^static (?:void|bool) %s\(void\b"
    if not re.search(definition % re.escape(function), read(root, path), re.MULTILINE):
        return f"{path} has no {function}"
    return None


def check_names(root, page):
    faults = []
    for found in NAMED.finditer(page):
        fault = check_test(root, found.group(1))
        if fault:
            faults.append(f"{line_of(page, found.start())}: {fault}")
    return faults


def check_items(page):
    faults = []
    last = {"P": 0, "N": 0}
    for item in ITEM.finditer(page):
        kind, number, text = item.group(1), int(item.group(2)), item.group(3)
        where = f"{line_of(page, item.start())}: {kind}{number}"
        if number <= last[kind]:
            faults.append(f"{where} stands behind {kind}{last[kind]}")
        last[kind] = number
        if kind == "P" and not tests_in(text):
            faults.append(f"{where} names no test: write the test, or move it to what is not yet held by one")
        if kind == "N" and tests_in(text):
            faults.append(f"{where} names a test: it is a promise")
    if not last["P"]:
        faults.append(f"{PAGE}:1: no promise found")
    return faults


def check_row(where, row, defaults, outcomes, program):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    if len(cells) != len(COLUMNS):
        return [f"{where}: {len(cells)} columns, {len(COLUMNS)} are due: {', '.join(COLUMNS)}"]
    key, default, _, _, told, metric, test = cells
    key = key.strip("`")
    if key not in defaults:
        return [f"{where}: {SETTINGS} has no key {key}"]
    faults = []
    if default != (defaults[key] or "empty"):
        faults.append(f"{where}: the default of {key} is {defaults[key] or 'empty'}")
    for token, status in TOLD.findall(told):
        if token not in outcomes:
            faults.append(f"{where}: {OUTCOMES} has no outcome {token}")
        elif int(outcomes[token]) != int(status or 0):
            faults.append(f"{where}: the status of {token} is {outcomes[token]}")
    faults += [f"{where}: no metric certferry_{name}" for name in METRIC.findall(metric) if name not in program]
    if not tests_in(test) and NO_TEST not in test:
        faults.append(f'{where}: {key} names no test, nor "{NO_TEST}"')
    return faults


def check_limits(root, page):
    """The rows of all tables of keys; those of the four prefixes must be there."""
    defaults, outcomes = table(root, SETTINGS, KEY), table(root, OUTCOMES, OUTCOME)
    due = [key for key in defaults if key.startswith(LIMIT_KEYS)]
    if not due or not outcomes:
        return [f"{SETTINGS}, {OUTCOMES}: nothing found in their tables"]
    program = "\n".join(read(root, path) for path in c_files(root, PROGRAM))
    faults = []
    for header in HEADER.finditer(page):
        if [cell.strip() for cell in header.group(0).strip("|").split("|")] != COLUMNS:
            faults.append(f"{line_of(page, header.start())}: the columns are {', '.join(COLUMNS)}")
    seen = []
    for row in ROW.finditer(page):
        where = line_of(page, row.start())
        if row.group(1) in seen:
            faults.append(f"{where}: {row.group(1)} stands twice")
        seen.append(row.group(1))
        faults += check_row(where, row.group(0), defaults, outcomes, program)
    return faults + [f"{PAGE}:1: no row for {key} in the tables of limits" for key in due if key not in seen]


def main():
    root = root_argument()
    if not os.path.isfile(os.path.join(root, PAGE)):
        return report("promises", [f"{PAGE} is not there"], 1)
    page = read(root, PAGE)
    faults = check_items(page) + check_names(root, page) + check_limits(root, page)
    return report("promises", faults, 1)


if __name__ == "__main__":
    sys.exit(main())
