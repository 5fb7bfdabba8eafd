"""Every C file is what clang-format 14 makes of it with the tree's .clang-format."""

import subprocess
import sys

from source import PROGRAM, TESTS, c_files, report


def differs(root, tool, path):
    command = [tool, "--dry-run", "-Werror", "--style=file", path]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    return done.returncode != 0


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SOURCE-DIR CLANG-FORMAT")
    root, tool = sys.argv[1:]
    files = c_files(root, PROGRAM + TESTS)
    faults = [
        f"{path}:1: not formatted: clang-format -i {path}"
        for path in files
        if differs(root, tool, path)
    ]
    return report("format", faults, len(files))


if __name__ == "__main__":
    sys.exit(main())
