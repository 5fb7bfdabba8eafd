"""Many tunnels at once, slow ends, reload and shutdown while octets flow: nothing is lost, memory stays bounded."""

import contextlib
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest
from support import programs
from support.origins import echo
from support.tunnels import Refused, connect, open_tunnel, read_exactly, read_to_end

NAME = "ca.enroll.test"
MIB = 1024 * 1024
TRANSFER = pathlib.Path(__file__).resolve().parents[1] / "support/transfer.py"


@pytest.fixture
def raw_proxy(certferry, enroll_settings):
    return certferry(enroll_settings | {"tunnel.sni": "off", "limit.connections.per.client": "0"})


class Side:
    """A process of support/transfer.py."""

    def __init__(self, home, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(TRANSFER), *map(str, arguments)],
            env=programs.environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().strip()

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def results(self):
        """{tunnel's number: its result}"""
        out, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0
        return {result["tunnel"]: result for result in json.loads(out)}

    def close(self):
        self.process.kill()
        self.process.communicate()


class Transfer:
    """`tunnels` tunnels through the proxy, open and ready; two processes at each end have half of them each."""

    def __init__(self, home, proxy, tunnels, size, certificate=None, trust=None):
        half = tunnels // 2
        self.tunnels, self.size = tunnels, size
        secured = (certificate.cert, certificate.key) if certificate else ()
        trusted = (trust,) if trust else ()
        self.origins = [Side(home, "origin", half, size, *secured) for _ in range(2)]
        ports = [side.line().removeprefix("port ") for side in self.origins]
        common = ("client", half, size)
        self.clients = [
            Side(home, *common, at * half, proxy.port, NAME, port, *trusted) for at, port in enumerate(ports)
        ]
        for side in self.clients:
            assert side.line() == "open"

    def start(self):
        for side in self.clients:
            side.go()

    def check(self):
        """Every octet arrived, in its own tunnel and nowhere else."""
        sent = self.clients[0].results() | self.clients[1].results()
        came = self.origins[0].results() | self.origins[1].results()
        assert sorted(sent) == sorted(came) == list(range(self.tunnels))
        for number, client in sent.items():
            origin = came[number]
            assert (client["octets"], client["received"]) == (self.size, origin["sent"]), f"down, tunnel {number}"
            assert (origin["octets"], origin["received"]) == (self.size, client["sent"]), f"up, tunnel {number}"
        assert len({end["sent"] for end in [*sent.values(), *came.values()]}) == 2 * self.tunnels

    def close(self):
        for side in [*self.clients, *self.origins]:
            side.close()


