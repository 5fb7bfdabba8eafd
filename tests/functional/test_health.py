"""
Members that look at each other: one that dies, falls silent or answers nonsense is listed last, one that drains is
listed nowhere; both come back. And a proxy that finds no way out says so itself.
"""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import socket
import tempfile
import threading
import time

import pytest
from support import programs
from support.certferry import PATIENCE, NotReady
from support.daemons import unused_port
from support.origins import echo, pages
from support.raw_http import Client
from support.tunnels import open_tunnel, read_exactly

NAME = "ca.enroll.test"
QUICK = {"probe.interval": "150ms", "probe.timeout": "1s", "probe.rise": "2", "probe.fall": "2"}


class Site:
    """Three members, each of whom knows the others from its file."""

    def __init__(self, certferry, settings):
        self.ports = [unused_port() for _ in range(3)]
        self._start, self._settings = certferry, settings
        self.members = [self.start(i) for i in range(3)]

    def start(self, i, changes=None):
        own = {
            "heartbeatport": self.ports[i],
            "advertise.host": "127.0.0.1",
            "peers": ",".join(f"http://127.0.0.1:{port}" for port in self.ports),
        }
        return self._start(self._settings | QUICK | own | (changes or {}))

    def restart(self, i):
        self.members[i].release_port()
        self.members[i] = self.start(i)

    def states(self, i):
        """{port: state} as member i tells, in the order of its preference."""
        members = self.document(i)["vendor-certferry"]["members"]
        return {int(member["identifier"].rpartition(":")[2]): member["state"] for member in members}

    def offered(self, i):
        """Ports of those to whom member i sends its clients, the best first."""
        return [int(name.rpartition(":")[2]) for name in self.document(i)["proxy-match"][0]["proxies"]]

    def document(self, i):
        with Client(self.members[i]) as client:
            return json.loads(client.fetch("/.well-known/pvd", "Host: a").body)

    def wait(self, i, j, state):
        """Until member i tells this of member j."""
        deadline = time.monotonic() + PATIENCE
        while self.states(i).get(self.ports[j]) != state:
            assert time.monotonic() < deadline, (state, self.document(i))
            time.sleep(0.02)

    def wait_all_up(self):
        for i in range(3):
            for j in range(3):
                self.wait(i, j, "up")


@pytest.fixture
def site(certferry, enroll_settings):
    made = Site(certferry, enroll_settings | {"threads": "1"})
    made.wait_all_up()
    return made


def fetch(proxy, target):
    with Client(proxy) as client:
        return client.fetch(target, "Host: a")


def end(proxy):
    """Without a drain.notice."""
    proxy.terminate()
    proxy.terminate()
    assert proxy.wait() == 0


def test_killed(site):
    """Last, not out: others may reach it. Restarted, it is where it was."""
    site.members[2].kill()
    for i in (0, 1):
        site.wait(i, 2, "down")
        assert site.offered(i)[2] == site.ports[2]
        assert site.states(i)[site.ports[1 - i]] == "up"
        site.members[i].wait_event(rf"peer http://127\.0\.0\.1:{site.ports[2]} is down")
    site.restart(2)
    for i in (0, 1):
        site.wait(i, 2, "up")
        site.members[i].wait_event(rf"peer http://127\.0\.0\.1:{site.ports[2]} is up", start=len(site.members[i].events()) - 1)


def test_silent(site):
    """It still has its listener, so that connections are made; nobody answers on them."""
    site.members[2].process.send_signal(signal.SIGSTOP)
    try:
        for i in (0, 1):
            site.wait(i, 2, "down")
            assert site.offered(i)[2] == site.ports[2]
    finally:
        site.members[2].process.send_signal(signal.SIGCONT)
    site.wait_all_up()


def test_stopped_itself_it_is_not_misled(site):
    """While we stood still our own questions ran out of time; that alone makes nobody down."""
    asker = site.members[0]
    assert "reloaded" in asker.reload({"probe.fall": "3"})
    before = len(asker.events())
    for _ in range(2):
        asker.process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # longer than probe.timeout: this is what is to be survived
        asker.process.send_signal(signal.SIGCONT)
        assert fetch(asker, "/healthz").status == 200
    asked = [len(site.members[j].log()) for j in (1, 2)]
    deadline = time.monotonic() + PATIENCE
    while any(len(site.members[j].log()) < asked[j - 1] + 8 for j in (1, 2)):  # and goes on asking
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not [line for line in asker.events()[before:] if "is down" in line]


def test_draining(site, origin):
    """Its peers send nobody there any more, at once; what goes through it goes on."""
    server = origin(echo)
    drained = site.members[2]
    assert "reloaded" in drained.reload({"drain.notice": "10m", "drain.grace": "1h", "tunnel.sni": "off"})
    with open_tunnel(drained, NAME, server.port) as tunnel:
        drained.terminate()
        drained.wait_event("not ready any more")
        for i in (0, 1):
            site.wait(i, 2, "draining")
            assert site.ports[2] not in site.offered(i)
            site.members[i].wait_event(rf"peer http://127\.0\.0\.1:{site.ports[2]} leaves")
        assert site.states(2)[site.ports[2]] == "draining", "it says so itself"
        tunnel.sendall(b"x")
        assert read_exactly(tunnel, 1) == b"x"
        drained.terminate()
    assert drained.wait() == 0
    for i in (0, 1):
        site.wait(i, 2, "down")
    site.restart(2)
    site.wait_all_up()


