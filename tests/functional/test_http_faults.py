"""
Plain HTTP that cannot be forwarded: what clients send wrongly, what may not go out, what origins do. Each ends in the
outcome of the one table, and the proxy goes on serving.
"""

import re
import socket
import threading
import time

import pytest
from support.certferry import PATIENCE
from support.origins import pages, read_request, reply
from support.raw_http import OUTCOMES, Client, assert_refused, chunked, request

NAME = "ca.enroll.test"
QUICKLY = 5  # seconds; a refusal that waited for a timeout of the shipped configuration would take 10


@pytest.fixture
def settings(enroll_settings):
    return enroll_settings | {"via.name": "ferry-1"}


@pytest.fixture
def start(certferry, settings, http_origin):
    """Factory: start(changed settings) -> proxy, which must serve at the end of the test as at its beginning."""
    good = http_origin(pages({"/good": b"good"}))
    started = []

    def make(changes=None):
        started.append(certferry(settings | (changes or {})))
        return started[-1]

    yield make
    for proxy in started:
        if proxy.status is None and proxy.settings["allowed.domains"] == "enroll.test":
            with Client(proxy) as client:
                answer = client.fetch(f"http://good.enroll.test:{good.port}/good")
                assert (answer.status, answer.body) == (200, b"good"), "and afterwards a good request is served"


@pytest.fixture
def proxy(start):
    return start()


@pytest.fixture
def untouched(http_origin):
    """A URL whose origin must never be asked."""
    server = http_origin(pages({}))
    yield f"http://{NAME}:{server.port}/"
    assert server.connections() == []


def refused(proxy, octets, token, **line):
    """Sends these octets and expects the outcome, quickly, and the end of the connection."""
    began = time.monotonic()
    with Client(proxy) as client:
        client.send(octets)
        answer = client.response()
        assert time.monotonic() - began < QUICKLY
        assert_refused(proxy, answer, token, **line)
        assert answer.header("Proxy-Status").startswith("ferry-1;")
        assert f"({token})" in answer.body.decode() and "ferry-1" in answer.body.decode()
        client.half_close()
        assert client.ended()
    return answer


# What clients send.


@pytest.mark.parametrize(
    "octets",
    [
        b"hello world\r\n\r\n",
        b"GET  http://ca.enroll.test/ HTTP/1.1\r\n\r\n",
        b" GET http://ca.enroll.test/ HTTP/1.1\r\n\r\n",
        b"GET http://ca.enroll.test/\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET http://ca.enroll.test/ http/1.1\r\nHost: a\r\n\r\n",
        b"G\x00T http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\nHost: a\n\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\n\r\n",
        b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"\x80\x01\x02\x03\x04\r\n\r\n",
    ],
    ids=lambda octets: ascii(octets)[2:40],
)
def test_malformed_head(proxy, octets):
    refused(proxy, octets, "bad-request")


@pytest.mark.parametrize(
    "target",
    [
        "http://",
        "http:///path",
        "http://ca.enroll.test:/",
        "http://ca.enroll.test:0/",
        "http://ca.enroll.test:65536/",
        "http://ca.enroll.test:80x/",
        "http://user:secret@ca.enroll.test/",
        "http://ca.enroll.test/#fragment",
        "http://ca.enroll.test\\@evil.test/",
        "http:ca.enroll.test/",
        "ca.enroll.test/",
        "ftp://ca.enroll.test/",
        "*",
        "http://ca.enroll.test/\x7f",
        "http://[::1/",
    ],
)
def test_bad_target(proxy, target):
    with Client(proxy) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
        answer = client.response()
    assert answer.status == 400 and answer.closes(), answer.head
    assert "error=http_request_error" in answer.header("Proxy-Status")
    line = proxy.wait_log(lambda line: line["status"] == 400)
    assert line["outcome"] in ("bad-target", "bad-request")
    assert line["address"] == "", "nothing was dialled"


@pytest.mark.parametrize("host", ["ca_1.enroll.test", "-ca.enroll.test", "ca..enroll.test", "a" * 64 + ".enroll.test"])
def test_bad_host(proxy, host):
    refused(proxy, f"GET http://{host}/ HTTP/1.0\r\n\r\n".encode(), "bad-host")


