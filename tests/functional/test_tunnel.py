"""CONNECT as both ends see it, octet for octet: the answer, early octets, half-close, limits, the gate for TLS."""

import random
import re
import socket
import ssl
import threading

import pytest
from support.origins import echo, swallow
from support.tunnels import Refused, connect, open_tunnel, read_exactly, read_head, read_to_end

NAME = "ca.enroll.test"
BLOCK = random.Random(4).randbytes(1_000_000)


@pytest.fixture
def raw_proxy(certferry, enroll_settings):
    """Without the gate, so that tunnels can carry anything."""
    return certferry(enroll_settings | {"tunnel.sni": "off"})


def logged(proxy):
    return proxy.wait_log(lambda line: line["method"] == "CONNECT")


# The heads that real clients send; H stands for host:port. Each of them must open a tunnel that stays.
HEADS = {
    "curl": "CONNECT H HTTP/1.1\r\nHost: H\r\nUser-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    "curl --proxy1.0": "CONNECT H HTTP/1.0\r\nHost: H\r\nUser-Agent: curl/7.88.1\r\n"
    "Proxy-Connection: Keep-Alive\r\n\r\n",
    "libest": "CONNECT H HTTP/1.1\r\nHost: H\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    "certbot, Python, socat": "CONNECT H HTTP/1.0\r\n\r\n",
    "openssl": "CONNECT H HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    "Go": "CONNECT H HTTP/1.1\r\nHost: H\r\nUser-Agent: Go-http-client/1.1\r\n\r\n",
    "aiohttp": "CONNECT H HTTP/1.1\r\nHost: H\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    "User-Agent: Python/3.11 aiohttp/3.8.4\r\n\r\n",
    "Java HttpURLConnection": "CONNECT H HTTP/1.1\r\nUser-Agent: Java/17.0.21\r\nHost: H\r\n"
    "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nProxy-Connection: keep-alive\r\n\r\n",
    "Java HttpClient": "CONNECT H HTTP/1.1\r\nHost: H\r\n\r\n",
    "https-proxy-agent": "CONNECT H HTTP/1.1\r\nHost: H\r\nProxy-Connection: close\r\n\r\n",
    "undici": "CONNECT H HTTP/1.1\r\nhost: H\r\nproxy-connection: keep-alive\r\nconnection: close\r\n\r\n",
    "Node": "CONNECT H HTTP/1.1\r\nHost: H\r\nConnection: keep-alive\r\n\r\n",
    "Perl LWP": "CONNECT H HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE\r\nHost: H\r\n\r\n",
    "IoT Edge": "CONNECT H HTTP/1.1\r\nHost: H\r\nauthorization: Basic dTpw\r\nproxy-authorization: Basic dTpw\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_clients_head(head, raw_proxy, origin):
    """hyper-proxy waits for ever if the answer has an octet behind the empty line, aiohttp breaks on a length field."""

    def speaks_when_spoken_to(connection):
        connection.read_exactly(4)
        connection.send(b"spoken")
        connection.read_to_end()

    server = origin(speaks_when_spoken_to)
    with connect(raw_proxy) as sock:
        sock.sendall(re.sub(r"\bH(?= HTTP/|\r)", f"{NAME}:{server.port}", head).encode())
        answer = read_head(sock)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"\r\n") == 2, f"fields in {answer}"
        sock.sendall(b"ping")
        assert read_exactly(sock, 6) == b"spoken"
    assert bytes(server.wait_done().received) == b"ping"
    line = logged(raw_proxy)
    assert (line["outcome"], line["bytes_up"], line["bytes_down"]) == ("ok", 4, 6)


def test_early_octets_reach_the_origin_first(raw_proxy, origin):
    server = origin(echo)
    with open_tunnel(raw_proxy, NAME, server.port, early=BLOCK[:10_000]) as sock:
        sock.sendall(BLOCK[10_000:20_000])
        assert read_exactly(sock, 20_000) == BLOCK[:20_000]
    assert bytes(server.wait_done().received) == BLOCK[:20_000]


