"""Prints "passed failed skipped" summed over JUnit files (of ctest and of pytest): tests/tally.py FILE..."""

import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """What became of one <testcase>: ctest and pytest agree on these elements."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None:
        return "skipped"
    return "passed"


def main():
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            count[outcome(case)] += 1
    print(count["passed"], count["failed"], count["skipped"])


if __name__ == "__main__":
    main()