def test_credentials_in_a_url_are_not_repeated(proxy):
    answer = refused(proxy, request("http://user:secret@ca.enroll.test/", "Host: a"), "bad-target")
    assert b"secret" not in answer.head + answer.body
    assert "secret" not in str(proxy.log()) + str(proxy.events())


@pytest.mark.parametrize("target", [f"https://{NAME}/", f"https://{NAME}:443/acme", f"HTTPS://{NAME}"])
def test_https_in_absolute_form(proxy, target):
    answer = refused(proxy, request(target), "https-needs-connect")
    assert b"CONNECT" in answer.body


def test_tls_to_the_plain_port(proxy):
    """A client told https:// for the proxy waits for ever otherwise."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32
    answer = refused(proxy, hello, "tls-to-plain-port")
    assert b"http://" in answer.body


def test_tls_one_octet(proxy):
    refused(proxy, b"\x16", "tls-to-plain-port")


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"])
def test_other_major_version(proxy, version):
    refused(proxy, f"GET http://{NAME}/ {version}\r\nHost: a\r\n\r\n".encode(), "bad-version")


def test_http2_preface(proxy):
    refused(proxy, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad-version")


def test_higher_minor_version(proxy, http_origin):
    """RFC 9110 section 2.5: treated as the highest minor version known."""
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{server.port}/", version="1.7").body == b"ok"
        assert server.requests[0].version == "HTTP/1.1"


@pytest.mark.parametrize("method", ["FOO", "get", "CONNECTX"])
def test_unknown_method(proxy, untouched, method):
    refused(proxy, request(untouched, method=method), "method-unknown")


def test_request_line_over_its_limit(start, untouched):
    """Told as soon as it is seen: the line need not end."""
    proxy = start({"limit.request.line": "1KiB"})
    refused(proxy, f"GET {untouched}{'a' * 2000}".encode(), "request-line-too-long")


def test_head_over_its_limit(proxy, untouched):
    head = request(untouched, *(f"X-{n}: {'a' * 1000}" for n in range(70)))
    refused(proxy, head, "head-too-large")


def test_endless_field(proxy, untouched):
    refused(proxy, request(untouched)[:-2] + b"X: " + b"a" * 70_000, "head-too-large")


def test_too_many_fields(proxy, untouched):
    refused(proxy, request(untouched, *(f"X-{n}: a" for n in range(101))), "too-many-fields")


def test_head_of_just_under_64_kib_passes(proxy, http_origin):
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as client:
        fields = [f"X-{n}: {'a' * 990}" for n in range(64)]
        assert client.fetch(f"http://{NAME}:{server.port}/", *fields).body == b"ok"


@pytest.mark.parametrize("octets", [b"G", b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: ca", b"\r\n"])
def test_slow_head(start, octets):
    proxy = start({"timeout.head": "300ms"})
    began = time.monotonic()
    refused(proxy, octets, "head-timeout")
    assert time.monotonic() - began >= 0.3


def test_dribbled_head_has_one_deadline(start):
    """Slowloris: each octet must not buy new time."""
    proxy = start({"timeout.head": "500ms"})
    began = time.monotonic()
    with Client(proxy) as client:
        client.sock.settimeout(0.05)
        client.send(b"GET http://ca.enroll.test/ HTTP/1.1\r\n")
        answer = b""
        while not answer and time.monotonic() - began < QUICKLY:
            client.send(b"X: a\r\n")
            try:
                answer = client.sock.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert time.monotonic() - began < 2


def test_silent_connection_is_closed_without_noise(start):
    proxy = start({"timeout.head": "300ms"})
    with Client(proxy) as client:
        # A connection without an octet: closed, answered or not, within its time.
        answer = client.recv()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_idle_connection_between_requests_is_closed(start, http_origin):
    proxy = start({"timeout.keepalive": "300ms"})
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{server.port}/").body == b"ok"
        assert client.ended(), "without an answer: there was no request"
    assert proxy.stop() == 0
    assert [line["outcome"] for line in proxy.log()] == ["ok"]


def test_probe_makes_no_log_line(proxy, http_origin):
    """A load balancer's check, TCP alone, ten times: with FIN and with RST."""
    for n in range(10):
        client = Client(proxy)
        if n % 2:
            client.reset()
        else:
            client.close()
    server = http_origin(pages({"/": b"ok"}))
    events = len(proxy.events())
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{server.port}/").body == b"ok"
    proxy.wait_log(lambda line: line["outcome"] == "ok")
    assert proxy.stop() == 0
    assert len(proxy.log()) == 1, proxy.log()
    assert [line for line in proxy.events()[events:] if "drain" not in line and "stopped" not in line] == []