def test_origin_speaks_first(raw_proxy, origin):
    def greet(connection):
        connection.send(b"220 ready\r\n")
        connection.read_to_end()

    server = origin(greet)
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        assert read_exactly(sock, 11) == b"220 ready\r\n"


def test_client_ends_first(raw_proxy, origin):
    """The origin hears of the client's end, and can answer all the same."""

    def answer_after_the_end(connection):
        connection.read_to_end()
        connection.send(BLOCK)

    server = origin(answer_after_the_end)
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        sock.sendall(BLOCK)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == BLOCK
    assert bytes(server.wait_done().received) == BLOCK
    line = logged(raw_proxy)
    assert (line["outcome"], line["bytes_up"], line["bytes_down"]) == ("ok", len(BLOCK), len(BLOCK))


def test_origin_ends_first(raw_proxy, origin):
    def end_then_listen(connection):
        connection.send(BLOCK)
        connection.half_close()
        connection.read_to_end()

    server = origin(end_then_listen)
    with open_tunnel(raw_proxy, NAME, server.port) as sock:
        assert read_to_end(sock) == BLOCK
        sock.sendall(BLOCK)
        sock.shutdown(socket.SHUT_WR)
        assert bytes(server.wait_done().received) == BLOCK
    assert logged(raw_proxy)["outcome"] == "ok"


def test_resets_are_passed_on(raw_proxy, origin):
    """An end that breaks ends the other: nobody is left waiting."""
    server = origin(swallow)
    sock = open_tunnel(raw_proxy, NAME, server.port)
    server.wait_connection()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    server.wait_done()
    assert logged(raw_proxy)["outcome"] in ("client-reset", "ok")

    def reset_when_spoken_to(connection):
        connection.read_exactly(1)
        connection.reset()

    breaking = origin(reset_when_spoken_to)
    with open_tunnel(raw_proxy, NAME, breaking.port) as sock:
        sock.sendall(b"x")
        with pytest.raises((ConnectionResetError, EOFError)):
            read_exactly(sock, 1)
    line = raw_proxy.wait_log(lambda line: line["port"] == breaking.port)
    assert line["outcome"] == "origin-reset"


def test_idle_tunnel_is_closed(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "timeout.tunnel.idle": "300ms"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
        assert read_to_end(sock) == b""
    server.wait_done()
    assert logged(proxy)["outcome"] == "tunnel-idle"


def test_traffic_one_way_keeps_a_tunnel_open(certferry, enroll_settings, origin):
    """An origin that sends slowly, for longer in all than the idle limit, to a client that never says anything."""
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "timeout.tunnel.idle": "1s"})
    pace = threading.Event()  # never set: its wait is the origin's slowness

    def trickle(connection):
        for _ in range(12):
            connection.send(b".")
            pace.wait(0.2)

    server = origin(trickle)
    with open_tunnel(proxy, NAME, server.port) as sock:
        assert read_to_end(sock) == b"." * 12
    assert logged(proxy)["outcome"] == "ok"


def test_half_closed_tunnel_has_its_own_limit(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"tunnel.sni": "off", "timeout.tunnel.halfclosed": "300ms"})

    def wait_for_more(connection):
        connection.read_to_end()
        gone.wait(20)

    gone = threading.Event()
    server = origin(wait_for_more)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    gone.set()
    server.wait_done()
    assert logged(proxy)["outcome"] == "tunnel-idle"


def test_refusal_is_an_answer_with_reason_and_remedy(proxy, origin):
    server = origin(echo)
    with pytest.raises(Refused) as refused:
        open_tunnel(proxy, "ca.elsewhere.test", server.port)
    assert refused.value.status == 403
    assert refused.value.head.startswith(b"HTTP/1.1 403 Host not in the allowlist\r\n")
    assert b"http_request_denied" in refused.value.head  # RFC 9209 section 2.3.12
    assert logged(proxy)["outcome"] == "host-denied"
    assert not server.connections()