@pytest.fixture
def transfer(home):
    """Factory of Transfer; its processes are gone at the end."""
    made = []

    def start(*how, **more):
        made.append(Transfer(home, *how, **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_64_tunnels_of_16_mib_each_way(certferry, enroll_settings, authority, transfer):
    """After a real TLS handshake, so with the gate as it is by default."""
    proxy = certferry(enroll_settings | {"limit.connections.per.client": "0"})
    before = proxy.memory_kib()
    running = transfer(proxy, 64, 16 * MIB, certificate=authority.server(NAME), trust=authority.root.cert)
    running.start()
    running.check()
    # 64 tunnels may hold limit.tunnel.buffer (64 KiB) each way: 8 MiB; the rest is room for a sanitizer's bookkeeping.
    assert proxy.memory_kib() - before < 64 * 1024
    proxy.wait_log(lambda _: len(proxy.log()) == 64)
    assert {line["outcome"] for line in proxy.log()} == {"ok"}
    assert min(min(line["bytes_up"], line["bytes_down"]) for line in proxy.log()) > 16 * MIB
    assert {line["sni"] for line in proxy.log()} == {NAME}
    assert len({line["worker"] for line in proxy.log()}) == 2


def test_64_tunnels_without_the_gate(raw_proxy, transfer):
    running = transfer(raw_proxy, 64, 2 * MIB)
    running.start()
    running.check()


def test_reload_during_transfers_drops_nothing(raw_proxy, transfer):
    running = transfer(raw_proxy, 16, 16 * MIB)
    running.start()
    for round_number in range(5):
        assert "reloaded" in raw_proxy.reload({"timeout.connect": f"{round_number + 5}s"})
    assert "refused" in raw_proxy.reload({"timeout.connect": "soon"})
    running.check()
    assert {line["outcome"] for line in raw_proxy.log()} == {"ok"}


def assert_served(sock):
    """The tunnel to an echo is open."""
    sock.sendall(b"still here")
    assert read_exactly(sock, 10) == b"still here"


def test_tunnel_survives_a_reload_that_forbids_it(raw_proxy, origin):
    server = origin(echo)
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        assert "reloaded" in raw_proxy.reload({"allowed.domains": "elsewhere.test"})
        with pytest.raises(Refused) as refused:
            open_tunnel(raw_proxy, NAME, server.port)
        assert refused.value.status == 403
        assert_served(sock)


def test_bad_reload_leaves_everything_as_it_was(raw_proxy, origin):
    server = origin(echo)
    before = len(raw_proxy.events())
    assert "reload refused" in raw_proxy.reload({"allowed.domains": "elsewhere.test", "alowed.hosts": "x.test"})
    said = "\n".join(raw_proxy.events()[before:])
    assert "webserver.properties:" in said and "alowed.hosts" in said and "allowed.hosts" in said
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        sock.sendall(b"as before")
        assert read_exactly(sock, 9) == b"as before"


def flood(until_stalled):
    """A script that sends all of MANY; it sets the event once the other side has stopped reading."""

    def script(connection):
        connection.sock.settimeout(1)
        at = 0
        while at < len(MANY):
            try:
                at += connection.sock.send(MANY[at : at + MIB])
            except TimeoutError:
                until_stalled.set()
                connection.sock.settimeout(60)
        until_stalled.set()

    return script


# More than all buffers of the kernel on the way can take.
MANY = random.Random(5).randbytes(48 * MIB)


def test_slow_client_holds_the_origin_back(raw_proxy, origin):
    """What the client does not read stays with the origin: not in the proxy's memory."""
    stalled = [threading.Event() for _ in range(4)]
    servers = [origin(flood(event)) for event in stalled]
    before = raw_proxy.memory_kib()
    socks = [open_tunnel(raw_proxy, NAME, server.port) for server in servers]
    for event in stalled:
        assert event.wait(60)
    assert raw_proxy.memory_kib() - before < 16 * 1024
    for sock, server in zip(socks, servers, strict=True):
        with sock:
            assert not server.connections()[0].done.is_set(), "the origin got rid of everything: nobody held it back"
            assert read_to_end(sock) == MANY
    assert raw_proxy.memory_kib() - before < 16 * 1024


def test_slow_origin_holds_the_client_back(raw_proxy, origin):
    begin = threading.Event()

    def slow(connection):
        begin.wait(60)
        for _ in iter(connection.recv, b""):
            pass

    server = origin(slow)
    before = raw_proxy.memory_kib()
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        sock.settimeout(1)
        at = 0
        with pytest.raises(TimeoutError):
            while at < len(MANY):
                at += sock.send(MANY[at : at + MIB])
        assert raw_proxy.memory_kib() - before < 16 * 1024
        begin.set()
        sock.settimeout(60)
        sock.sendall(MANY[at:])
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    assert server.wait_done().received == MANY


def test_one_stalled_tunnel_does_not_hold_up_others(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "threads": "1"})
    stalled = threading.Event()
    flooding, echoing = origin(flood(stalled)), origin(echo)
    with open_tunnel(proxy, NAME, flooding.port), open_tunnel(proxy, NAME, echoing.port) as sock:
        assert stalled.wait(60)
        for number in range(100):
            sock.sendall(b"%03d" % number)
            assert read_exactly(sock, 3) == b"%03d" % number


def wait_refusal(proxy):
    """
    Until a connection is refused. One that is taken by a worker which has not heard of the drain yet ends without an
    answer as soon as it has.
    """
    while True:
        try:
            with connect(proxy) as sock, contextlib.suppress(ConnectionResetError):
                assert read_to_end(sock) == b""
        except ConnectionRefusedError:
            return


def test_sigterm_lets_tunnels_end(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "drain.grace": "1h"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock, connect(proxy) as idle:
        proxy.terminate()
        proxy.wait_event("draining")
        # A connection without a request ends at once.
        assert read_to_end(idle) == b""
        wait_refusal(proxy)
        assert_served(sock)
        assert proxy.process.poll() is None
    assert proxy.wait() == 0
    assert [line["outcome"] for line in proxy.log()] == ["ok"]


def test_sigterm_without_work_ends_at_once(certferry, enroll_settings):
    proxy = certferry(enroll_settings | {"drain.grace": "1h"})
    assert proxy.stop(10) == 0
    wait_refusal(proxy)


def test_transfers_go_on_after_sigterm(certferry, enroll_settings, transfer):
    more = {"tunnel.sni": "off", "drain.grace": "1h"}
    proxy = certferry(enroll_settings | more)
    running = transfer(proxy, 8, 16 * MIB)
    proxy.terminate()
    proxy.wait_event("draining")
    running.start()
    running.check()
    assert proxy.wait() == 0
    assert {line["outcome"] for line in proxy.log()} == {"ok"}


def test_tunnel_is_cut_when_the_grace_is_over(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "drain.grace": "500ms"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
        proxy.terminate()
        with contextlib.suppress(ConnectionResetError):
            assert read_to_end(sock) == b""
        assert proxy.wait() == 0
    server.wait_done()
    assert [line["outcome"] for line in proxy.log()] == ["drain-ended"]


def test_second_sigterm_ends_the_grace(certferry, enroll_settings, origin):
    """One worker has ended long ago, the other has the tunnel."""
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "drain.grace": "1h"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock:
        proxy.terminate()
        proxy.wait_event("draining")
        assert_served(sock)
        proxy.terminate()
        with contextlib.suppress(ConnectionResetError):
            assert read_to_end(sock) == b""
        assert proxy.wait() == 0
    assert [line["outcome"] for line in proxy.log()] == ["drain-ended"]


def test_reload_while_draining_does_no_harm(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "drain.grace": "1h"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock:
        proxy.terminate()
        proxy.wait_event("draining")
        assert_served(sock)
        wait_refusal(proxy)
        before = len(proxy.events())
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_event("reload", start=before)
        assert_served(sock)
    assert proxy.wait() == 0