def test_half_a_request_then_gone(proxy):
    with Client(proxy) as client:
        client.send(b"GET http://ca.enroll.test/ HT")
    line = proxy.wait_log(lambda line: line["outcome"] == "client-left")
    assert line["status"] == 0


FRAMINGS = {
    "both": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "differing lengths": ("Content-Length: 5", "Content-Length: 6"),
    "list of differing lengths": ("Content-Length: 5, 6",),
    "signed length": ("Content-Length: +5",),
    "negative length": ("Content-Length: -5",),
    "hexadecimal length": ("Content-Length: 0x5",),
    "empty length": ("Content-Length: ",),
    "length beyond 64 bits": ("Content-Length: 18446744073709551621",),
    "unknown coding": ("Transfer-Encoding: gzip",),
    "chunked not last": ("Transfer-Encoding: chunked, gzip",),
    "chunked twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "odd spelling of chunked": ("Transfer-Encoding: xchunked",),
    "vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "identity": ("Transfer-Encoding: identity",),
}


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_ambiguous_framing(proxy, untouched, fields):
    """RFC 9112 section 6.3 and 11.2: never repaired, and what follows is never taken for a request."""
    smuggled = b"0\r\n\r\n" + request(untouched)
    with Client(proxy) as client:
        client.send(request(untouched, *fields, method="POST") + smuggled)
        answer = client.response("POST")
        # An octet that no field may hold is found before anybody asks for the framing.
        assert_refused(proxy, answer, "bad-request" if "\x0b" in str(fields[0]) else "bad-framing")
        client.half_close()
        assert client.ended()
    assert len(proxy.log()) == 1


def test_transfer_encoding_from_http_1_0(proxy, untouched):
    """RFC 9112 section 6.1: faulty framing."""
    refused(proxy, request(untouched, "Transfer-Encoding: chunked", method="POST", version="1.0"), "bad-framing")


BODIES = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "bad size": b"5x\r\nhello\r\n0\r\n\r\n",
    "prefixed size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "longer than said": b"4\r\nhello\r\n0\r\n\r\n",
    "bare LF": b"5\nhello\n0\n\n",
    "endless extension": b"5;" + b"a" * 10_000 + b"\r\nhello\r\n0\r\n\r\n",
    "endless trailer": b"0\r\n" + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "bad trailer": b"0\r\nno colon\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_malformed_chunks(proxy, origin, body):
    """The origin may have seen the head; it must never see a complete request."""
    server = origin(lambda connection: setattr(connection, "got", connection.read_to_end()))
    with Client(proxy) as client:
        client.send(request(f"http://{NAME}:{server.port}/", "Transfer-Encoding: chunked", method="POST") + body)
        answer = client.response("POST")
        assert_refused(proxy, answer, "body-malformed")
        assert client.ended()
    for connection in server.connections():
        assert connection.done.wait(PATIENCE)
        assert b"\r\n0\r\n" not in connection.received, "the origin took it for whole"


def test_request_body_that_stalls(start, origin):
    proxy = start({"timeout.body": "300ms"})
    server = origin(lambda connection: connection.read_to_end())
    with Client(proxy) as client:
        client.send(request(f"http://{NAME}:{server.port}/", "Content-Length: 10", method="POST") + b"12345")
        assert_refused(proxy, client.response("POST"), "body-timeout")
    server.wait_done(1)


def test_loop(proxy, untouched):
    refused(proxy, request(untouched, "Via: 1.1 other, 1.1 ferry-1 (comment)"), "proxy-loop")


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
def test_request_that_may_go_no_further(proxy, untouched, method):
    """Max-Forwards: 0 makes the proxy itself the recipient (RFC 9110 section 7.6.2)."""
    with Client(proxy) as client:
        answer = client.fetch(untouched, "Max-Forwards: 0", "Authorization: secret", method=method)
        assert answer.status in (200, 405), answer.head
        assert b"secret" not in answer.body, "TRACE must not show credentials (RFC 9110 section 9.3.8)"


# What may not go out.


