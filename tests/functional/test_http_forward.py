"""Plain HTTP forwarding as both sides see it on the wire: framing, streaming, fields, connections."""

import hashlib
import re
import select
import socket
import threading

import pytest
from support.certferry import PATIENCE
from support.origins import pages, read_request, reply
from support.raw_http import Client, chunked, request

NAME = "ca.enroll.test"
MIB = 1 << 20


@pytest.fixture
def proxy(certferry, enroll_settings):
    """One worker, so that all connections share one pool of connections to origins; and a known name in Via."""
    return certferry(enroll_settings | {"threads": "1", "via.name": "ferry-1"})


@pytest.fixture
def client(proxy):
    with Client(proxy) as connection:
        yield connection


def url_of(server, path="/"):
    return f"http://{NAME}:{server.port}{path}"


def speaks(*messages):
    """An origin's script: for each request that comes the next of these octets, then the end."""

    def script(connection):
        for message in messages:
            connection.request = read_request(connection)
            if connection.request is None:
                return
            connection.send(message)

    return script


def assert_goes_on(client, server_fixture):
    """The client's connection still serves: nothing of the last answer was left on it."""
    after = server_fixture(pages({"/after": b"still here"}))
    answer = client.fetch(url_of(after, "/after"))
    assert (answer.status, answer.body) == (200, b"still here")


# Responses, in all their framings.


def test_content_length(client, proxy, origin, http_origin):
    server = origin(speaks(reply(b"the body")))
    answer = client.fetch(url_of(server))
    assert (answer.status, answer.body, answer.framing) == (200, b"the body", "length")
    assert not answer.closes()
    line = proxy.wait_log(lambda line: line["status"] == 200)
    assert line["method"] == "GET" and line["host"] == NAME and line["port"] == server.port
    assert line["client"] == "127.0.0.1" and line["client_port"] == client.port
    assert line["outcome"] == "ok" and line["address"] == "127.0.0.1" and line["class"] == "other"
    assert line["dns_ms"] > 0 and line["connect_ms"] > 0
    assert line["total_ms"] >= line["first_byte_ms"] > 0
    assert_goes_on(client, http_origin)