def test_pac_follows(site):
    site.members[1].kill()
    site.wait(0, 1, "down")
    first, second, third = site.ports
    expected = f"PROXY 127.0.0.1:{first}; PROXY 127.0.0.1:{third}; PROXY 127.0.0.1:{second}"
    assert expected.encode() in fetch(site.members[0], "/proxy.pac").body


def test_rolling_restart(site, http_origin):
    """One after the other drains and comes again; somebody always serves."""
    web = http_origin(pages({"/": b"ok"}))
    for i in range(3):
        assert site.members[i].stop() == 0
        for j in range(3):
            if j != i:
                with Client(site.members[j]) as client:
                    assert client.fetch(f"http://{NAME}:{web.port}/").body == b"ok"
        site.restart(i)
        site.wait_all_up()


# A peer that is no good one.


def serve(script):
    """A peer whose connections are all `script`'s: its port, the connections so far, and how to end it."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                taken.append(sock)
                threading.Thread(target=run, args=(sock,), daemon=True).start()

    def run(sock):
        with contextlib.suppress(OSError):
            sock.recv(65536)
            script(sock)

    threading.Thread(target=accept, daemon=True).start()

    def close():
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in taken:
            sock.close()

    return listener.getsockname()[1], taken, close


def trickle(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        sock.sendall(b"x")
        time.sleep(0.05)


def flood(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"x" * 65536)


def say(octets, keep=False):
    def script(sock):
        sock.sendall(octets)
        if keep:
            sock.recv(1)
        sock.close()

    return script


BAD = {
    "200-and-nothing": say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", keep=True),
    "half-a-head": say(b"HTTP/1.1 200 OK\r\nContent-Le", keep=True),
    "cut-body": say(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nready\n"),
    "trickle": trickle,
    "flood": flood,
    "endless-head": say(b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 2_000_000),
    "garbage": say(bytes(range(256)) * 16),
    "tls-alert": say(b"\x15\x03\x03\x00\x02\x02\x28"),
    "reset": lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0") or sock.close(),
    "redirect": say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "not-found": say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    "not-ready": say(b"HTTP/1.1 503 x\r\nContent-Length: 22\r\n\r\nnot ready: no way out\n"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_peer(certferry, enroll_settings, kind):
    """It is down, in bounded time and memory; nothing else suffers."""
    port, taken, close = serve(BAD[kind])
    proxy = certferry(
        enroll_settings
        | QUICK
        | {"threads": "1", "probe.timeout": "400ms", "peers": f"http://127.0.0.1:{port}", "advertise.host": "127.0.0.1"}
    )
    proxy.wait_event(rf"peer http://127\.0\.0\.1:{port} is down")
    deadline = time.monotonic() + PATIENCE
    while '"state": "down"' not in json.dumps(json.loads(fetch(proxy, "/.well-known/pvd").body)):
        assert time.monotonic() < deadline
    memory, asked = proxy.memory_kib(), len(taken)
    while len(taken) < asked + 5:
        assert fetch(proxy, "/readyz").status == 200
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert proxy.memory_kib() < memory + 50_000
    assert len([line for line in proxy.events() if "is down" in line]) == 1, "told once"
    close()
    assert proxy.stop() == 0


def test_bad_then_good(certferry, enroll_settings):
    """Up only after probe.rise good answers in a row."""
    answers = iter("bb" + "gb" * 3 + "ggg" * 1000)
    counted = []

    def script(sock):
        letter = next(answers)
        counted.append(letter)
        good = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n"
        sock.sendall(good if letter == "g" else b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
        sock.close()

    port, _, close = serve(script)
    proxy = certferry(enroll_settings | QUICK | {"peers": f"http://127.0.0.1:{port}", "probe.interval": "100ms"})
    proxy.wait_event(rf"peer http://127\.0\.0\.1:{port} is down")
    proxy.wait_event(rf"peer http://127\.0\.0\.1:{port} is up")
    assert len(counted) >= 10, counted
    close()


@pytest.fixture
def root(authority):
    """The CA's certificate where the service user may read it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="certferry-"))
    path.chmod(0o755)
    (path / "root.pem").write_bytes(authority.root.cert.read_bytes())
    yield path / "root.pem"
    shutil.rmtree(path)