@pytest.mark.parametrize("host", ["example.test", "enroll.test.evil.test", "evilenroll.test", "digicert.com"])
def test_host_denied(proxy, host):
    answer = refused(proxy, request(f"http://{host}/"), "host-denied", host=host, port=80)
    assert host.encode() in answer.body and b"allowed.domains" in answer.body


def test_port_denied(start):
    proxy = start({"allowed.http.ports": "80,8000-8080"})
    for port in (79, 81, 443, 7999, 8081):
        refused(proxy, request(f"http://{NAME}:{port}/"), "port-denied", port=port)
    proxy.reload({"allowed.http.ports": "1-65535"})


LITERALS = {
    "127.0.0.1": "literal-denied",
    "[::1]": "literal-denied",
    "[::ffff:127.0.0.1]": "literal-denied",
    "169.254.169.254": "literal-denied",
    # What only some resolvers take for an address is no host at all.
    "2130706433": "bad-host",
    "127.1": "bad-host",
    "0x7f.1": "bad-host",
    "0x7f000001": "bad-host",
    "0177.0.0.1": "bad-host",
    "127.0.0.1.": "bad-host",
}


@pytest.mark.parametrize("host, token", LITERALS.items())
def test_literal_denied(proxy, host, token):
    """Although the addresses themselves are in allowed.networks."""
    refused(proxy, f"GET http://{host}/ HTTP/1.0\r\n\r\n".encode(), token, address="")


def test_literal_allowed_when_listed(start, http_origin):
    proxy = start({"allowed.hosts": "127.0.0.1"})
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as client:
        assert client.fetch(f"http://127.0.0.1:{server.port}/").body == b"ok"
    assert server.requests[0].header("Host") == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["0.0.0.0"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1"],
        ["127.0.0.1", "10.0.0.1", "::1"],
    ],
    ids=" ".join,
)
def test_address_denied(certferry, settings, dns, addresses):
    """A name that leads inside: the egress guard, without allowed.networks."""
    proxy = certferry(settings | {"allowed.networks": None})
    dns.names["inside.enroll.test"] = addresses
    with Client(proxy) as client:
        answer = client.fetch("http://inside.enroll.test/")
        assert_refused(proxy, answer, "address-denied", host="inside.enroll.test")
    assert b"allowed.networks" in answer.body


def test_allowed_address_beside_a_denied_one(start, dns, http_origin):
    """Only the addresses that may be reached are tried."""
    server = http_origin(pages({"/": b"ok"}))
    dns.names["mixed.enroll.test"] = ["10.255.255.1", "127.0.0.1"]
    proxy = start()
    with Client(proxy) as client:
        assert client.fetch(f"http://mixed.enroll.test:{server.port}/").body == b"ok"


def test_protocol_denied(start, http_origin):
    proxy = start({"allowed.protocols": "scep,other"})
    server = http_origin(lambda _: reply(b"ok"))
    base = f"http://{NAME}:{server.port}"
    refused(proxy, request(f"{base}/.well-known/est/cacerts"), "protocol-denied", **{"class": "est"})
    refused(proxy, request(f"{base}/ca.crl"), "protocol-denied", **{"class": "crl"})
    with Client(proxy) as client:
        assert client.fetch(f"{base}/scep?operation=GetCACaps").body == b"ok"
    assert len(server.requests) == 1


def test_client_denied(start):
    proxy = start({"clients.allow": "192.0.2.0/24"})
    refused(proxy, request("http://ca.enroll.test/"), "client-denied")
    proxy.reload({"clients.allow": "127.0.0.0/8"})


def test_refusal_with_a_body_on_its_way(proxy):
    """A client that is still sending must get the answer, not a reset."""
    body = b"x" * 1_000_000
    with Client(proxy) as client:
        client.send(request("http://example.test/", "Content-Length: 1000000", method="POST"))
        client.send(body)
        assert_refused(proxy, client.response("POST"), "host-denied")


def test_refusal_by_head(proxy):
    """HEAD gets the fields of a refusal and no body."""
    with Client(proxy) as client:
        answer = client.fetch("http://example.test/", method="HEAD")
        assert answer.status == 403 and int(answer.header("Content-Length")) > 0
        client.half_close()
        assert client.ended()


# The way to the origin.


