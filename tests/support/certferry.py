"""Runs the real binary for a test: own configuration directory, port 0, its two logs as lists that can be waited on."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

from support import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CERTFERRY_BINARY", str(ROOT / "build/asan/certferry"))
READY = re.compile(r"ready: listening on ([^(]*[^( ])")
SANITIZER_STATUS = 99
REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion ", "assertion failed")
# Nobody is to wait longer than this for a thing that does happen, however busy the machine is.
PATIENCE = 20
# Outcomes of a tunnel that did its work: of a program's two ends one often has octets unread when it closes (the last
# of TLS), and then the kernel sends a reset.
ENDED_WELL = ("ok", "client-reset", "origin-reset")

DEFAULTS = {
    "heartbeatport": "0",
    "listen.addresses": "127.0.0.1",
    "threads": "2",
    "allowed.networks": "127.0.0.0/8",
    "drain.grace": "2s",
    "drain.notice": "0ms",
    "control.socket": "",
}
# The leak checker traces the process at its end. ./test --all runs everything once more without this, confined.
if not os.environ.get("CERTFERRY_CONFINED"):
    DEFAULTS |= {"seccomp": "off", "service.user": "root"}


class NotReady(Exception):
    """The program ended, or said nothing, instead of becoming ready. `status` is None if it still ran."""

    def __init__(self, status, events):
        super().__init__(f"certferry did not become ready: status {status}\n" + "\n".join(events))
        self.status = status
        self.events = events


class Lines:
    """The lines of a pipe, read by a thread of its own; others wait for one that pleases them."""

    def __init__(self, pipe, convert=str):
        self.kept = []
        self.ended = False
        self._convert = convert
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe):
        for raw in pipe:
            line = self._convert(raw.decode(errors="replace").rstrip("\n"))
            with self._changed:
                self.kept.append(line)
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def all(self):
        with self._changed:
            return list(self.kept)

    def wait(self, pleases, timeout, start=0):
        """The first line from index `start` that pleases; None when the time is over or the pipe has ended."""
        at, found = start, None

        def look():
            nonlocal at, found
            while found is None and at < len(self.kept):
                found = self.kept[at] if pleases(self.kept[at]) else None
                at += 1
            return found is not None or self.ended

        with self._changed:
            self._changed.wait_for(look, timeout)
        return found

    def join(self):
        self._thread.join(PATIENCE)


def parse_access(line):
    """A line that is no JSON must fail the test that reads it, not the thread."""
    try:
        return json.loads(line)
    except ValueError:
        return {"not_json": line}


class Certferry:
    """
    Starts with construction and is ready then, or raises NotReady. `settings`: keys over DEFAULTS, all in
    webserver.properties; a value of None leaves the key out, so that the program's own default rules. `within`: words
    that run a command somewhere else, such as another host. `pass_fds`: descriptors that it inherits. `roles`: the
    text of roles.properties.
    """

    command = "serve"

    def __init__(
        self, directory, settings=None, args=(), binary=BINARY, within=(), pass_fds=(), roles=None, **variables
    ):
        self.directory = pathlib.Path(directory)
        self.settings = DEFAULTS | (settings or {})
        self.roles = roles
        self.status = None
        self.killed = False
        self._held = None
        self._write()
        self.process = subprocess.Popen(
            [*within, binary, self.command, "--conf", str(self.directory / "conf"), *map(str, args)],
            cwd=self.directory,
            env=programs.environment(self.directory, **(programs.sanitizer_options(SANITIZER_STATUS) | variables)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self._access = Lines(self.process.stdout, parse_access)
        self._events = Lines(self.process.stderr)
        ready = self._events.wait(READY.search, PATIENCE)
        if ready is None:
            self._refuse_start()
        self.listeners = READY.search(ready).group(1).split(", ")
        self.address, _, port = self.listeners[0].rpartition(":")
        # {"tls": port, ...}: the front doors that are open, of several listeners of one kind the last.
        words = [listener.split() for listener in self.listeners]
        self.doors = {word[0]: int(word[1].rpartition(":")[2]) for word in words if len(word) == 2}
        self.port = int(port)
        self.url = f"http://{self.address}:{self.port}"

    def _refuse_start(self):
        if self.process.poll() is None and not self._events.ended:
            self.kill()
            raise NotReady(None, self.events())
        self.status = self.process.wait(PATIENCE)
        self._events.join()
        raise NotReady(self.status, self.events())

    def _write(self):
        conf = self.directory / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        given = {key: value for key, value in self.settings.items() if value is not None}
        escaped = {key: str(value).replace("\\", "\\\\").replace("\n", "\\n") for key, value in given.items()}
        # Aside and renamed: a SIGHUP may come at any moment.
        (conf / "new").write_text("".join(f"{key}={value}\n" for key, value in escaped.items()))
        (conf / "new").rename(conf / "webserver.properties")
        for name in ("useproxy.properties", "failover.properties"):
            (conf / name).touch()
        if self.roles is not None:
            (conf / "roles.properties").write_text(self.roles)

    def log(self):
        """The access log so far, one dict for each line."""
        lines = self._access.all()
        assert not [line for line in lines if "not_json" in line], lines
        return lines

    def wait_log(self, predicate, timeout=PATIENCE):
        """The first access-log line, old or new, for which predicate(line) is true."""
        found = self._access.wait(predicate, timeout)
        assert found is not None, f"no such access-log line; there were:\n{self._transcript()}"
        return found

    def events(self):
        """The operational log so far: lines of standard error."""
        return self._events.all()

    def wait_event(self, pattern, timeout=PATIENCE, start=0):
        """The first line of standard error, from index `start` on, that the regular expression finds."""
        found = self._events.wait(re.compile(pattern).search, timeout, start)
        assert found is not None, f"no event {pattern!r}; there were:\n{self._transcript()}"
        return found

    def reload(self, settings):
        """Changes these keys (None takes one out), sends SIGHUP; the event line that tells how it went."""
        self.settings |= settings
        self._write()
        before = len(self.events())
        self.process.send_signal(signal.SIGHUP)
        return self.wait_event("reloaded|reload refused", start=before)

    def terminate(self):
        """Only asks to end; stop() waits."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout=PATIENCE):
        """SIGTERM, unless it has ended already; its exit status."""
        if self.status is None:
            if self.process.poll() is None:
                self.terminate()
            self.status = self.wait(timeout)
        return self.status

    def wait(self, timeout=PATIENCE):
        """Waits for it to end by itself; its exit status, all its lines read."""
        try:
            self.status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"certferry did not end within {timeout} s:\n{self._transcript()}") from None
        self._access.join()
        self._events.join()
        self._hold_port()
        return self.status

    def _hold_port(self):
        """Nobody listens on our port now, and no server of another test gets it: a client must find it refused."""
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            self._held.bind(("127.0.0.1", self.port))

    def release_port(self):
        if self._held is not None:
            self._held.close()

    def kill(self):
        """SIGKILL: afterwards nothing is asked of its exit status."""
        self.killed = True
        self.process.kill()
        self.status = self.process.wait(PATIENCE)
        self._access.join()
        self._events.join()

    def memory_kib(self):
        """Resident memory, as the kernel counts it."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE).group(1))

    def descriptors(self):
        """Number of open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def fault(self):
        """Why this run must fail its test: crash, sanitizer report, wrong exit status; None if all is well."""
        reported = [line for line in self.events() if any(word in line for word in REPORTS)]
        if reported:
            return f"certferry reported a fault:\n{self._transcript()}"
        if self.killed or self.status == 0:
            return None
        return f"certferry ended with status {self.status} instead of 0:\n{self._transcript()}"

    def _transcript(self):
        return "\n".join([*self.events(), *(json.dumps(line) for line in self._access.all())])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.stop()
        finally:
            if kind is None:
                assert self.fault() is None, self.fault()


def stop_all(proxies):
    """SIGTERM for all that still run, then waits: what each takes to leave, it takes beside the others."""
    for proxy in proxies:
        if proxy.status is None and proxy.process.poll() is None:
            proxy.terminate()
    for proxy in proxies:
        if proxy.status is None:
            proxy.wait()
    for proxy in proxies:
        proxy.release_port()
