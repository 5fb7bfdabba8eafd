"""
PROXY protocol, versions 1 and 2, from load balancers named in proxy.protocol.from: the address they convey is the
client's everywhere. HAProxy itself is the sender where it can be.
"""

import socket
import struct

import pytest
from support import programs
from support.daemons import Daemon
from support.certferry import PATIENCE
from support.origins import pages
from support.raw_http import Client, assert_refused, metric, request

NAME = "ca.enroll.test"
BALANCER, STRANGER = "127.0.0.9", "127.0.0.10"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture
def settings(enroll_settings):
    return enroll_settings | {"proxy.protocol.from": f"{BALANCER},::1", "timeout.head": "2s"}


@pytest.fixture
def proxy(certferry, settings):
    return certferry(settings)


@pytest.fixture
def web(http_origin):
    return f"http://{NAME}:{http_origin(pages({'/': b'ok'})).port}/"


def v1(source, port=4711, family="TCP4", to="192.0.2.1"):
    return f"PROXY {family} {source} {to} {port} 48999\r\n".encode()


def v2(source, port=4711, more=b"", command=0x21):
    body = socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + struct.pack("!HH", port, 48999) + more
    return V2 + bytes([command, 0x11]) + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize("header", [v1("10.1.2.3"), v2("10.1.2.3"), v2("10.1.2.3", more=b"\x04\x00\x02ab")])
@pytest.mark.parametrize("pieces", ["whole", "octets", "apart"])
def test_conveyed_address(proxy, web, header, pieces):
    with Client(proxy, source=BALANCER) as client:
        octets = header + request(web)
        if pieces == "octets":
            for octet in octets:
                client.send(bytes([octet]))
        elif pieces == "apart":
            client.send(header)
            client.send(request(web))
        else:
            client.send(octets)
        assert client.response().status == 200
        assert client.fetch(web).status == 200, "the header comes once on a connection"
    for line in proxy.log():
        assert (line["client"], line["client_port"]) == ("10.1.2.3", 4711)
    assert metric_from(proxy, "proxy_protocol_headers_total") >= 1


def metric_from(proxy, name):
    return metric(proxy, name)


def test_ipv6_client(proxy, web):
    with Client(proxy, source=BALANCER) as client:
        client.send(v1("fd00::7", family="TCP6", to="fd00::1") + request(web))
        assert client.response().status == 200
    assert proxy.wait_log(lambda line: line["status"] == 200)["client"] == "fd00::7"


def test_tunnel(certferry, settings, origin):
    def script(connection):
        connection.send(connection.read_until(b"ask"))

    proxy = certferry(settings | {"tunnel.sni": "off"})
    server = origin(script)
    with Client(proxy, source=BALANCER) as client:
        client.send(v2("10.1.2.3") + request(f"{NAME}:{server.port}", method="CONNECT") + b"ask")
        assert client.head().status == 200
        assert client.recv() == b"ask"
    assert proxy.wait_log(lambda line: line["status"] == 200)["client"] == "10.1.2.3"


@pytest.mark.parametrize("header", [v1("203.0.113.5"), v2("203.0.113.5")])
def test_clients_allow_counts_the_conveyed_address(proxy, web, header):
    """The balancer is allowed; whom it speaks for is not."""
    with Client(proxy, source=BALANCER) as client:
        client.send(header + request(web))
        assert_refused(proxy, client.response(), "client-denied", client="203.0.113.5")


def test_control_allow_counts_the_conveyed_address(proxy):
    with Client(proxy, source=BALANCER) as client:
        client.send(v1("10.1.2.3") + request("/metrics", "Host: a"))
        assert_refused(proxy, client.response(), "control-denied", client="10.1.2.3")


