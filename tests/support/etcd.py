"""A real etcd (Debian's etcd-server) for a test: its own data, two ports; can be stopped and started again."""

import base64
import json
import time
import urllib.error
import urllib.request

from support import daemons
from support.certferry import PATIENCE


def text64(text):
    return base64.b64encode(text.encode()).decode()


class Etcd:
    """Runs after construction. `options`: of the program. `tls`: a context of ssl, when it serves https."""

    def __init__(self, directory, *options, tls=None):
        self.directory = directory
        self.options = options
        self.tls = tls
        self.token = None
        self._daemon = None
        self._starts = 0
        for _ in range(5):
            self.port, self._peer_port = daemons.unused_port(), daemons.unused_port()
            if self._try_start():
                return
        raise AssertionError(f"etcd does not start: {self._daemon.lines.all()[-20:]}")

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def _try_start(self):
        peer = f"http://127.0.0.1:{self._peer_port}"
        listen = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        self._starts += 1
        self._daemon = daemons.Daemon(
            self.directory / f"run-{self._starts}",
            "etcd",
            "--data-dir", self.directory / "data",
            "--listen-client-urls", listen,
            "--advertise-client-urls", listen,
            "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}",
            *self.options,
        )  # fmt: skip
        return self._wait_ready()

    def _wait_ready(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._daemon.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/version", timeout=2, context=self.tls):
                    pass
            except urllib.error.HTTPError:
                return True
            except OSError:
                continue
            return self._daemon.process.poll() is None
        return False

    def start(self):
        """Once more, with its data, on its port."""
        assert self._try_start(), self._daemon.lines.all()[-20:]

    def stop(self):
        self._daemon.close()

    def kill(self):
        self._daemon.process.kill()
        self._daemon.process.wait(PATIENCE)

    def call(self, path, **body):
        """One request over the JSON gateway; the answer, or raises urllib.error.HTTPError."""
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode())
        if self.token:
            request.add_header("Authorization", self.token)
        with urllib.request.urlopen(request, timeout=PATIENCE, context=self.tls) as answer:
            return json.load(answer)

    def log_in(self, user, password):
        self.token = None
        self.token = self.call("/v3/auth/authenticate", name=user, password=password)["token"]

    def put(self, key, value, lease="0"):
        return self.call("/v3/kv/put", key=text64(key), value=text64(value), lease=lease)

    def delete(self, key):
        return self.call("/v3/kv/deleterange", key=text64(key))

    def keys(self, prefix="/certferry/v1/"):
        """Below a prefix: key -> value, both as text."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self.call("/v3/kv/range", key=text64(prefix), range_end=text64(end))
        pairs = [(kv["key"], kv.get("value", "")) for kv in answer.get("kvs", [])]
        return {base64.b64decode(key).decode(): base64.b64decode(value).decode() for key, value in pairs}

    def describe(self, key):
        """What etcd knows of a key: its revisions, version and lease."""
        return self.call("/v3/kv/range", key=text64(key))["kvs"][0]

    def leases(self):
        return [lease["ID"] for lease in self.call("/v3/lease/leases").get("leases", [])]

    def compact(self):
        revision = self.call("/v3/kv/range", key=text64("x"))["header"]["revision"]
        self.call("/v3/kv/compaction", revision=revision, physical=True)

    def close(self):
        if self._daemon.process.poll() is None:
            self._daemon.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