def test_chunked_with_trailers(client, origin, http_origin):
    body = chunked(b"one", b"two" * 1000, b"3", trailers=("X-Checksum: 4711", "Content-Length: 5"))
    server = origin(speaks(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n" + body))
    answer = client.fetch(url_of(server))
    assert (answer.body, answer.framing) == (b"one" + b"two" * 1000 + b"3", "chunked")
    assert answer.trailers == [("X-Checksum", "4711")], "framing has no place in a trailer (RFC 9110 section 6.5.1)"
    assert_goes_on(client, http_origin)


def test_chunks_in_single_octets(client, origin, http_origin):
    body = chunked(b"hello, ", b"world")

    def script(connection):
        read_request(connection)
        for octet in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body:
            connection.send(bytes([octet]))

    answer = client.fetch(url_of(origin(script)))
    assert (answer.body, answer.complete) == (b"hello, world", True)
    assert_goes_on(client, http_origin)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_until_close(client, origin, version):
    """The client gets chunks or a close that was announced, never an end it cannot tell from a break."""
    server = origin(speaks(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000))
    answer = client.fetch(url_of(server), version=version)
    assert answer.body == b"x" * 100_000 and answer.complete
    if answer.framing == "close":
        assert answer.closes() and client.ended()
    else:
        assert version == "1.1"


def test_http_1_0_origin(client, proxy, origin, http_origin):
    server = origin(speaks(b"HTTP/1.0 200 Fine\r\nContent-Length: 4\r\n\r\nbody"))
    answer = client.fetch(url_of(server))
    assert (answer.version, answer.reason, answer.body) == ("HTTP/1.1", "Fine", b"body")
    assert_goes_on(client, http_origin)


def test_chunked_origin_to_http_1_0_client(client, origin):
    """De-chunked and closed: HTTP/1.0 knows no Transfer-Encoding."""
    server = origin(speaks(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"def")))
    client.ask(url_of(server), "Connection: keep-alive", version="1.0")
    answer = client.response()
    assert (answer.framing, answer.body) == ("close", b"abcdef")
    assert answer.header("Transfer-Encoding") is None and answer.closes()
    assert client.ended()


@pytest.mark.parametrize("word", ["Connection", "Proxy-Connection"])
def test_http_1_0_client_kept_alive(client, origin, http_origin, word):
    server = origin(speaks(reply(b"one"), reply(b"two")))
    for body in (b"one", b"two"):
        client.ask(url_of(server), f"{word}: keep-alive", version="1.0")
        answer = client.response()
        assert answer.body == body
        assert answer.header("Connection").lower() == "keep-alive", "OpenSSL cmp goes on only if it is said"
    assert len(server.connections()) == 1


def test_http_1_0_client_without_keep_alive(client, origin):
    server = origin(speaks(reply(b"one")))
    answer = client.fetch(url_of(server), version="1.0")
    assert answer.body == b"one" and answer.closes()
    assert client.ended()


@pytest.mark.parametrize("fields", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_head(client, origin, http_origin, fields):
    server = origin(speaks(f"HTTP/1.1 200 OK\r\n{fields}\r\nETag: \"1\"\r\n\r\n".encode()))
    answer = client.fetch(url_of(server), method="HEAD")
    assert answer.status == 200 and answer.header("ETag") == '"1"'
    assert answer.header("Content-Length") in (None, "1000000")
    assert_goes_on(client, http_origin)


@pytest.mark.parametrize(
    "head",
    ["204 No Content", "304 Not Modified\r\nContent-Length: 5000", "304 Not Modified\r\nTransfer-Encoding: chunked"],
)
def test_responses_without_body(client, origin, http_origin, head):
    """RFC 9112 section 6.3: these have none, whatever their fields say."""
    answer = client.fetch(url_of(origin(speaks(f"HTTP/1.1 {head}\r\n\r\n".encode()))))
    assert answer.status == int(head[:3])
    assert_goes_on(client, http_origin)


def test_empty_body(client, origin, http_origin):
    answer = client.fetch(url_of(origin(speaks(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))))
    assert (answer.body, answer.framing) == (b"", "length")
    assert_goes_on(client, http_origin)


def test_reason_phrase_and_odd_status(client, origin):
    answer = client.fetch(url_of(origin(speaks(b"HTTP/1.1 299 Odd but \xe4llowed\r\nContent-Length: 0\r\n\r\n"))))
    assert (answer.status, answer.reason) == (299, "Odd but \xe4llowed")


def test_head_in_one_piece(client, origin):
    """OpenSSL with a timeout fails on a head in two segments, so the proxy collects what the origin dribbles."""

    def script(connection):
        read_request(connection)
        for piece in (b"HTTP/1.1 200 OK\r", b"\nContent-", b"Length: 2\r\nX-A: b\r\n", b"\r", b"\nok"):
            connection.send(piece)

    answer = client.fetch(url_of(origin(script)))
    assert answer.body == b"ok"
    assert b"\r\n\r\n" in answer.first_segment


# Interim responses.


def test_early_hints_are_relayed(client, origin, http_origin):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </ca.crl>\r\n\r\n"
    answer = client.fetch(url_of(origin(speaks(hints + hints + reply(b"done")))))
    assert [interim.status for interim in answer.interim] == [103, 103]
    assert answer.interim[0].header("Link") == "</ca.crl>"
    assert answer.body == b"done"
    assert_goes_on(client, http_origin)


def test_interim_responses_are_not_for_http_1_0(client, origin):
    server = origin(speaks(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"done")))
    answer = client.fetch(url_of(server), version="1.0")
    assert answer.interim == [] and answer.body == b"done"


def test_expect_100_continue(client, origin, http_origin):
    """The client waits, so the origin's 100 must come through before any octet of the body goes out."""
    server = origin(speaks(reply(b"enrolled")))
    head = ("Expect: 100-continue", "Content-Length: 5")
    client.send(request(url_of(server), *head, method="POST"))
    interim = client.head()
    assert interim.status == 100
    client.send(b"12345")
    assert client.response("POST").body == b"enrolled"
    seen = server.connections()[0].request
    assert seen.header("Expect").lower() == "100-continue" and seen.body == b"12345"
    assert_goes_on(client, http_origin)


def test_expectation_that_the_origin_refuses(client, origin):
    """417 instead of 100: the body never comes, so the connection cannot go on and says so."""

    def script(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        connection.read_to_end()

    client.send(request(url_of(origin(script)), "Expect: 100-continue", "Content-Length: 5", method="POST"))
    answer = client.response("POST")
    assert answer.status == 417 and answer.interim == [] and answer.closes()
    client.half_close()
    assert client.ended()


# Request bodies.


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_000])
def test_request_with_content_length(client, http_origin, size):
    server = http_origin(pages({}))
    body = bytes(range(256)) * (size // 256 + 1)
    answer = client.fetch(url_of(server), method="POST", body=body[:size])
    assert answer.body == body[:size]
    assert server.requests[0].header("Content-Length") == str(size)
    assert_goes_on(client, http_origin)


def test_request_in_chunks_with_trailers(client, origin, http_origin):
    sent = chunked(b"first", b"second" * 5000, trailers=("X-Digest: 1", "Host: evil.test", "Content-Length: 1"))

    def script(connection):
        connection.head = connection.read_until()
        connection.body = b""
        while not connection.body.endswith(b"\r\n\r\n"):
            connection.body += connection.recv()
        connection.send(reply(b"got it"))

    server = origin(script)
    client.send(request(url_of(server), "Transfer-Encoding: chunked", "Trailer: X-Digest", method="POST") + sent)
    assert client.response("POST").body == b"got it"
    seen = server.connections()[0]
    assert re.search(rb"\r\ntransfer-encoding: chunked\r\n", seen.head, re.IGNORECASE)
    assert b"content-length" not in seen.head.lower()
    trailer = seen.body[seen.body.rindex(b"\r\n0\r\n") + 5 :]
    assert trailer == b"X-Digest: 1\r\n\r\n", "fields of routing and framing have no place in a trailer"
    assert_goes_on(client, http_origin)


def test_request_head_and_body_in_single_octets(client, http_origin):
    server = http_origin(pages({}))
    for octet in request(url_of(server), method="POST", body=b"slow but sure"):
        client.send(bytes([octet]))
    assert client.response("POST").body == b"slow but sure"


def test_client_that_half_closes_is_answered(proxy, origin):
    """Its FIN says that no further request comes, not that nobody listens."""
    gate = threading.Event()

    def script(connection):
        read_request(connection)
        gate.wait(PATIENCE)
        connection.send(reply(b"late"))

    server = origin(script)
    with Client(proxy) as client:
        client.ask(url_of(server), method="POST", body=b"all")
        client.half_close()
        server.wait_connection()
        gate.set()
        assert client.response("POST").body == b"late"
        assert client.ended()
    proxy.wait_log(lambda line: line["outcome"] == "ok" and line["status"] == 200)


def test_response_before_the_end_of_the_request(client, origin):
    """A server may refuse a body it has not read; the client is told and the connection ends."""

    def script(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.half_close()
        connection.read_to_end()

    client.send(request(url_of(origin(script)), "Content-Length: 1000000", method="POST") + b"x" * 1000)
    answer = client.response("POST")
    assert (answer.status, answer.body) == (413, b"big")
    assert answer.closes()
    client.half_close()
    assert client.ended()


# Bodies larger than any buffer: the slow side brakes the fast one, memory stays where it was.

LARGE = 64 * MIB
BLOCK = bytes(range(256)) * 256  # 64 KiB


def digest_of(count):
    digest = hashlib.sha256()
    for _ in range(count // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


def send_until_blocked(sock):
    """Sends blocks until the other side takes no more for a while; how many octets went."""
    sent = 0
    sock.setblocking(False)
    while select.select([], [sock], [], 0.5)[1] and sent < LARGE:
        try:
            at = sent % len(BLOCK)
            sent += sock.send(BLOCK[at:])
        except BlockingIOError:
            continue
    sock.settimeout(PATIENCE)
    return sent


def send_rest(sock, sent):
    while sent < LARGE:
        part = BLOCK[sent % len(BLOCK) :]
        sock.sendall(part)
        sent += len(part)


def digest_received(recv, count):
    digest = hashlib.sha256()
    while count > 0:
        data = recv(min(count, 1 << 18))
        assert data, f"ended with {count} octets to come"
        digest.update(data)
        count -= len(data)
    return digest.hexdigest()


def shrink(sock):
    """Small socket buffers, so that what the proxy holds is seen."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_upload_to_a_slow_origin(proxy, origin, framing):
    gate = threading.Event()

    def script(connection):
        shrink(connection.sock)
        connection.read_until()
        gate.wait(PATIENCE)
        if framing == "length":
            connection.digest = digest_received(connection.recv_plain, LARGE)
        else:
            connection.digest = digest_of_chunks(connection)
        connection.send(reply(b"stored"))

    server = origin(plain_receiving(script))
    before = None
    with Client(proxy, send_buffer=65536) as client:
        fields = ("Transfer-Encoding: chunked",) if framing == "chunked" else (f"Content-Length: {LARGE}",)
        client.send(request(url_of(server, "/up"), *fields, method="POST"))
        server.wait_connection()
        before = proxy.memory_kib()
        if framing == "chunked":
            client.send(b"%x\r\n" % LARGE)
        sent = send_until_blocked(client.sock)
        assert sent < LARGE // 2, "the proxy, or a socket, took it all although nobody read"
        assert proxy.memory_kib() - before < 16 * 1024
        gate.set()
        send_rest(client.sock, sent)
        if framing == "chunked":
            client.send(b"\r\n0\r\n\r\n")
        assert client.response("POST").body == b"stored"
    assert server.connections()[0].digest == digest_of(LARGE)
    assert proxy.memory_kib() - before < 24 * 1024
    assert proxy.wait_log(lambda line: line["outcome"] == "ok")["bytes_up"] >= LARGE


def plain_receiving(script):
    """Gives the script's connection a recv that keeps nothing: an origin's own keeps all it gets."""

    def wrapped(connection):
        def recv(maximum):
            if connection._ahead:
                data, connection._ahead = connection._ahead[:maximum], connection._ahead[maximum:]
                return data
            return connection.sock.recv(maximum)

        connection.recv_plain = recv
        script(connection)

    return wrapped


def digest_of_chunks(connection):
    digest, data = hashlib.sha256(), b""

    def more():
        block = connection.recv_plain(1 << 18)
        assert block, "ended in a chunk"
        return block

    while True:
        while b"\r\n" not in data:
            data += more()
        line, data = data.split(b"\r\n", 1)
        size = int(line, 16)
        if size == 0:
            return digest.hexdigest()
        while size > 0:
            data = data or more()
            digest.update(data[:size])
            size, data = size - len(data[:size]), data[size:]
        while len(data) < 2:
            data += more()
        data = data[2:]


@pytest.mark.parametrize("framing", ["length", "close"])
def test_large_download_by_a_slow_client(proxy, origin, framing):
    blocked = threading.Event()

    def script(connection):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        read_request(connection)
        length = f"Content-Length: {LARGE}\r\n" if framing == "length" else ""
        connection.send(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        connection.went = send_until_blocked(connection.sock)
        blocked.set()
        send_rest(connection.sock, connection.went)

    server = origin(script)
    with Client(proxy, receive_buffer=65536) as client:
        before = proxy.memory_kib()
        client.ask(url_of(server, "/down"))
        assert blocked.wait(PATIENCE)
        assert server.connections()[0].went < LARGE // 2, "the proxy took it all although nobody read"
        assert proxy.memory_kib() - before < 16 * 1024
        head = client.head()
        assert head.status == 200
        assert digest_received(client.recv, LARGE) == digest_of(LARGE)
        if framing == "close":
            assert client.ended()
    assert proxy.memory_kib() - before < 24 * 1024
    assert proxy.wait_log(lambda line: line["outcome"] == "ok")["bytes_down"] >= LARGE


def test_both_bodies_at_once(client, origin):
    """The origin answers each block as it comes: neither direction waits for the other's end."""
    count = 64

    def script(connection):
        connection.read_until()
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {count * len(BLOCK)}\r\n\r\n".encode())
        for _ in range(count):
            connection.send(connection.read_exactly(len(BLOCK)))

    client.send(request(url_of(origin(script)), f"Content-Length: {count * len(BLOCK)}", method="POST"))
    client.send(BLOCK)
    assert client.head().status == 200
    for left in range(count, 0, -1):
        assert digest_received(client.recv, len(BLOCK)) == hashlib.sha256(BLOCK).hexdigest()
        if left > 1:
            client.send(BLOCK)


# Fields.


def test_request_fields_that_stay_and_go(client, http_origin):
    server = http_origin(pages({"/": b"ok"}))
    client.ask(
        url_of(server),
        "Connection: keep-alive, x-private, Host, Authorization",
        "X-Private: only for the proxy",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic c2VjcmV0",
        "Proxy-Features: all",
        "TE: trailers, gzip",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Authorization: Basic b3JpZ2lu",
        "Accept: */*",
        "X-Many: 1",
        "Cookie: a=b",
        "X-Many: 2",
        "User-Agent: pki/5.9",
    )
    assert client.response().status == 200
    seen = server.requests[0]
    names = [name.lower() for name, _ in seen.headers]
    gone = {"x-private", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-features", "te", "upgrade"}
    assert not gone & set(names), seen.head
    assert "x-private" not in (seen.header("Connection") or "").lower(), seen.head
    assert seen.header("Authorization") == "Basic b3JpZ2lu", "a client cannot have end-to-end fields removed"
    assert [value for name, value in seen.headers if name == "X-Many"] == ["1", "2"]
    assert seen.header("Accept") == "*/*" and seen.header("Cookie") == "a=b" and seen.header("User-Agent") == "pki/5.9"
    assert names.count("host") == 1 and seen.header("Host") == f"{NAME}:{server.port}"
    assert "x-forwarded-for" not in names and "forwarded" not in names


def test_response_fields_that_stay_and_go(client, origin, http_origin):
    server = origin(
        speaks(
            b"HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nSet-Cookie: a\r\n"
            b"Replay-Nonce: n1\r\nSet-Cookie: b\r\nContent-Type: application/pkix-crl\r\nContent-Length: 2\r\n\r\nok"
        )
    )
    answer = client.fetch(url_of(server))
    names = {name.lower() for name, _ in answer.fields}
    gone = {"x-inner", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade"}
    assert not gone & names, answer.head
    assert [value for name, value in answer.fields if name == "Set-Cookie"] == ["a", "b"]
    assert answer.header("Replay-Nonce") == "n1" and answer.header("Content-Type") == "application/pkix-crl"
    assert_goes_on(client, http_origin)


@pytest.mark.parametrize(
    "version, via, wanted",
    [("1.1", (), "1.1 ferry-1"), ("1.0", (), "1.0 ferry-1"), ("1.1", ("Via: 1.1 inner",), "1.1 inner, 1.1 ferry-1")],
)
def test_via_on_the_request(client, http_origin, version, via, wanted):
    """RFC 9110 section 7.6.3: the version is the received one."""
    server = http_origin(pages({"/": b"ok"}))
    assert client.fetch(url_of(server), *via, version=version).status == 200
    assert server.requests[0].header("Via") == wanted
    assert server.requests[0].version == "HTTP/1.1"


def test_via_on_the_response(client, origin):
    answer = client.fetch(url_of(origin(speaks(reply(b"", headers=("Via: 1.1 varnish",))))))
    assert answer.header("Via") == "1.1 varnish, 1.1 ferry-1"


@pytest.mark.parametrize("host", ["other.enroll.test", NAME, "127.0.0.1:48999", ""])
def test_host_comes_from_the_target(client, http_origin, host):
    """OpenSSL leaves the port out, or names the proxy: only the target counts (RFC 9112 section 3.2.2)."""
    server = http_origin(pages({"/": b"ok"}))
    assert client.fetch(url_of(server), f"Host: {host}").status == 200
    assert [v for n, v in server.requests[0].headers if n.lower() == "host"] == [f"{NAME}:{server.port}"]


def test_host_absent_in_http_1_0(client, http_origin):
    server = http_origin(pages({"/": b"ok"}))
    client.send(f"GET {url_of(server)} HTTP/1.0\r\n\r\n".encode())
    assert client.response().status == 200
    assert server.requests[0].header("Host") == f"{NAME}:{server.port}"


@pytest.mark.parametrize(
    "written, sent",
    [("", "/"), ("/", "/"), ("?a=b", "/?a=b"), ("/a%2Fb/../c?d=%7e&e=?", "/a%2Fb/../c?d=%7e&e=?"), ("//x", "//x")],
)
def test_path_goes_on_as_written(client, http_origin, written, sent):
    server = http_origin(lambda _: reply(b"ok"))
    assert client.fetch(f"http://{NAME}:{server.port}{written}").status == 200
    assert server.requests[0].target == sent


def test_host_name_in_other_spelling(client, http_origin):
    """Case and a final dot are no difference; the origin sees the canonical name."""
    server = http_origin(pages({"/": b"ok"}))
    assert client.fetch(f"HTTP://CA.Enroll.Test.:{server.port}/").status == 200
    assert server.requests[0].header("Host") == f"{NAME}:{server.port}"


def test_options_asterisk(client, http_origin):
    """RFC 9112 section 3.2.4: without a path it is the server as a whole that is asked."""
    server = http_origin(lambda _: reply(b""))
    assert client.fetch(f"http://{NAME}:{server.port}", method="OPTIONS").status == 200
    assert server.requests[0].target == "*"


def test_max_forwards_counts_down(client, http_origin):
    server = http_origin(lambda _: reply(b""))
    assert client.fetch(url_of(server), "Max-Forwards: 5", method="OPTIONS").status == 200
    assert server.requests[0].header("Max-Forwards") == "4"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(client, http_origin, method):
    server = http_origin(lambda request: reply(request.method.encode()))
    assert client.fetch(url_of(server), method=method, body=b"x").body == method.encode()
    assert server.requests[0].body == b"x"


def test_forwarded_for_when_asked(certferry, enroll_settings, http_origin):
    proxy = certferry(enroll_settings | {"forwarded.for": "on"})
    server = http_origin(pages({"/": b"ok"}))
    with Client(proxy) as client:
        assert client.fetch(url_of(server), "X-Forwarded-For: 192.0.2.1").status == 200
    assert server.requests[0].header("X-Forwarded-For") == "192.0.2.1, 127.0.0.1"


# Connections.


def test_kept_alive_on_both_sides(client, proxy, http_origin):
    server = http_origin(pages({"/a": b"a", "/b": b"b"}))
    assert [client.fetch(url_of(server, path)).body for path in ("/a", "/b", "/a")] == [b"a", b"b", b"a"]
    assert client.fetch(url_of(server), method="POST", body=b"p").body == b"p"
    assert len(server.connections()) == 1
    with Client(proxy) as other:
        assert other.fetch(url_of(server, "/b")).body == b"b"
    assert len(server.connections()) == 1, "the pool serves every client"
    with Client(proxy) as other:
        assert other.fetch(f"http://other.enroll.test:{server.port}/a").body == b"a"
    assert len(server.connections()) == 2, "but another name gets another connection, though it has the same address"


def test_connection_close_by_the_client(client, http_origin):
    server = http_origin(pages({"/": b"bye"}))
    answer = client.fetch(url_of(server), "Connection: close")
    assert answer.body == b"bye" and answer.closes()
    assert client.ended()


def test_connection_close_by_the_origin(client, origin, http_origin):
    """Its affair alone: the client's connection goes on."""
    answer = client.fetch(url_of(origin(speaks(reply(b"x", headers=("Connection: close",))))))
    assert answer.body == b"x" and not answer.closes()
    assert_goes_on(client, http_origin)


def test_pipelined_requests_are_answered_in_order(client, http_origin):
    server = http_origin(pages({"/a": b"a" * 100_000, "/c": b"c"}))
    client.send(
        request(url_of(server, "/a"))
        + request(url_of(server), method="POST", body=b"b" * 50_000)
        + request(url_of(server, "/c"), method="HEAD")
        + request(url_of(server, "/c"), "Connection: close")
    )
    assert client.response().body == b"a" * 100_000
    assert client.response("POST").body == b"b" * 50_000
    assert client.response("HEAD").header("Content-Length") == "1"
    last = client.response()
    assert last.body == b"c" and last.closes()
    assert client.ended()
    assert [seen.target for seen in server.requests] == ["/a", "/", "/c", "/c"]


def test_pipelined_request_behind_a_close_is_not_done(client, http_origin):
    server = http_origin(pages({"/a": b"a", "/b": b"b"}))
    client.send(request(url_of(server, "/a"), "Connection: close") + request(url_of(server, "/b")))
    assert client.response().closes()
    assert client.ended()
    assert [seen.target for seen in server.requests] == ["/a"]


def test_empty_line_between_requests(client, http_origin):
    """RFC 9112 section 2.2: old clients send one after a POST."""
    server = http_origin(pages({"/a": b"a"}))
    client.send(request(url_of(server), method="POST", body=b"x") + b"\r\n" + request(url_of(server, "/a")))
    assert client.response("POST").body == b"x"
    assert client.response().body == b"a"


def dies_on_the_second_request(connection):
    """Keeps the connection after the first answer and closes it at the first octet of what comes then."""
    read_request(connection)
    connection.send(reply(b"first"))
    if connection.number == 1:
        connection.second = connection.recv()
        return
    while read_request(connection):
        connection.send(reply(b"again"))


def test_get_is_repeated_when_a_kept_connection_dies(client, proxy, origin):
    server = origin(dies_on_the_second_request)
    assert client.fetch(url_of(server)).body == b"first"
    answer = client.fetch(url_of(server))
    assert (answer.status, answer.body) == (200, b"first")
    assert server.wait_done(1).second.startswith(b"GET "), "the first connection had got the request"
    assert len(server.connections()) == 2
    proxy.wait_log(lambda _: len(proxy.log()) == 2)
    assert [line["outcome"] for line in proxy.log()] == ["ok", "ok"]


def test_post_is_not_repeated_when_a_kept_connection_dies(client, proxy, origin, http_origin):
    """Nobody knows whether the CA has taken the order (RFC 9110 section 9.2.2)."""
    server = origin(dies_on_the_second_request)
    assert client.fetch(url_of(server)).body == b"first"
    answer = client.fetch(url_of(server), method="POST", body=b"order")
    assert answer.status == 502 and "http_response_incomplete" in answer.header("Proxy-Status")
    assert server.wait_done(1).second.startswith(b"POST ")
    assert len(server.connections()) == 1
    proxy.wait_log(lambda line: line["outcome"] == "response-incomplete" and line["method"] == "POST")


def test_scep_order_by_get_is_not_repeated_when_a_kept_connection_dies(client, proxy, origin):
    """RFC 8894 section 4.1 lets clients enroll by GET, perhaps with a password that is good once."""
    server = origin(dies_on_the_second_request)
    assert client.fetch(url_of(server)).body == b"first"
    answer = client.fetch(url_of(server, "/scep?operation=PKIOperation&message=MIIB"))
    assert answer.status == 502 and "http_response_incomplete" in answer.header("Proxy-Status")
    assert server.wait_done(1).second.startswith(b"GET ")
    assert len(server.connections()) == 1


def test_connection_that_died_while_idle_is_not_used(client, origin):
    """Its end is seen in time, so even a POST is safe."""
    gate = threading.Event()

    def script(connection):
        if read_request(connection):
            connection.send(reply(b"%d" % connection.number))
        if connection.number == 1:
            gate.wait(PATIENCE)

    server = origin(script)
    assert client.fetch(url_of(server)).body == b"1"
    gate.set()
    server.wait_done(1)
    # The FIN is on its way to the proxy before this is: loopback keeps the order.
    assert client.fetch(url_of(server), method="POST", body=b"x").body == b"2"


def test_octets_behind_a_response_never_answer_the_next_request(client, origin):
    """Response splitting: what an origin sends unasked must not be taken for the next client's answer."""
    server = origin(speaks(reply(b"one") + reply(b"forged"), reply(b"two")))
    assert client.fetch(url_of(server)).body == b"one"
    assert client.fetch(url_of(server)).body in (b"one", b"two")
    assert len(server.connections()) == 2


def test_client_that_leaves_in_a_response_frees_the_origin(proxy, origin):
    def script(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"5\r\nhello\r\n")

    server = origin(script)
    with Client(proxy) as client:
        client.ask(url_of(server))
        assert client.head().status == 200
        client.reset()
    server.wait_done(1)
    proxy.wait_log(lambda line: line["outcome"] in ("client-reset", "client-left"))


def test_client_that_leaves_in_a_request_frees_the_origin(proxy, origin):
    """The origin must not take what came for a whole request."""
    server = origin(lambda connection: setattr(connection, "got", connection.read_to_end()))
    with Client(proxy) as client:
        client.send(request(url_of(server), "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n")
        server.wait_connection()
    seen = server.wait_done(1)
    assert seen.error is not None or not seen.got.endswith(b"0\r\n\r\n")
    proxy.wait_log(lambda line: line["outcome"] in ("client-reset", "client-left"))


def test_many_clients_at_once(proxy, http_origin):
    server = http_origin(pages({f"/{n}": b"%d" % n * 1000 for n in range(200)}))
    clients = [Client(proxy) for _ in range(200)]
    for n, client in enumerate(clients):
        client.ask(url_of(server, f"/{n}"))
    for n, client in enumerate(clients):
        assert client.response().body == b"%d" % n * 1000
        client.close()