def test_name_unknown(proxy, dns):
    dns.names = {"*.enroll.test": ["127.0.0.1"]}
    dns.names["gone.enroll.test"] = None
    refused(proxy, request("http://gone.enroll.test/"), "dns-not-found", host="gone.enroll.test")


def test_name_without_address(proxy, dns):
    dns.names["empty.enroll.test"] = []
    refused(proxy, request("http://empty.enroll.test/"), "dns-not-found")


def test_name_servers_fail(proxy, dns):
    dns.modes["ill.enroll.test"] = "servfail"
    refused(proxy, request("http://ill.enroll.test/"), "dns-failed")


def test_name_servers_silent(start, dns):
    proxy = start({"resolver.timeout": "500ms"})
    dns.modes["mute.enroll.test"] = "silence"
    line = refused(proxy, request("http://mute.enroll.test/"), "dns-timeout")
    assert line.status == 504


def test_silence_for_one_name_holds_up_no_other(start, dns, http_origin):
    proxy = start({"resolver.timeout": "2s", "threads": "1"})
    dns.modes["mute.enroll.test"] = "silence"
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as waiting, Client(proxy) as other:
        waiting.ask("http://mute.enroll.test/")
        dns.wait_asked("mute.enroll.test")
        began = time.monotonic()
        assert other.fetch(f"http://{NAME}:{server.port}/").body == b"ok"
        assert time.monotonic() - began < 1
        assert_refused(proxy, waiting.response(), "dns-timeout")


def test_origin_refuses(proxy):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        port = held.getsockname()[1]
        refused(proxy, request(f"http://{NAME}:{port}/"), "connect-refused", address="127.0.0.1", port=port)


def test_origin_does_not_accept(start):
    """A full backlog looks like a firewall that drops."""
    proxy = start({"timeout.connect": "500ms"})
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        refused(proxy, request(f"http://{NAME}:{address[1]}/"), "connect-timeout")
        for filler in fillers:
            filler.close()


# What origins answer.


def answers(octets):
    """An origin's script: reads a request, sends these octets, ends."""

    def script(connection):
        read_request(connection)
        connection.send(octets)

    return script


MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2 frame": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, br\r\n\r\n",
    "endless 1xx": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200,
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_response(proxy, origin, octets):
    server = origin(answers(octets))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/")
        assert_refused(proxy, answer, "response-malformed")


def test_switching_protocols_unasked(proxy, origin):
    server = origin(answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/", "Upgrade: h2c", "Connection: Upgrade")
        assert_refused(proxy, answer, "upgrade-refused")


def test_response_head_too_large(proxy, origin):
    server = origin(answers(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n"))
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(f"http://{NAME}:{server.port}/"), "response-head-too-large")


@pytest.mark.parametrize("octets", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_origin_closes_before_the_head(proxy, origin, octets):
    server = origin(answers(octets))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/")
        assert_refused(proxy, answer, "response-incomplete", address="127.0.0.1")


def test_origin_resets_before_the_head(proxy, origin):
    def script(connection):
        read_request(connection)
        connection.reset()

    server = origin(script)
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/")
    assert answer.status == 502 and answer.closes()
    proxy.wait_log(lambda line: line["outcome"] in ("response-incomplete", "origin-reset"))


CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "in the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: ",
}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("octets", CUT.values(), ids=CUT.keys())
def test_origin_closes_in_the_body(proxy, origin, octets, version):
    """The client must see the break: no last chunk, and towards HTTP/1.0, where a close ends a body, a reset."""
    sent = threading.Event()

    def script(connection):
        read_request(connection)
        connection.send(octets)
        sent.wait(PATIENCE)

    server = origin(script)
    with Client(proxy) as client:
        client.ask(f"http://{NAME}:{server.port}/", version=version)
        head = client.head()
        assert head.status == 200
        sent.set()
        body = cut_body(client)
        assert body is None or b"0\r\n\r\n" not in body
        if head.header("Content-Length") is None and version == "1.0":
            assert body is None, "a quiet end would make half a body a whole one"
    proxy.wait_log(lambda line: line["outcome"] in ("response-incomplete", "origin-reset") and line["status"] == 200)


def cut_body(client):
    """What came up to a quiet end; None if there was a reset."""
    body = b""
    try:
        while data := client.recv():
            body += data
    except ConnectionResetError:
        return None
    return body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


def test_malformed_chunk_in_a_response(proxy, origin):
    """What the client has had cannot be taken back, but it sees that it is cut."""

    def script(connection):
        read_request(connection)
        connection.send(CHUNKED)
        had_it.wait()
        connection.send(b"zz\r\n")

    had_it = threading.Event()
    server = origin(script)
    with Client(proxy) as client:
        client.ask(f"http://{NAME}:{server.port}/")
        assert client.head().status == 200
        had_it.set()
        assert b"0\r\n\r\n" not in (cut_body(client) or b"")
    proxy.wait_log(lambda line: line["outcome"] == "response-malformed" and line["status"] == 200)


def test_malformed_chunk_with_the_response_head(proxy, origin):
    """Nothing has gone on yet, so the client can be told."""
    server = origin(answers(CHUNKED + b"zz\r\n"))
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(f"http://{NAME}:{server.port}/"), "response-malformed", address="127.0.0.1")


def silent(connection):
    read_request(connection)
    connection.read_to_end()


@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"order")])
def test_no_response(start, origin, method, body):
    proxy = start({"timeout.response": "300ms"})
    server = origin(silent)
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/", method=method, body=body)
        assert_refused(proxy, answer, "response-timeout", address="127.0.0.1")
    server.wait_done(1)
    assert len(server.connections()) == 1, "asked once only"