def test_limit_per_client_counts_the_conveyed_address(certferry, settings, web):
    proxy = certferry(settings | {"limit.connections.per.client": "1"})
    with Client(proxy, source=BALANCER) as first, Client(proxy, source=BALANCER) as second:
        first.send(v1("10.1.2.3") + request(web))
        assert first.response().status == 200
        second.send(v1("10.9.9.9") + request(web))
        assert second.response().status == 200, "another client behind the same balancer"
        with Client(proxy, source=BALANCER) as third:
            third.send(v1("10.1.2.3", 5000) + request(web))
            assert_refused(proxy, third.response(), "client-limit", client="10.1.2.3")


@pytest.mark.parametrize("header", [v1("10.1.2.3"), v2("10.1.2.3")])
def test_not_from_others(proxy, web, header):
    """Whoever is not a balancer cannot choose his address."""
    with Client(proxy, source=STRANGER) as client:
        client.send(header + request(web))
        answer = client.response()
        assert answer.status == 400 and answer.closes()
    assert proxy.wait_log(lambda line: line["status"] == 400)["client"] == STRANGER


@pytest.mark.parametrize(
    "octets",
    [
        request("/healthz", "Host: a"),  # no header at all
        b"PROXY TCP4 10.1.2.3 192.0.2.1 4711\r\n",
        b"PROXY TCP4 010.1.2.3 192.0.2.1 4711 1\r\n",
        b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 1\nGET / HTTP/1.1\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x21\x11\x00\x04abcd",
        V2 + b"\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_malformed(proxy, octets):
    with Client(proxy, source=BALANCER) as client:
        client.send(octets)
        assert_refused(proxy, client.response(), "proxy-header-malformed", client=BALANCER)


def test_second_header_is_none(proxy, web):
    """A client behind the balancer that sends a header of its own."""
    with Client(proxy, source=BALANCER) as client:
        client.send(v1("10.1.2.3") + v1("10.6.6.6") + request(web))
        assert_refused(proxy, client.response(), "bad-request", client="10.1.2.3")


def test_slow_header(certferry, settings):
    proxy = certferry(settings | {"timeout.head": "300ms"})
    with Client(proxy, source=BALANCER) as client:
        client.send(b"PROXY TCP4 10.1")
        assert_refused(proxy, client.response(), "head-timeout")


@pytest.mark.parametrize("octets", [V2 + b"\x20\x00\x00\x00", b"PROXY UNKNOWN\r\n", b""])
def test_health_check_is_no_event(proxy, octets):
    with Client(proxy, source=BALANCER) as client:
        client.send(octets)
        client.half_close()
        assert client.ended()
    assert proxy.log() == []


def test_local_speaks_for_itself(proxy, web):
    with Client(proxy, source=BALANCER) as client:
        client.send(v2("10.1.2.3", command=0x20) + request(web))
        assert client.response().status == 200
    assert proxy.wait_log(lambda line: line["status"] == 200)["client"] == BALANCER


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"])
def test_haproxy(proxy, web, tmp_path, home, version):
    """The balancer that wrote the protocol, in front of us, checked as it checks; curl behind it."""
    # HAProxy takes a port that is free now; nobody else of these tests listens on that address.
    front = socket.socket()
    front.bind(("127.0.0.11", 0))
    port = front.getsockname()[1]
    front.close()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
        f"listen front\n bind 127.0.0.11:{port}\n source {BALANCER}\n"
        f" server ferry 127.0.0.1:{proxy.port} {version} check inter 200ms\n"
    )
    with Daemon(tmp_path / "haproxy", "haproxy", "-db", "-f", config):
        done = programs.run(
            home, "curl", "-sS", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", "--interface", "127.0.0.77",
            "--proxy", f"http://127.0.0.11:{port}", web, timeout=PATIENCE + 10,
        )  # fmt: skip
        assert done.stdout == b"ok", programs.told(done)
    line = proxy.wait_log(lambda line: line["status"] == 200)
    assert line["client"] == "127.0.0.77"
    assert [line["method"] for line in proxy.log()] == ["GET"], "health checks leave no line"
