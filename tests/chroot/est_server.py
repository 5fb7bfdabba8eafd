"""
The functional tests' EST server as a program, for tests/chroot/prove:

    est_server.py DIRECTORY HOST

Makes a CA in the directory, leaves its certificate in DIRECTORY/ca.pem and its port on loopback in DIRECTORY/port.
"""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.est_server import EstServer  # noqa: E402
from support.pki import Authority  # noqa: E402


def main():
    directory, host = pathlib.Path(sys.argv[1]), sys.argv[2]
    authority = Authority(directory / "authority")
    server = EstServer(authority, host)
    shutil.copy(authority.root.cert, directory / "ca.pem")
    # Renamed, so that it is whole when it is seen.
    (directory / "port.new").write_text(f"{server.port}\n")
    (directory / "port.new").rename(directory / "port")
    server.thread.join()


if __name__ == "__main__":
    main()
