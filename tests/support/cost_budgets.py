"""
What each operation may cost (tests/cost/budgets.txt): a line for each operation and count, a column for each Debian
release, since compilers and libraries differ.
"""

import pathlib
import re

BUDGETS = pathlib.Path(__file__).resolve().parents[1] / "cost/budgets.txt"
OS_RELEASE = pathlib.Path("/etc/os-release")
INSTRUCTIONS = "instructions"
# Instructions: as a part of the budget. Calls: of each name, for one operation.
TOLERANCE, CALLS_TOLERANCE = 0.05, 0.1
NONE = "-"
SET = "tests/cost/run --set"


def release():
    """VERSION_CODENAME of this Debian."""
    text = OS_RELEASE.read_text() if OS_RELEASE.exists() else ""
    found = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.MULTILINE)
    return found[1] if found else "unknown"


def load(path=BUDGETS):
    """{release: {(operation, count): budget}}; a release that has no column is not there."""
    rows = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    (_, _, *releases), *rows = rows
    columns = {name: {} for name in releases}
    for operation, count, *budgets in rows:
        for name, budget in zip(releases, budgets, strict=True):
            if budget != NONE:
                columns[name][operation, count] = float(budget)
    return columns


def counted(costs):
    """{(operation, count): value} of what was measured."""
    values = {}
    for operation, cost in costs.items():
        values[operation, INSTRUCTIONS] = cost.instructions
        values |= {(operation, name): n for name, n in cost.calls.items()}
    return values


def judge(budget, values):
    """
    (too dear, cheaper than the budget by more than the tolerance), a line of text each. What has no budget may not be
    there; what is there no more is cheaper.
    """
    dear, cheap = [], []
    for key in sorted(budget.keys() | values.keys()):
        allowed, value = budget.get(key, 0), values.get(key, 0)
        slack = allowed * TOLERANCE if key[1] == INSTRUCTIONS else CALLS_TOLERANCE
        line = f"{key[0]}: {shown(value)} {key[1]} for one operation, the budget is {shown(allowed)}"
        if value > allowed + slack:
            dear.append(line)
        elif value < allowed - slack:
            cheap.append(line)
    return dear, cheap


def store(name, values, path=BUDGETS):
    """Writes these values as the column of a release. Those of the others stay."""
    columns = load(path)
    # Calls are whole, but for what timers bring now and then, which is in the tolerance.
    kept = {key: round(value) for key, value in values.items()}
    columns[name] = {key: value for key, value in kept.items() if value > 0}
    keys = sorted({key for column in columns.values() for key in column}, key=order)
    table = [("operation", "count", *columns)]
    for key in keys:
        table.append((*key, *(shown(column[key]) if key in column else NONE for column in columns.values())))
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    path.write_text("\n".join([*comments, "", *lines]) + "\n")


def order(key):
    """Operations in the order of their names, instructions before calls."""
    return key[0], key[1] != INSTRUCTIONS, key[1]


def shown(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 100 else f"{value:.0f}"
