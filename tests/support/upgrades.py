"""Load that lasts over several processes of the proxy, and listening sockets that outlive them."""

import array
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from support import programs
from support.certferry import PATIENCE, ROOT
from support.raw_http import Client
from support.tunnels import open_tunnel, read_exactly

WORD = b"the whole way and back"


TAKEOVER = ("--takeover",)


@contextlib.contextmanager
def open_place():
    """A directory in which the service user may make its socket."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="certferry-"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def place_settings(place):
    """Keys of those that take over from each other by the socket there; their tunnels have all the time they want."""
    return {"tunnel.sni": "off", "control.socket": place / "sock", "drain.grace": "1h"}


class Load:
    """
    Clients that use the proxy at `proxy.port` without a pause until stop(), each time with a new connection: for a
    tunnel, a plain GET, to ask whether it is ready, or for one of `more`, which are functions. `failures` has whatever
    was not served in full.
    """

    def __init__(self, proxy, name, tunnel_port, web_port, clients=12, ready=True, more=()):
        self.failures = []
        self._proxy, self._name = proxy, name
        self._tunnel_port, self._web_port = tunnel_port, web_port
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self._served = 0
        turns = (self._use_tunnel, self._fetch, *([self._ask_ready] if ready else []), *more)
        self._threads = [
            threading.Thread(target=self._run, args=(turns[i % len(turns)],), daemon=True) for i in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _use_tunnel(self):
        with open_tunnel(self._proxy, self._name, self._tunnel_port) as tunnel:
            tunnel.sendall(WORD)
            assert read_exactly(tunnel, len(WORD)) == WORD

    def _fetch(self):
        with Client(self._proxy) as client:
            answer = client.fetch(f"http://{self._name}:{self._web_port}/")
            assert (answer.status, answer.body) == (200, b"ok"), answer

    def _ask_ready(self):
        with Client(self._proxy) as client:
            answer = client.fetch("/readyz", "Host: a")
            assert answer.status == 200, answer

    def _run(self, turn):
        while not self._ending.is_set():
            begun = time.monotonic()
            try:
                turn()
            except (OSError, EOFError, AssertionError, ValueError, IndexError, RuntimeError) as error:
                self.failures.append((turn.__name__, time.monotonic() - begun, repr(error)))
            with self._changed:
                self._served += 1
                self._changed.notify_all()

    def wait(self, more):
        """Until so many more connections have come to their end."""
        with self._changed:
            wanted = self._served + more
            assert self._changed.wait_for(lambda: self._served >= wanted, PATIENCE), "the load stands still"

    def served(self):
        with self._changed:
            return self._served

    def stop(self):
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def listening(address="127.0.0.1", port=0, reuse_port=False, backlog=4096):
    """A socket as a socket unit makes it: blocking, kept open by the manager."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    sock.listen(backlog)
    return sock


def activated(*sockets):
    """How a Certferry is started that gets these: (name, anything with fileno()) each."""
    words = ",".join(f"{name}={one.fileno()}" for name, one in sockets)
    activator = str(ROOT / "tests/support/activate.py")
    return {
        "within": (sys.executable, "-B", activator, words),
        "pass_fds": tuple(one.fileno() for _, one in sockets),
    }


def ask_listeners(path):
    """What another process does that takes over: the connection, and the descriptors that came."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    connection.sendall(b"listeners\n")
    text, fds = b"", array.array("i")
    while not text.endswith(b".\n"):
        data, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(128 * fds.itemsize))
        if not data:
            break
        text += data
        for level, kind, more in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(more)
    return connection, text.decode(), [socket.socket(fileno=fd) for fd in fds]


@contextlib.contextmanager
def played_old_one(path, text, *sockets):
    """Somebody who listens at `path`, gives the first who asks these sockets, and is killed before it hears more."""

    def give():
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b"listeners\n"
            socket.send_fds(connection, [text], [sock.fileno() for sock in sockets])

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=give)
        thread.start()
        try:
            yield
        finally:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "nobody asked"


@contextlib.contextmanager
def half_a_successor(path):
    """A process that has got the sockets of who listens at `path`, and never says that it is ready."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        f"from support.upgrades import ask_listeners; kept = ask_listeners({str(path)!r})\n"
        "print(len(kept[2]), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-B", "-c", script]
    environment = programs.environment(os.path.dirname(path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert int(process.stdout.readline()) > 0
        yield process
        process.kill()


@contextlib.contextmanager
def all_closed(sockets):
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        yield sockets