def test_interim_response_then_nothing(start, origin):
    proxy = start({"timeout.response": "300ms"})

    def script(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        connection.read_to_end()

    server = origin(script)
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{server.port}/")
        assert [interim.status for interim in answer.interim] == [103]
        assert_refused(proxy, answer, "response-timeout")


def test_response_body_that_stalls(start, origin):
    proxy = start({"timeout.body": "300ms"})

    def script(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        connection.read_to_end()

    server = origin(script)
    with Client(proxy) as client:
        assert not client.fetch(f"http://{NAME}:{server.port}/").complete
    proxy.wait_log(lambda line: line["outcome"] == "response-stalled" and line["status"] == 200)
    server.wait_done(1)


def test_origin_that_reads_nothing(start, origin):
    """The request cannot be sent: an end in time, and a status."""
    proxy = start({"timeout.body": "500ms", "timeout.response": "500ms"})
    over = threading.Event()
    server = origin(lambda connection: over.wait(PATIENCE))
    with Client(proxy) as client:
        client.sock.settimeout(QUICKLY)
        client.send(request(f"http://{NAME}:{server.port}/", f"Content-Length: {1 << 26}", method="POST"))
        sender = threading.Thread(target=send_quietly, args=(client, b"x" * (1 << 26)))
        sender.start()
        answer = client.response("POST")
        assert answer.status == 504, answer.head
        client.close()
        sender.join()
    over.set()


def send_quietly(client, data):
    try:
        client.send(data)
    except OSError:
        pass


def test_client_that_reads_nothing(start, origin):
    """It must not hold the origin for ever."""
    proxy = start({"timeout.body": "500ms"})

    def script(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.send(b"x" * 65536)

    server = origin(script)
    with Client(proxy, receive_buffer=4096) as client:
        client.ask(f"http://{NAME}:{server.port}/")
        server.wait_done(1)
    proxy.wait_log(lambda line: line["outcome"] in ("response-stalled", "client-left", "client-reset"))


def test_log_line_cannot_be_forged(proxy):
    """Peer input in the log stays inside its JSON string."""
    with Client(proxy) as client:
        client.send(b'GET http://a","outcome":"ok"\xff{}.test/ HTTP/1.1\r\nHost: a\r\n\r\n')
        assert client.response().status == 400
    line = proxy.wait_log(lambda line: line["status"] == 400)
    assert line["outcome"] != "ok"


def test_every_refusal_is_well_formed(proxy):
    """What the table says of statuses and Proxy-Status holds for each row (RFC 9209 section 2.3)."""
    for outcome in OUTCOMES.values():
        assert outcome.status == 0 or 400 <= outcome.status <= 599
        assert outcome.status == 0 or re.fullmatch("[a-z_]+", outcome.proxy_status), outcome
        assert outcome.phrase and all(" " <= c <= "~" for c in outcome.phrase)


def test_chunked_helper_is_strict():
    assert chunked(b"ab", trailers=("X: 1",)) == b"2\r\nab\r\n0\r\nX: 1\r\n\r\n"