# What a tunnel must begin with when the gate is shut: (gate, CONNECT host, name in the ClientHello, outcome).
GATE = [
    ("match", NAME, NAME, "ok"),
    ("match", NAME, None, "ok"),
    ("match", NAME, "CA.Enroll.Test", "ok"),
    ("match", NAME, "other.enroll.test", "sni-mismatch"),
    ("strict", NAME, NAME, "ok"),
    ("strict", NAME, None, "sni-missing"),
    ("strict", NAME, "ca.enroll.test.elsewhere.test", "sni-mismatch"),
    ("off", NAME, "other.enroll.test", "ok"),
    # For an address an absent name passes, a present one must be allowed.
    ("match", "127.0.0.1", None, "ok"),
    ("match", "127.0.0.1", "other.enroll.test", "ok"),
    ("match", "127.0.0.1", "ca.elsewhere.test", "sni-mismatch"),
]


@pytest.mark.parametrize(("gate", "host", "name", "outcome"), GATE)
def test_gate_reads_the_server_name(gate, host, name, outcome, certferry, enroll_settings, authority, origin):
    refused = outcome != "ok"
    # Where nothing may arrive the origin is a plain one, which would keep the very octets of a handshake.
    server = origin(swallow) if refused else origin(echo, certificate=authority.server(NAME))
    proxy = certferry(enroll_settings | {"tunnel.sni": gate, "allowed.hosts": "127.0.0.1"})
    context = authority.client_context()
    context.check_hostname = False
    with open_tunnel(proxy, host, server.port) as sock:
        if not refused:
            with context.wrap_socket(sock, server_hostname=name) as inside:
                inside.sendall(b"through")
                assert inside.recv(7) == b"through"
                assert inside.getpeercert(True) == authority.server(NAME).der()
                inside.unwrap()
        else:
            # The alert names the reason as far as TLS has words for it; no octet came from the origin.
            with pytest.raises(ssl.SSLError, match="(?i)alert|unrecognized"):
                context.wrap_socket(sock, server_hostname=name)
    line = logged(proxy)
    assert line["outcome"] == outcome
    if gate != "off":
        assert line["sni"].lower() == (name or "").lower()
    if refused:
        assert not server.wait_done().received
        assert line["bytes_up"] == 0


# HTTP, SSH, and a TLS record that is an alert.
NO_HELLO = [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\x15\x03\x01\x00\x02\x01\x00"]


@pytest.mark.parametrize("first", NO_HELLO, ids=["http", "ssh", "alert"])
def test_gate_refuses_what_is_no_client_hello(first, proxy, origin):
    server = origin(swallow)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(first)
        answer = read_to_end(sock)
    # A fatal alert (RFC 8446 section 6), then the end.
    assert answer[:1] == b"\x15" and answer[5:6] == b"\x02"
    assert not server.wait_done().received
    assert logged(proxy)["outcome"] in ("hello-not-tls", "hello-malformed")


def test_gate_does_not_wait_for_ever(certferry, enroll_settings, origin):
    proxy = certferry(enroll_settings | {"timeout.tunnel.hello": "300ms"})
    server = origin(swallow)
    with open_tunnel(proxy, NAME, server.port) as sock:
        read_to_end(sock)
    server.wait_done()
    assert logged(proxy)["outcome"] == "hello-timeout"


def test_gate_lets_the_origin_say_nothing_first(proxy, origin):
    """Nothing flows either way before the ClientHello."""

    def greet(connection):
        connection.send(b"220 ready\r\n")
        connection.read_to_end()

    server = origin(greet)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(b"HELO\r\n")
        assert b"220" not in read_to_end(sock)
    assert not server.wait_done().received


def test_raw_ports_have_no_gate(certferry, enroll_settings, origin):
    server, gated = origin(echo), origin(echo)
    proxy = certferry(enroll_settings | {"tunnel.raw.ports": server.port})
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(b"raw")
        assert read_exactly(sock, 3) == b"raw"
    with open_tunnel(proxy, NAME, gated.port) as sock:
        sock.sendall(b"raw")
        assert read_to_end(sock) != b"raw"
