"""Clients that enroll over and over, each in its own way to the proxies, and what became of it."""

import subprocess
import threading
import time
from dataclasses import dataclass

from support import programs


@dataclass
class Attempt:
    began: float  # seconds, monotonic
    ended: float
    proxy: str  # the last one tried
    fault: str  # "" none

    @property
    def seconds(self):
        return self.ended - self.began


class Enroller:
    """
    Enrolls with curl on `host` until stop(): each time a new connection, TLS handshake and simpleenroll, the
    certificate looked at. `proxies()` gives curl's options for the proxies to try, in order: the next is tried only
    when the connection to one fails, as clients with a list do.
    """

    def __init__(self, name, host, home, server, name_of_server, device, proxies):
        self.name, self.host, self.home = name, host, home
        self.proxies = proxies
        self.attempts = []
        self._arguments = (
            *("--cacert", server.authority.root.cert, "--user", "device:first-password", "--fail", "--max-time", "30"),
            *("--header", "Content-Type: application/pkcs10", "--data-binary", f"@{device.request_base64}"),
            server.url("simpleenroll", name=name_of_server),
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ending.is_set():
            began = time.monotonic()
            proxy, fault = self._enroll()
            self.attempts.append(Attempt(began, time.monotonic(), proxy, fault))

    def _enroll(self):
        fault, proxy = "no proxy to try", ""
        for options in self.proxies():
            proxy = " ".join(options)
            command = ("curl", "--disable", "--silent", "--show-error", *options, *self._arguments)
            done = programs.run(self.home, *self.host.within, *command)
            if done.returncode == 0:
                return proxy, "" if done.stdout.startswith(b"MII") else f"no certificate: {done.stdout[:40]}"
            fault = f"curl {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
            if done.returncode not in (7, 28):  # not connected to the proxy
                break
        return proxy, fault

    def wait(self, more, timeout=60):
        """Until so many more enrollments have been tried."""
        wanted, end = len(self.attempts) + more, time.monotonic() + timeout
        while len(self.attempts) < wanted:
            assert time.monotonic() < end, f"{self.name}: no enrollments: {self.attempts[-3:]}"
            time.sleep(0.02)

    def stop(self):
        self._ending.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def failed(self):
        return [attempt for attempt in self.attempts if attempt.fault]


def longest_gap(enrollers):
    """Seconds in which none of them finished an enrollment, at most."""
    ends = sorted(attempt.ended for enroller in enrollers for attempt in enroller.attempts if not attempt.fault)
    return max((after - before for before, after in zip(ends, ends[1:], strict=False)), default=0.0)


def curl_on(host, home, *arguments):
    """curl's output, or None; nothing but a plain request to a proxy itself."""
    command = ("curl", "--disable", "--silent", "--noproxy", "*", "--max-time", "2", "--fail", *arguments)
    try:
        done = programs.run(home, *host.within, *command)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