def test_peer_over_tls(certferry, enroll_settings, authority, http_origin, root):
    """https:// members are asked over TLS, and their certificate counts."""
    good = http_origin(pages({"/readyz": b"ready\n"}), certificate=authority.server("localhost", "127.0.0.1"))
    settings = enroll_settings | QUICK | {"probe.timeout": "30s", "peers": f"https://127.0.0.1:{good.port}"}
    proxy = certferry(settings | {"probe.ca": root})
    proxy.wait_event(rf"peer https://127\.0\.0\.1:{good.port} is up")
    assert "reloaded" in proxy.reload({"probe.ca": ""})
    proxy.wait_event(rf"peer https://127\.0\.0\.1:{good.port} is down.*certificate")


@pytest.mark.parametrize("path, told", [("ca.pem", "no full path"), ("/nowhere/ca.pem", "No such file")])
def test_ca_that_cannot_be(certferry, enroll_settings, path, told):
    with pytest.raises(NotReady) as caught:
        certferry(enroll_settings | {"probe.ca": path})
    assert any("probe.ca" in line and told in line for line in caught.value.events)


# Our own readiness.


@pytest.fixture
def cut_off(certferry, enroll_settings, dns):
    """Factory: cut_off() -> a proxy whose name servers have fallen silent, so that it reaches nobody."""

    def make(before=lambda proxy: None):
        quick = {"resolver.timeout": "300ms", "resolver.cache.max": "0ms", "resolver.cache.failure": "0ms"}
        proxy = certferry(enroll_settings | quick | {"limit.upstream.idle": "0"})
        before(proxy)
        dns.mode = "silence"
        return proxy

    return make


def ask_until(proxy, port, hosts, ready):
    """A client that asks these again and again, until /readyz is as it should be."""
    deadline = time.monotonic() + 60
    while (fetch(proxy, "/readyz").status == 200) != ready:
        for host in hosts:
            with Client(proxy) as client:
                client.fetch(f"http://{host}:{port}/")
        assert time.monotonic() < deadline, proxy.events()


def test_no_way_out(cut_off, dns, http_origin):
    """Said by /readyz and the log, while everything else is served; and taken back without any client's help."""
    web = http_origin(pages({"/": b"ok"}))

    def works(proxy):
        assert fetch(proxy, f"http://{NAME}:{web.port}/").status == 200

    proxy = cut_off(works)
    began = time.monotonic()
    ask_until(proxy, web.port, [NAME], ready=False)
    assert time.monotonic() - began > 9, "a short trouble is nobody's business"
    answer = fetch(proxy, "/readyz")
    assert answer.status == 503 and b"no way out" in answer.body
    proxy.wait_event(r"warning: no way out: .* ca\.enroll\.test port \d+: dns-timeout")
    assert re.search(rb"^certferry_ready 0$", fetch(proxy, "/metrics").body, re.MULTILINE)
    assert fetch(proxy, "/healthz").status == 200
    deadline = time.monotonic() + PATIENCE  # its own document says it, as soon as the worker has the new roster
    while b'"state":"down"' not in fetch(proxy, "/.well-known/pvd").body.replace(b" ", b""):
        assert time.monotonic() < deadline
    assert fetch(proxy, f"http://{NAME}:{web.port}/").status == 504, "still tried for whoever asks"
    dns.mode = "answer"
    proxy.wait_event("there is a way out again")
    assert fetch(proxy, "/readyz").status == 200
    assert len([line for line in proxy.events() if "no way out" in line]) == 1
    end(proxy)


def test_one_client_with_dead_hosts_proves_nothing(certferry, enroll_settings, dns, http_origin, home):
    """An attacker asks for allowed hosts that he knows to be dead; one that has worked is asked first, and works."""
    web = http_origin(pages({"/": b"ok"}))
    quick = {"resolver.timeout": "300ms", "resolver.cache.failure": "0ms", "resolver.cache.max": "0ms"}
    proxy = certferry(enroll_settings | quick)
    assert fetch(proxy, f"http://{NAME}:{web.port}/").status == 200
    dns.modes |= {"dead1.enroll.test": "silence", "dead2.enroll.test": "silence"}
    asked = dns.count(NAME)
    deadline = time.monotonic() + 60
    while dns.count(NAME) == asked:  # until our own check goes there
        assert fetch(proxy, "/readyz").status == 200
        for host in ("dead1.enroll.test", "dead2.enroll.test"):
            assert fetch(proxy, f"http://{host}:{web.port}/").status == 504
        assert time.monotonic() < deadline
    assert fetch(proxy, "/readyz").status == 200
    assert not [line for line in proxy.events() if "no way out" in line]


def test_peers_list_one_without_a_way_out_last(certferry, cut_off, enroll_settings, dns, http_origin):
    web = http_origin(pages({"/": b"ok"}))
    lost = cut_off()
    seer = certferry(enroll_settings | QUICK | {"peers": lost.url})
    seer.wait_event("is up")
    ask_until(lost, web.port, [NAME, "other.enroll.test"], ready=False)
    seer.wait_event(r"is down.*it answers 503: not ready: no way out")
    dns.mode = "answer"
    before = len(seer.events())
    seer.wait_event("is up", start=before)
