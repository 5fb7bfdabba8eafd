"""Parent proxies: the next hop for everything, in order, until a first octet has gone to the client."""

import base64
import os
import signal
import socket
import ssl
import threading
import warnings

import pytest
from support import client_hello, enrolling, programs
from support.certferry import ENDED_WELL, NotReady
from support.daemons import unused_port
from support.origins import echo, pages, reply, swallow
from support.parents import Squid, Tinyproxy, answers, field, relays_to, silent, url
from support.pebble import NAME as PEBBLE_NAME
from support.pebble import Pebble
from support.raw_http import Client, assert_refused, chunked, metric, request
from support.tunnels import Refused, open_tunnel, read_exactly, read_to_end

NAME = "ca.enroll.test"
# Nobody knows this name but squid, and it is asked for all the same.
FAR = "ca.far.enroll.test"
PASSWORD = ("ferry", "p:w @,;%")
QUOTED = "ferry:p%3Aw%20%40%2C%3B%25@"
BASIC = b"Basic " + base64.b64encode(":".join(PASSWORD).encode())
NEXT = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def behind(certferry, enroll_settings, dns):
    """Factory: behind(*urls, **keys) -> certferry with these parents, one worker, one memory; dots of keys as "_"."""

    def start(*urls, **keys):
        settings = {key.replace("_", "."): value for key, value in keys.items()}
        given = {"threads": "1", "via.name": "ferry-1", "upstream.proxies": ",".join(urls), "tunnel.sni": "off"}
        # Passwords and CA lie where a service user could not go.
        given |= {"service.user": "root"}
        return certferry(enroll_settings | given | settings)

    # The only names that we may ask for ourselves are those of parents.
    dns.names = {}
    return start


@pytest.fixture
def dead():
    """The URL of a parent that nobody is, and nobody becomes."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def attempts(proxy, server, result):
    return metric(proxy, "parent_attempts_total", parent=url(server), result=result)


# CONNECT.


def test_connect_goes_to_the_parent(behind, origin, dns):
    server = origin(echo)
    parent = origin(relays_to(server))
    proxy = behind(url(parent))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(b"through")
        assert read_exactly(sock, 7) == b"through"
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert line["outcome"] == "ok" and line["parent"] == url(parent) and line["host"] == NAME
    head = parent.wait_done().head
    assert head == f"CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\nVia: 1.1 ferry-1\r\n\r\n".encode()
    assert attempts(proxy, parent, "ok") == 1
    assert not dns.queries


def test_via_of_the_client_goes_on_and_its_password_does_not(behind, origin):
    parent = origin(relays_to(origin(echo)))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        fields = ("Via: 1.0 first, 1.1 second", "Proxy-Authorization: Basic dTpw", "X-Mine: 1", f"Host: {NAME}:443")
        client.ask(f"{NAME}:443", *fields, method="CONNECT", version="1.0")
        assert client.head().status == 200
    head = parent.wait_done().head
    assert field(head, "Via") == [b"1.0 first, 1.1 second, 1.0 ferry-1"]
    assert not field(head, "Proxy-Authorization") and not field(head, "X-Mine")


def test_octets_behind_the_parents_answer_are_the_tunnels(behind, origin):
    """A server that speaks first: its octets come in one piece with the 200, and the length there means nothing."""
    early = b"220 ready\r\n"
    said = b"HTTP/1.0 200 Connection established\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + early
    parent = origin(answers(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX: 1\r\n\r\n" + said, then=echo))
    proxy = behind(url(parent))
    with open_tunnel(proxy, NAME, 25) as sock:
        assert read_exactly(sock, len(early)) == early
        sock.sendall(b"EHLO")
        assert read_exactly(sock, 4) == b"EHLO"


def test_octets_of_the_client_do_not_pass_before_the_parents_answer(behind, origin):
    go = threading.Event()

    def script(connection):
        connection.head = connection.read_until()
        connection.before = bytes(connection.received)
        go.wait(20)
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        echo(connection)

    parent = origin(script)
    proxy = behind(url(parent))
    with Client(proxy) as client:
        client.send(f"CONNECT {NAME}:443 HTTP/1.1\r\nHost: a\r\n\r\nearly".encode())
        parent.wait_connection()
        go.set()
        assert client.head().status == 200
        assert client.recv(5) == b"early"
    assert parent.wait_done().before.endswith(b"\r\n\r\n")


def test_the_gate_holds_behind_a_parent(behind, origin):
    """Early octets of the origin wait for the ClientHello too; a wrong name gets an alert and the parent nothing."""
    server = origin(swallow)
    parent = origin(relays_to(server, b"early"))
    proxy = behind(url(parent), tunnel_sni="match")
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(b"HELO\r\n")
        answer = read_to_end(sock)
    assert answer[:1] == b"\x15" and b"early" not in answer
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(client_hello.hello(NAME))
        assert read_exactly(sock, 5) == b"early"
    assert bytes(server.wait_connection(2).received).startswith(b"\x16\x03") or server.wait_done(2)


# Next parents.


def test_next_when_refused(behind, origin, dead):
    parent = origin(relays_to(origin(echo)))
    proxy = behind(dead, url(parent))
    for _ in range(2):
        with open_tunnel(proxy, NAME, 443) as sock:
            sock.sendall(b"x")
            assert read_exactly(sock, 1) == b"x"
    assert metric(proxy, "parent_attempts_total", parent=dead, result="unreachable") == 1  # avoided the second time
    assert metric(proxy, "parent_switches_total") == 1
    proxy.wait_event(f"parent proxy {dead} is broken")


# What a parent says that has the next one asked: (name, octets, result in the metrics).
MOVES_ON = [
    ("502", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "declined"),
    ("503", NEXT, "declined"),
    ("504", b"HTTP/1.0 504\r\n\r\n", "declined"),
    ("429", b"HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\n\r\n", "declined"),
    ("407", b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n', "password"),
    ("nothing", b"", "closed"),
    ("half a head", b"HTTP/1.1 200 OK\r\nServer: x\r\n", "closed"),
    ("garbage", b"\x16\x03\x03\x00\x02\x02\x28", "malformed"),
    ("SSH", b"SSH-2.0-OpenSSH_9\r\n", "malformed"),
    ("bare LF", b"HTTP/1.1 200 OK\n\n", "malformed"),
    ("HTTP/2", b"HTTP/2.0 200 OK\r\n\r\n", "malformed"),
    ("status 999", b"HTTP/1.1 999 OK\r\n\r\n", "malformed"),
    ("status 20", b"HTTP/1.1 20 OK\r\n\r\n", "malformed"),
    ("obs-fold", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "malformed"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "malformed"),
    ("NUL", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", "malformed"),
    ("101", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "malformed"),
    ("endless head", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000, "malformed"),
    ("endless field", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100000, "malformed"),
    ("endless reason", b"HTTP/1.1 200 " + b"b" * 100000, "malformed"),
    ("too many fields", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "malformed"),
    ("flood of 1xx", b"HTTP/1.1 100 Continue\r\n\r\n" * 10000, "malformed"),
]


@pytest.mark.parametrize(("octets", "result"), [row[1:] for row in MOVES_ON], ids=[row[0] for row in MOVES_ON])
def test_next_after_a_bad_answer(octets, result, behind, origin):
    first, second = origin(answers(octets)), origin(relays_to(origin(echo)))
    proxy = behind(url(first), url(second))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert line["parent"] == url(second) and line["outcome"] == "ok"
    assert attempts(proxy, first, result) == 1 and attempts(proxy, second, "ok") == 1


# The same with nobody else to ask: (octets, outcome).
FINAL = [
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "parent-failed"),
    (NEXT, "parent-busy"),
    (b"HTTP/1.1 504 Late\r\n\r\n", "parent-gateway-timeout"),
    (b"HTTP/1.1 429 Slow down\r\n\r\n", "parent-busy"),
    (b"HTTP/1.1 407 Who\r\n\r\n", "parent-password"),
    (b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n", "parent-denied"),
    (b"HTTP/1.1 508 Loop\r\n\r\n", "proxy-loop"),
    (b"HTTP/1.1 404 Not found\r\n\r\n", "parent-failed"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n", "parent-failed"),
    (b"HTTP/1.1 500 Oops\r\n\r\n", "parent-failed"),
    (b"", "parent-closed"),
    (b"HELLO\r\n", "parent-malformed"),
]


@pytest.mark.parametrize(("octets", "outcome"), FINAL)
def test_last_answer_is_the_outcome(octets, outcome, behind, origin):
    parent = origin(answers(octets))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        answer = client.fetch(f"{NAME}:443", method="CONNECT")
        line = assert_refused(proxy, answer, outcome, parent=url(parent), host=NAME)
    assert url(parent) in line["detail"] or outcome == "proxy-loop"
    assert not answer.header("Location")


def test_refusal_is_not_asked_elsewhere(behind, origin):
    """403 is a decision, not a fault."""
    first, second = origin(answers(b"HTTP/1.1 403 No\r\n\r\n")), origin(relays_to(origin(echo)))
    proxy = behind(url(first), url(second))
    with pytest.raises(Refused) as refused:
        open_tunnel(proxy, NAME, 443)
    assert refused.value.status == 403
    assert attempts(proxy, first, "refused") == 1 and not second.connections()


def test_silent_parent(behind, origin):
    """Once may be the fault of the host that was asked for; three times in a row are the parent's."""
    first, second = origin(silent), origin(relays_to(origin(echo)))
    proxy = behind(url(first), url(second), upstream_attempt_timeout="300ms")
    for tries in (1, 2, 3, 3):
        with open_tunnel(proxy, NAME, 443) as sock:
            sock.sendall(b"x")
            assert read_exactly(sock, 1) == b"x"
        assert attempts(proxy, first, "silent") == tries
        assert any(f"parent proxy {url(first)} is broken (silent" in event for event in proxy.events()) == (tries == 3)


def test_slow_name_breaks_no_parent(behind, origin):
    """Whoever may ask for an unreachable name must not take from the others the parent that answers them."""
    hang = threading.Event()

    def script(connection):
        head = connection.read_until()
        connection.head = head
        if b"slow." in head:
            hang.wait()
        else:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.read_to_end()

    first, second = origin(script), origin(script)
    proxy = behind(url(first), url(second), upstream_attempt_timeout="200ms", timeout_connect="500ms")
    for _ in range(3):
        with Client(proxy) as client:
            assert client.fetch("slow.enroll.test:443", method="CONNECT").status == 504
        with open_tunnel(proxy, NAME, 443):
            pass
    hang.set()
    assert attempts(proxy, first, "ok") == 3 and attempts(proxy, second, "ok") == 0
    assert not [event for event in proxy.events() if f"{url(first)} is broken" in event]


def test_all_silent_within_timeout_connect(behind, origin):
    parents = [origin(silent) for _ in range(3)]
    proxy = behind(*map(url, parents), upstream_attempt_timeout="200ms", timeout_connect="450ms")
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(f"{NAME}:443", method="CONNECT"), "parent-timeout")


def test_trickled_answer_has_one_deadline(behind, origin):
    stop = threading.Event()

    def trickle(connection):
        connection.head = connection.read_until()
        while not stop.wait(0.05):
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    parent = origin(trickle)
    proxy = behind(url(parent), upstream_attempt_timeout="400ms")
    with Client(proxy) as client:
        answer = client.fetch(f"{NAME}:443", method="CONNECT")
    stop.set()
    assert answer.status in (502, 504)


def test_all_broken_are_asked_all_the_same_and_never_nobody(behind, origin, dns):
    """In order, and no direct connection is made."""
    direct = origin(echo)
    port = unused_port()
    proxy = behind(f"http://127.0.0.1:{port}")
    dns.names = {"*.enroll.test": ["127.0.0.1"]}
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(f"{NAME}:{direct.port}", method="CONNECT"), "parent-unreachable")
    server = origin(echo)
    with open_tunnel_after(proxy, origin, server, port) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
    proxy.wait_event("works again")
    assert not direct.connections() and not dns.queries


def open_tunnel_after(proxy, origin, server, port):
    origin(relays_to(server), port=port)
    return open_tunnel(proxy, NAME, 443)


def test_broken_parent_is_asked_again_later(behind, origin):
    port = unused_port()
    second = origin(relays_to(origin(echo)))
    proxy = behind(f"http://127.0.0.1:{port}", url(second), upstream_retry_after="200ms")
    open_tunnel(proxy, NAME, 443).close()
    first = origin(relays_to(origin(echo)), port=port)
    for _ in range(200):
        open_tunnel(proxy, NAME, 443).close()
        if first.connections():
            break
        threading.Event().wait(0.02)
    assert first.connections()
    proxy.wait_event("works again")


def test_priority_comes_before_order(behind, origin):
    first, second = origin(answers(NEXT)), origin(relays_to(origin(echo)))
    proxy = behind(url(first) + ";priority=2", url(second))
    open_tunnel(proxy, NAME, 443).close()
    assert not first.connections()


def test_client_leaves_while_the_parent_is_asked(behind, origin):
    parent = origin(silent)
    proxy = behind(url(parent))
    client = Client(proxy)
    client.ask(f"{NAME}:443", method="CONNECT")
    parent.wait_connection()
    client.reset()
    parent.wait_done()
    assert proxy.wait_log(lambda line: line["method"] == "CONNECT")["outcome"] == "client-reset"


def in_pieces(octets, then=None):
    """The same, octet by octet."""

    def script(connection):
        connection.head = connection.read_until()
        for at in range(len(octets)):
            connection.send(octets[at : at + 1])
        if then:
            then(connection)

    return script


def test_answers_in_pieces(behind, origin):
    good = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nearly"
    parents = [origin(in_pieces(octets)) for octets in (NEXT, b"SSH-2.0-x\r\n", b"HTTP/1.1 407\r\n\r\n")]
    proxy = behind(*map(url, parents), url(origin(in_pieces(good, then=echo))))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(b" bird")
        assert read_exactly(sock, 10) == b"early bird"


def test_parent_ends_the_tunnel_at_once(behind, origin):
    """What came with the answer arrives, then the end."""
    parent = origin(answers(b"HTTP/1.1 200 OK\r\n\r\nlast words"))
    proxy = behind(url(parent))
    with open_tunnel(proxy, NAME, 443) as sock:
        assert read_to_end(sock) == b"last words"


def test_client_that_has_said_all_waits_for_the_parent(behind, origin):
    parent = origin(relays_to(origin(echo)))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        client.send(f"CONNECT {NAME}:443 HTTP/1.1\r\nHost: a\r\n\r\nall of it".encode())
        client.half_close()
        assert client.head().status == 200
        assert client._exactly(9) == b"all of it" and client.ended()


# Between the 200 and the first octet of the origin.


def promises(then):
    """200 to whatever comes, then this."""
    return answers(b"HTTP/1.1 200 OK\r\n\r\n", then=then)


def hears_and_leaves(connection):
    connection.hello = connection.recv()


def hears_and_resets(connection):
    connection.hello = connection.recv()
    connection.reset()


def test_reset_together_with_octets_that_are_sent_once(behind, origin):
    """They come in one turn, as the proxy is stopped meanwhile: no other parent may have the octets, and the reset is told."""
    go, gone = threading.Event(), threading.Event()

    def resets(connection):
        go.wait()
        connection.reset()
        gone.set()

    first, second = origin(promises(resets)), origin(promises(swallow))
    proxy = behind(url(first), url(second))
    with open_tunnel(proxy, NAME, 443) as sock:
        os.kill(proxy.process.pid, signal.SIGSTOP)
        try:
            sock.sendall(b"HELO\r\n")
            go.set()
            assert gone.wait(20)
        finally:
            os.kill(proxy.process.pid, signal.SIGCONT)
        assert proxy.wait_log(lambda line: line["method"] == "CONNECT")["outcome"] == "origin-reset"
        assert not second.connections()


def handshake_through(proxy, authority, server):
    with open_tunnel(proxy, NAME, 443) as sock:
        with authority.client_context().wrap_socket(sock, server_hostname=NAME) as inside:
            inside.sendall(b"through")
            assert read_exactly(inside, 7) == b"through"
            assert inside.getpeercert(True) == authority.server(NAME).der()
    assert server.wait_connection()


LOST = {"closed": hears_and_leaves, "reset": hears_and_resets, "silent": swallow}


@pytest.mark.parametrize("sni", ["strict", "off"])
@pytest.mark.parametrize("loses", LOST.values(), ids=LOST)
def test_tunnel_lost_before_its_first_octet_is_opened_anew(loses, sni, behind, authority, origin):
    """The ClientHello goes to the next parent, the client notices nothing."""
    first = origin(promises(loses))
    server = origin(echo, certificate=authority.server(NAME))
    proxy = behind(url(first), url(origin(relays_to(server))), upstream_attempt_timeout="500ms", tunnel_sni=sni)
    handshake_through(proxy, authority, server)
    assert attempts(proxy, first, "lost") == 1 and attempts(proxy, first, "ok") == 1
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert line["parent"] != url(first) and line["outcome"] in ENDED_WELL
    assert metric(proxy, "tunnels_total") == metric(proxy, "tunnels_closed_total") == 1


def test_tunnel_lost_twice(behind, authority, origin):
    server = origin(echo, certificate=authority.server(NAME))
    parents = [origin(promises(hears_and_leaves)), origin(promises(hears_and_resets)), origin(relays_to(server))]
    proxy = behind(*map(url, parents))
    handshake_through(proxy, authority, server)
    assert parents[0].connections()[0].hello == parents[1].connections()[0].hello


# What is not sent twice: (what the client says).
UNREPEATABLE = {
    "no TLS": b"EHLO x\r\n",
    "early data": client_hello.hello(NAME, client_hello.extension(42)),
    "more behind it": client_hello.hello(NAME) + b"\x17\x03\x03\x00\x01x",
    "in two records": client_hello.records(client_hello.message(client_hello.body(client_hello.server_name(NAME))), 20),
}


@pytest.mark.parametrize("octets", UNREPEATABLE.values(), ids=UNREPEATABLE)
def test_tunnel_is_not_opened_anew(octets, behind, origin):
    first, second = origin(promises(hears_and_leaves)), origin(promises(echo))
    proxy = behind(url(first), url(second))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(octets)
        assert read_all(sock) == b""
    assert bytes(first.wait_done().hello) == octets[: len(first.wait_done().hello)]
    assert not second.connections()


def read_all(sock):
    """To the end, or to a reset."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


def test_tunnel_that_has_spoken_is_not_opened_anew(behind, origin):
    def says_one_octet(connection):
        connection.recv()
        connection.send(b"\x16")

    first, second = origin(promises(says_one_octet)), origin(promises(echo))
    proxy = behind(url(first), url(second))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(client_hello.hello(NAME))
        assert read_all(sock) == b"\x16"
    assert not second.connections()


def test_nobody_else_will_have_the_tunnel(behind, origin):
    """The client has its 200: no other answer may follow in the tunnel."""
    first, second = origin(promises(hears_and_leaves)), origin(answers(b"HTTP/1.1 403 No\r\n\r\n"))
    proxy = behind(url(first), url(second))
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(client_hello.hello(NAME))
        assert read_all(sock) == b""
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert (line["outcome"], line["status"]) == ("parent-denied", 200)


def test_slow_origin_is_waited_for_when_nobody_else_is_there(behind, origin):
    pace = threading.Event()

    def slowly(connection):
        connection.recv()
        pace.wait(0.8)
        connection.send(b"\x16")

    parents = [origin(promises(slowly)), origin(promises(slowly))]
    proxy = behind(*map(url, parents), upstream_attempt_timeout="300ms")
    with open_tunnel(proxy, NAME, 443) as sock:
        sock.sendall(client_hello.hello(NAME))
        assert read_exactly(sock, 1) == b"\x16"
    assert not [event for event in proxy.events() if "is broken" in event]


# Policy.


def test_policy_holds_before_any_parent(behind, origin):
    parent = origin(relays_to(origin(echo)))
    proxy = behind(url(parent), allowed_connect_ports="443", allowed_hosts="127.0.0.1,10.1.2.3")
    refused = {
        "evil.test:443": "host-denied",
        f"{NAME}:22": "port-denied",
        "192.0.2.7:443": "literal-denied",
        "10.1.2.3:443": "address-denied",  # listed, but no network of ours
    }
    for target, outcome in refused.items():
        with Client(proxy) as client:
            assert_refused(proxy, client.fetch(target, method="CONNECT"), outcome)
        if outcome != "port-denied":
            with Client(proxy) as client:
                assert_refused(proxy, client.fetch(f"http://{target}/"), outcome)
    assert not parent.connections()
    with open_tunnel(proxy, "127.0.0.1", 443) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"


def test_parent_may_have_a_private_address(behind, origin):
    """Its address is not the guard's business; that of a request is."""
    parent = origin(relays_to(origin(echo)))
    proxy = behind(url(parent), allowed_networks=None)
    open_tunnel(proxy, NAME, 443).close()
    assert parent.wait_done().head


def test_parent_by_name_is_looked_up(behind, origin, dns):
    parent = origin(relays_to(origin(echo)))
    dns.names = {"parent.inner.test": ["127.0.0.1"]}
    proxy = behind(f"http://parent.inner.test:{parent.port}")
    open_tunnel(proxy, NAME, 443).close()
    assert {query[0] for query in dns.queries} == {"parent.inner.test"}


def test_no_proxy_goes_direct(behind, origin, http_origin, dns):
    dns.names = {"*.near.enroll.test": ["127.0.0.1"]}
    server, page = origin(echo), http_origin(pages({"/a": b"direct"}))
    parent = origin(answers(NEXT))
    proxy = behind(url(parent), no_proxy="near.enroll.test,127.0.0.0/8", allowed_hosts="127.0.0.1,127.0.0.2")
    for host in ("a.near.enroll.test", "127.0.0.1"):
        with open_tunnel(proxy, host, server.port) as sock:
            sock.sendall(b"x")
            assert read_exactly(sock, 1) == b"x"
    with Client(proxy) as client:
        answer = client.fetch(f"http://b.near.enroll.test:{page.port}/a")
        assert answer.body == b"direct"
    assert page.requests[0].target == "/a"
    with pytest.raises(Refused):
        open_tunnel(proxy, "near.enroll.test.far.enroll.test", server.port)
    assert len(parent.connections()) == 1


# Passwords.


def test_password_in_a_file_of_its_own(behind, origin, http_origin, tmp_path):
    tunnels, page = origin(relays_to(origin(echo))), http_origin(pages({"/a": b"x"}))
    lines = f"# of the parent\n127.0.0.1:{tunnels.port} {':'.join(PASSWORD)}\n"
    kept = private(tmp_path / "credentials", lines)
    proxy = behind(url(tunnels), upstream_credentials_file=kept)
    open_tunnel(proxy, NAME, 443).close()
    assert field(tunnels.wait_done().head, "Proxy-Authorization") == [BASIC]
    kept.write_text(f"127.0.0.1:{page.port} {':'.join(PASSWORD)}\n")
    proxy.reload({"upstream.proxies": url(page)})
    with Client(proxy) as client:
        client.ask(f"http://{NAME}/a", "Proxy-Authorization: Basic dTpw")
        client.response()
    assert page.requests[0].header("Proxy-Authorization") == BASIC.decode()
    text = "\n".join([*proxy.events(), *map(str, proxy.log())])
    assert PASSWORD[1] not in text and BASIC.decode() not in text


def test_password_in_the_configuration(behind, origin, certferry, tmp_path):
    """Only in a file that others cannot read; and no message repeats it."""
    parent = origin(relays_to(origin(echo)))
    with pytest.raises(NotReady) as refused:
        behind(url(parent, QUOTED))
    said = "\n".join(refused.value.events)
    assert "holds a password" in said and "chmod o-r" in said and "p%3Aw" not in said
    proxy = behind(url(parent))
    (proxy.directory / "conf/webserver.properties").chmod(0o600)
    write = proxy._write

    def write_private():
        write()
        (proxy.directory / "conf/webserver.properties").chmod(0o600)

    proxy._write = write_private
    assert "reloaded" in proxy.reload({"upstream.proxies": url(parent, QUOTED)})
    open_tunnel(proxy, NAME, 443).close()
    assert field(parent.wait_done().head, "Proxy-Authorization") == [BASIC]


def test_wrong_password_is_told_once_and_clearly(behind, origin):
    parent = origin(answers(b"HTTP/1.1 407 Who\r\n\r\n"))
    proxy = behind(url(parent))
    for _ in range(3):
        with Client(proxy) as client:
            answer = client.fetch(f"{NAME}:443", method="CONNECT")
            # It is not the client's password that is wrong.
            assert answer.status == 502 and not answer.header("Proxy-Authenticate")
    proxy.wait_event(r"does not take our password \(407\)")
    assert len([event for event in proxy.events() if "does not take our password" in event]) == 1


# Mistakes in the configuration: (keys, what the message must say).
MISTAKES = [
    ({"upstream.proxies": "parent:3128"}, "http://host:port"),
    ({"upstream.proxies": "socks5://parent:1080"}, "http://host:port"),
    ({"upstream.proxies": "http://parent"}, "port is missing"),
    ({"upstream.proxies": "http://parent:0"}, "1 to 65535"),
    ({"upstream.proxies": "http://parent:65536"}, "1 to 65535"),
    ({"upstream.proxies": "http://par ent:3128"}, "par ent"),
    ({"upstream.proxies": "http://0x7f.1:3128"}, "0x7f.1"),
    ({"upstream.proxies": "http://parent:3128;priority=0"}, "priority=N"),
    ({"upstream.proxies": "http://parent:3128;weight=1"}, "priority=N"),
    ({"upstream.proxies": "http://parent:3128/path"}, "1 to 65535"),
    ({"upstream.proxies": "http://a:1,http://A.:1"}, "twice"),
    ({"upstream.proxies": "http://secret@a:1"}, "user:password"),
    ({"upstream.proxies": "http://u:%zz@a:1"}, "hexadecimal"),
    ({"upstream.proxies": "http://u:secret,rest@a:1"}, "entry 1"),
    ({"upstream.proxies": "http://u:secret%40a:1"}, "entry 1"),
    ({"upstream.proxies": "http://a%3Ab:secret@a:1"}, "colon in the user"),
    ({"no.proxy": "*"}, "leave upstream.proxies empty"),
    ({"no.proxy": "10.0.0.1/8"}, "behind the prefix"),
    ({"upstream.proxies": "http://a:1", "upstream.credentials.file": "missing"}, "No such file"),
]


@pytest.mark.parametrize(("keys", "words"), MISTAKES)
def test_mistakes(keys, words, certferry):
    with pytest.raises(NotReady) as refused:
        certferry(keys)
    said = "\n".join(refused.value.events)
    assert refused.value.status == 1 and words in said, said
    assert "secret" not in said


@pytest.mark.parametrize("text", ["a:2 u:p", "a:1 up", "a:1", "u:p", "a:1 :p"])
def test_mistakes_in_the_credentials_file(text, certferry, tmp_path):
    kept = private(tmp_path / "credentials", f"# first\n{text}\n")
    with pytest.raises(NotReady) as refused:
        certferry({"upstream.proxies": "http://a:1", "upstream.credentials.file": kept})
    assert f"{kept}:2" in "\n".join(refused.value.events)


def test_credentials_file_that_everybody_can_read(certferry, tmp_path):
    kept = private(tmp_path / "credentials", "a:1 u:p\n")
    kept.chmod(0o644)
    with pytest.raises(NotReady) as refused:
        certferry({"upstream.proxies": "http://a:1", "upstream.credentials.file": kept})
    assert "chmod o-r" in "\n".join(refused.value.events)


# Plain HTTP.


def test_http_goes_in_absolute_form(behind, http_origin, dns):
    parent = http_origin(pages({f"http://{NAME}:8080/a": b"page"}))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        for _ in range(2):
            answer = client.fetch(f"http://{NAME}:8080/a?q", "Connection: X-Hop", "X-Hop: 1", "Proxy-Hop: 1")
            assert (answer.status, answer.body) == (200, b"page")
    first = parent.requests[0]
    assert first.head.startswith(f"GET http://{NAME}:8080/a?q HTTP/1.1\r\nHost: {NAME}:8080\r\n".encode())
    assert first.header("Via") == "1.1 ferry-1" and not first.header("X-Hop") and not first.header("Proxy-Hop")
    assert len(parent.connections()) == 1  # kept, by the parent
    line = proxy.wait_log(lambda line: line["status"] == 200)
    assert line["parent"] == url(parent) and line["outcome"] == "ok"
    assert not dns.queries


def test_idle_connections_belong_to_the_parent(behind, http_origin):
    """Two origins behind one parent share its connection."""
    parent = http_origin(lambda request: reply(request.target.encode()))
    proxy = behind(url(parent))
    for host in ("a.enroll.test", "b.enroll.test"):
        with Client(proxy) as client:
            assert client.fetch(f"http://{host}/").body == f"http://{host}/".encode()
    assert len(parent.connections()) == 1


def test_post_goes_through(behind, http_origin):
    parent = http_origin(pages({}))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        for framed in (request(f"http://{NAME}/a", method="POST", body=b"b" * 100000),):
            client.send(framed)
            assert client.response().body == b"b" * 100000
        head = f"POST http://{NAME}/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head.encode() + chunked(b"one", b"two"))
        assert client.response().body == b"onetwo"


def http_moves_on(status, *fields):
    return reply(b"not here\n", status, headers=fields)


PROOF = 'Proxy-Status: far; error=connection_refused; details="a,b;error=x"'


def test_get_goes_to_the_next(behind, http_origin, dead):
    first, second = http_origin(lambda _: http_moves_on("503 Busy")), http_origin(lambda _: reply(b"second"))
    proxy = behind(dead, url(first), url(second))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"second"
        assert len(first.requests) == 1
        assert second.requests[0].target == f"http://{NAME}/a"
    line = proxy.wait_log(lambda line: line["status"] == 200)
    assert line["parent"] == url(second)
    assert metric(proxy, "parent_switches_total") == 2


# Whether a POST goes on: (status, fields of the parent's answer, goes on).
POSTS = [
    ("503 Busy", (), False),
    ("503 Busy", (PROOF,), True),
    ("502 No", ("Proxy-Status: far; error=dns_error",), True),
    ("504 No", ("Proxy-Status: far;error=connection_timeout",), True),
    ("429 Slow", ("Proxy-Status: far; error=connection_limit_reached",), True),
    ("429 Slow", (), False),
    # Too late to be sure, or another's word.
    ("502 No", ("Proxy-Status: far; error=http_response_incomplete",), False),
    ("503 Busy", (PROOF, "Via: 1.1 far"), False),
    ("503 Busy", ('Proxy-Status: "far; error=connection_refused"',), False),
    ("503 Busy", ("Proxy-Status: origin-side, far; error=connection_refused",), False),
    ("500 Oops", (PROOF,), False),
    ("403 No", (PROOF,), False),
]


@pytest.mark.parametrize(("status", "fields", "goes_on"), POSTS)
def test_post_goes_to_the_next_only_when_nothing_was_forwarded(status, fields, goes_on, behind, http_origin):
    first = http_origin(lambda _: http_moves_on(status, *fields))
    second = http_origin(pages({}))
    proxy = behind(url(first), url(second))
    body = b"enroll me" * 1000
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a", method="POST", body=body)
        assert answer.status == (200 if goes_on else int(status[:3]))
        assert len(second.requests) == goes_on
        if goes_on:
            assert answer.body == body and second.requests[0].body == body
        # The connection serves on in any case.
        assert client.fetch(f"http://{NAME}/b", method="POST", body=b"again", version="1.1").status in (200, answer.status)


def test_chunked_post_is_repeated_whole(behind, http_origin):
    first = http_origin(lambda _: http_moves_on("503 Busy", PROOF))
    second = http_origin(pages({}))
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        client.send(f"POST http://{NAME}/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for part in (b"one", b"two" * 5000):
            client.send(chunked(part)[:-5])
        client.send(b"0\r\nX-Sum: 1\r\n\r\n")
        assert client.response().body == b"one" + b"two" * 5000
    assert second.requests[0].body == b"one" + b"two" * 5000


def test_post_refused_before_its_body_goes_on(behind, origin, http_origin):
    """The parent answers the head alone, the client has not sent its body yet."""
    answered = threading.Event()

    def script(connection):
        connection.head = connection.read_until()
        connection.send(NEXT)
        answered.set()
        connection.read_to_end()

    first, second = origin(script), http_origin(pages({}))
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        client.send(f"POST http://{NAME}/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n".encode())
        assert answered.wait(20)
        second.wait_connection()
        client.send(b"body")
        assert client.response().body == b"body"


def test_body_too_long_to_be_kept_is_not_repeated(behind, http_origin):
    first = http_origin(lambda _: http_moves_on("503 Busy", PROOF))
    second = http_origin(pages({}))
    proxy = behind(url(first), url(second), limit_tunnel_buffer="4096")
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a", method="POST", body=b"x" * 500000)
        assert answer.status == 503 and not second.requests


@pytest.mark.parametrize("octets", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"\x15\x03\x01", b"HTTP/1.1 200 OK\n\n"])
def test_get_after_a_broken_answer_and_post_not(octets, behind, origin, http_origin):
    first, second = origin(answers(octets)), http_origin(lambda request: reply(b"second"))
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"second"
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a", method="POST", body=b"once").status == 502
    assert not [request for request in second.requests if request.method == "POST"]


def test_a_cut_response_is_not_repeated(behind, origin, http_origin):
    """The client has a part of it: it must see that the rest is missing."""
    first = origin(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    second = http_origin(lambda request: reply(b"second"))
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a")
        assert not answer.complete and not second.requests


def test_silent_parent_for_get(behind, origin, http_origin):
    first, second = origin(silent), http_origin(lambda request: reply(b"second"))
    proxy = behind(url(first), url(second), upstream_attempt_timeout="300ms")
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"second"
    assert attempts(proxy, first, "lost") == 1


def test_answer_of_the_origins_own_is_not_asked_for_elsewhere(behind, http_origin):
    """503 with Via comes from behind the parent: another one would get the same."""
    parents = [http_origin(lambda _: http_moves_on("503 Busy", "Via: 1.1 somebody", "Retry-After: 7")) for _ in "12"]
    proxy = behind(*map(url, parents))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a")
    assert answer.status == 503 and answer.header("Retry-After") == "7"
    assert [len(parent.requests) for parent in parents] == [1, 0]


def test_407_of_an_origin_repeats_nothing(behind, certferry, enroll_settings, http_origin, dns):
    """An honest parent passes it on, with Via: that proves nothing of our password, and the POST has arrived."""
    page = http_origin(lambda _: http_moves_on("407 Who", 'Proxy-Authenticate: Basic realm="x"'))
    parents = [certferry(enroll_settings | {"via.name": name}) for name in ("p1", "p2")]
    proxy = behind(*(parent.url for parent in parents))
    dns.names = {"*.enroll.test": ["127.0.0.1"]}  # for the parents
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{page.port}/a", method="POST", body=b"enroll me").status == 502
    dns.names = {}
    assert len(page.requests) == 1
    assert not [event for event in proxy.events() if "our password" in event]


def test_trace_is_not_for_parents(behind, http_origin):
    """Its final recipient sends back what it got: our password (RFC 9110 section 9.3.8)."""
    parent = http_origin(lambda _: reply(b"TRACE"))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/", "Max-Forwards: 1", method="TRACE").status == 405
    assert not parent.requests


def test_post_on_a_connection_that_the_parent_has_just_ended(behind, origin):
    """An ordinary race, and no fault of the parent's; the POST may have arrived, so it is not repeated."""

    def once(connection):
        connection.head = connection.read_until()
        connection.send(reply(b"one"))
        connection.recv()

    parent = origin(once)
    proxy = behind(url(parent))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"one"
        assert client.fetch(f"http://{NAME}/a", method="POST", body=b"x").status == 502
    assert attempts(proxy, parent, "lost") == 1
    assert not [event for event in proxy.events() if "is broken" in event]


def test_slow_origin_behind_the_only_parent_is_waited_for(behind, http_origin):
    pace = threading.Event()

    def slowly(request):
        pace.wait(0.6)
        return reply(b"slow")

    parent = http_origin(slowly)
    proxy = behind(url(parent), upstream_attempt_timeout="200ms")
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"slow"


def test_stale_idle_connection_is_no_fault_of_the_parent(behind, origin):
    """Closed by the parent when the next request comes: the same parent is asked once more."""
    go = threading.Event()

    def once(connection):
        connection.head = connection.read_until()
        connection.send(reply(b"one"))
        go.wait(20)

    parent = origin(once)
    proxy = behind(url(parent))
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/a").body == b"one"
        go.set()
        parent.wait_done()
        assert client.fetch(f"http://{NAME}/a").body == b"one"
    assert attempts(proxy, parent, "ok") == 2 and attempts(proxy, parent, "closed") == 0


def test_last_answer_goes_to_the_client_and_says_whose_it_is(behind, http_origin):
    parent = http_origin(lambda _: http_moves_on("502 No", "Proxy-Status: far; error=dns_error"))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a")
        assert (answer.status, answer.body) == (502, b"not here\n")
        assert answer.header("Proxy-Status") == 'far; error=dns_error, "ferry-1"; received-status=502'
    line = proxy.wait_log(lambda line: line["status"] == 502)
    assert line["outcome"] == "parent-answer" and "answered 502 No" in line["detail"]


def test_error_of_the_origin_is_the_origins(behind, http_origin):
    parent = http_origin(lambda _: http_moves_on("503 Maintenance", "Via: 1.1 far"))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a")
        assert answer.status == 503 and not answer.header("Proxy-Status")
    assert proxy.wait_log(lambda line: line["status"] == 503)["outcome"] == "ok"


def test_question_for_a_password_is_not_the_clients(behind, http_origin):
    asked = 'Proxy-Authenticate: Basic realm="far"'
    parent = http_origin(lambda _: http_moves_on("407 Who", asked))
    proxy = behind(url(parent))
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}/a", method="POST", body=b"x")
        assert_refused(proxy, answer, "parent-password", parent=url(parent))
        assert not answer.header("Proxy-Authenticate")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_framings_of_responses_from_a_parent(version, behind, origin):
    said = [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one", b"two"), "GET", b"onetwo"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", b""),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n", "GET", b""),
        (b"HTTP/1.1 204 None\r\n\r\n", "DELETE", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", "GET", b"to the end"),
    ]
    for octets, method, body in said:
        proxy = behind(url(origin(answers(octets))))
        with Client(proxy) as client:
            assert client.fetch(f"http://{NAME}/", method=method, version=version).body == body


def test_pipelined_requests_go_on_one_by_one(behind, http_origin):
    first = http_origin(lambda _: http_moves_on("503 Busy", PROOF))
    second = http_origin(lambda request: reply(request.target.encode() + request.body))
    proxy = behind(url(first), url(second))
    with Client(proxy) as client:
        post = request(f"http://{NAME}/b", method="POST", body=b"body")
        client.send(request(f"http://{NAME}/a") + post + request(f"http://{NAME}/c"))
        for path in (b"/a", b"/bbody", b"/c"):
            assert client.response().body == f"http://{NAME}".encode() + path


def test_interim_responses_pass(behind, http_origin):
    parent = http_origin(pages({}))  # sends 100 to who expects it
    proxy = behind(url(parent))
    with Client(proxy) as client:
        client.send(f"POST http://{NAME}/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode())
        assert client.head().status == 100
        client.send(b"body")
        assert client.response().body == b"body"


# Certferries among themselves.


def test_certferry_behind_certferry(behind, certferry, enroll_settings, origin, http_origin, dns):
    inner_settings = {"tunnel.sni": "off", "via.name": "ferry-2"}
    inner = certferry(enroll_settings | inner_settings)
    outer = behind(inner.url)
    dns.names = {"*.enroll.test": ["127.0.0.1"]}
    server, page = origin(echo), http_origin(pages({"/a": b"far"}))
    with open_tunnel(outer, NAME, server.port) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
    with Client(outer) as client:
        assert client.fetch(f"http://{NAME}:{page.port}/a").body == b"far"
    assert page.requests[0].header("Via") == "1.1 ferry-1, 1.1 ferry-2"
    assert not outer.wait_log(lambda line: line["status"] == 200)["dns_ms"]  # it looked nothing up
    dns.names = {}


def test_post_finds_a_certferry_that_has_room(behind, certferry, enroll_settings, http_origin, dns):
    """The first one's queue is full; its Proxy-Status says that nothing was forwarded."""
    page = http_origin(pages({}))
    lost = certferry(enroll_settings | {"resolver.servers": "127.0.0.1:1", "resolver.timeout": "200ms"})
    good = certferry(enroll_settings)
    outer = behind(lost.url, good.url)
    dns.names = {"*.enroll.test": ["127.0.0.1"]}
    with Client(outer) as client:
        answer = client.fetch(f"http://{NAME}:{page.port}/a", method="POST", body=b"enroll me")
        assert (answer.status, answer.body) == (200, b"enroll me")
    assert len(page.requests) == 1


def test_parents_of_each_other(certferry, enroll_settings):
    """A loop is seen by its Via and ends at once, for CONNECT and plain HTTP."""
    port = unused_port()
    first = certferry(enroll_settings | {"upstream.proxies": f"http://127.0.0.1:{port}", "via.name": "ferry-1"})
    second = certferry(
        enroll_settings | {"upstream.proxies": first.url, "via.name": "ferry-2", "heartbeatport": port}
    )
    for proxy in (first, second):
        with Client(proxy) as client:
            assert_refused(proxy, client.fetch(f"{NAME}:443", method="CONNECT"), "proxy-loop")
        with Client(proxy) as client:
            answer = client.fetch(f"http://{NAME}/a")
            assert answer.status == 508
    itself = certferry(enroll_settings | {"heartbeatport": (own := unused_port()), "upstream.proxies": f"http://127.0.0.1:{own}"})
    with Client(itself) as client:
        assert_refused(itself, client.fetch(f"{NAME}:443", method="CONNECT"), "proxy-loop")


def test_reload_takes_parents_in_and_out(behind, origin, dns):
    server, parent = origin(echo), origin(relays_to(origin(echo)))
    proxy = behind()
    dns.names = {"*.enroll.test": ["127.0.0.1"]}
    open_tunnel(proxy, NAME, server.port).close()
    assert not parent.connections()
    proxy.reload({"upstream.proxies": url(parent)})
    with open_tunnel(proxy, NAME, server.port) as through:
        proxy.reload({"upstream.proxies": ""})
        through.sendall(b"still")  # the tunnel outlives its list
        assert read_exactly(through, 5) == b"still"
        open_tunnel(proxy, NAME, server.port).close()
    assert server.wait_connection(2) and len(parent.connections()) == 1


# TLS to the parent itself.


def secure(server):
    return url(server).replace("http:", "https:")


@pytest.fixture
def trusting(behind, authority):
    """Factory: behind() that believes the test's CA."""
    return lambda *urls, **keys: behind(*urls, upstream_ca=authority.root.cert, **keys)


def test_tunnel_through_a_parent_with_tls(trusting, authority, origin):
    """TLS inside TLS, more than fits any buffer, both ways; the inner certificate is the origin's."""
    inner = origin(echo, certificate=authority.server(NAME))
    parent = origin(relays_to(inner), certificate=authority.server("127.0.0.1"))
    proxy = trusting(secure(parent), tunnel_sni="strict")
    block = bytes(range(256)) * 1024
    with open_tunnel(proxy, NAME, 443) as sock, authority.client_context().wrap_socket(sock, server_hostname=NAME) as inside:
        assert inside.getpeercert(True) == authority.server(NAME).der()
        for _ in range(16):
            inside.sendall(block)
            assert read_exactly(inside, len(block)) == block
    connection = parent.wait_connection()
    assert connection.server_name is None  # an address is no server name
    assert connection.head.startswith(f"CONNECT {NAME}:443 ".encode())
    assert proxy.wait_log(lambda line: line["method"] == "CONNECT")["parent"] == secure(parent)


def test_http_through_a_parent_with_tls(trusting, authority, http_origin, dns):
    dns.names = {"parent.inner.test": ["127.0.0.1"]}
    parent = http_origin(pages({f"http://{NAME}/a": b"page" * 100000}), certificate=authority.server("parent.inner.test"))
    proxy = trusting(f"https://parent.inner.test:{parent.port}")
    with Client(proxy) as client:
        for _ in range(3):
            assert client.fetch(f"http://{NAME}/a").body == b"page" * 100000
            assert client.fetch(f"http://{NAME}/b", method="POST", body=b"b" * 300000).body == b"b" * 300000
    assert parent.connections()[0].server_name == "parent.inner.test"


def test_early_octets_through_a_parent_with_tls(trusting, authority, origin):
    script = answers(b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n", then=echo)
    parent = origin(script, certificate=authority.server("127.0.0.1"))
    proxy = trusting(secure(parent))
    with open_tunnel(proxy, NAME, 443) as sock:
        assert read_exactly(sock, 11) == b"220 ready\r\n"
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    assert proxy.wait_log(lambda line: line["method"] == "CONNECT")["outcome"] == "ok"


def speaks_tls11(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.server("127.0.0.1")
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    def script(connection):
        with context.wrap_socket(connection.sock, server_side=True) as sock:
            sock.recv(1)

    return {"script": script}


def blurts(octets):
    """Says that, whatever it hears."""

    def script(connection):
        connection.recv()
        connection.send(octets)

    return script


# Why a parent is not believed: (how it listens, outcome).
NO_TLS = {
    "another name": (lambda a: {"certificate": a.server("other.enroll.test")}, "parent-certificate"),
    "another address": (lambda a: {"certificate": a.server("127.0.0.2")}, "parent-certificate"),
    "TLS 1.1": (speaks_tls11, "parent-tls"),
    "plain": (lambda _: {"script": blurts(b"HTTP/1.1 400 Bad\r\n\r\n")}, "parent-tls"),
    "alert": (lambda _: {"script": blurts(b"\x15\x03\x03\x00\x02\x02\x28")}, "parent-tls"),
    "silent": (lambda _: {"script": swallow}, "parent-timeout"),
    "gone": (lambda _: {"script": hears_and_resets}, "parent-tls"),
}


@pytest.mark.parametrize(("listening", "outcome"), NO_TLS.values(), ids=NO_TLS)
def test_parent_that_is_not_believed(listening, outcome, trusting, authority, origin, http_origin):
    first = origin(**{"script": swallow} | listening(authority))
    proxy = trusting(secure(first), upstream_attempt_timeout="500ms")
    for ask in ({"target": f"{NAME}:443", "method": "CONNECT"}, {"target": f"http://{NAME}/", "method": "POST", "body": b"x"}):
        with Client(proxy) as client:
            assert_refused(proxy, client.fetch(**ask), outcome)
    assert not first.connections()[0].received or listening not in list(NO_TLS.values())[:2]
    second = http_origin(pages({}))
    proxy.reload({"upstream.proxies": f"{secure(first)},{url(second)}"})
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}/", method="POST", body=b"x").body == b"x"


def test_parent_of_an_unknown_ca(behind, authority, origin):
    """Without upstream.ca the system's CAs count."""
    parent = origin(swallow, certificate=authority.server("127.0.0.1"))
    proxy = behind(secure(parent))
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(f"{NAME}:443", method="CONNECT"), "parent-certificate")


def test_cut_inside_tls_is_seen(trusting, authority, origin):
    """The end of a body that only the end of the connection ends must be the parent's word (RFC 9112 section 9.8)."""

    def cut(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        connection.sock.shutdown(socket.SHUT_WR)  # without close_notify

    parent = origin(cut, certificate=authority.server("127.0.0.1"))
    proxy = trusting(secure(parent))
    with Client(proxy) as client:
        client.ask(f"http://{NAME}/a")
        with pytest.raises(ConnectionResetError):
            while client.recv():
                pass


@pytest.mark.parametrize("text", ["", "no certificate\n"])
def test_ca_file_without_a_ca(text, certferry, tmp_path):
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(NotReady) as refused:
        certferry({"upstream.proxies": "https://a:1", "upstream.ca": tmp_path / "ca.pem"})
    assert "upstream.ca" in "\n".join(refused.value.events)


# Real proxies and real clients.


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["open", "password"])
def test_squid(password, behind, authority, origin, http_origin, home, tmp_path):
    page = http_origin(pages({"/a": b"plain"}))
    secure = http_origin(pages({"/a": b"secret"}), certificate=authority.server(FAR))
    with Squid([FAR], password) as squid:
        kept = private(tmp_path / "credentials", f"127.0.0.1:{squid.port} {':'.join(PASSWORD)}\n")
        keys = {"upstream_credentials_file": kept} if password else {}
        proxy = behind(url(squid), tunnel_sni="strict", **keys)
        assert enrolling.fetched(home, proxy.url, f"http://{FAR}:{page.port}/a") == b"plain"
        trust = ("--cacert", authority.root.cert)
        assert enrolling.fetched(home, proxy.url, *trust, f"https://{FAR}:{secure.port}/a") == b"secret"
        body = home / "body"
        body.write_bytes(b"b" * 50000)
        sent = ("--data-binary", f"@{body}", f"http://{FAR}:{page.port}/a")
        assert enrolling.fetched(home, proxy.url, *sent) == body.read_bytes()
        assert page.requests[0].header("Via").startswith("1.1 ferry-1, 1.1 squid.parent.test")
        done = programs.run(
            home, "openssl", "s_client", "-proxy", f"127.0.0.1:{proxy.port}", "-connect", f"{FAR}:{secure.port}",
            "-servername", FAR, "-CAfile", authority.root.cert, "-verify_return_error", "-brief",
        )  # fmt: skip
        assert done.returncode == 0, programs.told(done)
        # Nobody listens there: squid's own words, and they are known for that.
        with Client(proxy) as client:
            answer = client.fetch(f"http://{FAR}:{unused_port()}/")
            assert answer.status == 503 and "received-status=503" in answer.header("Proxy-Status")
        assert proxy.wait_log(lambda line: line["status"] == 503)["outcome"] == "parent-answer"
        with Client(proxy) as client:
            assert_refused(proxy, client.fetch(f"{FAR}:{unused_port()}", method="CONNECT"), "parent-busy")


def test_squid_with_tls(trusting, authority, http_origin, home):
    page = http_origin(pages({"/a": b"plain"}))
    inner = http_origin(pages({"/a": b"secret" * 50000}), certificate=authority.server(FAR))
    with Squid([FAR], certificate=authority.server("127.0.0.1")) as squid:
        proxy = trusting(secure(squid), tunnel_sni="strict")
        assert enrolling.fetched(home, proxy.url, f"http://{FAR}:{page.port}/a") == b"plain"
        trust = ("--cacert", authority.root.cert)
        assert enrolling.fetched(home, proxy.url, *trust, f"https://{FAR}:{inner.port}/a") == b"secret" * 50000


def test_squid_that_wants_another_password(behind, tmp_path):
    with Squid([FAR], ("other", "word")) as squid:
        kept = private(tmp_path / "credentials", f"127.0.0.1:{squid.port} other:wrong\n")
        proxy = behind(url(squid), upstream_credentials_file=kept)
        for ask in ({"target": f"{FAR}:443", "method": "CONNECT"}, {"target": f"http://{FAR}/"}):
            with Client(proxy) as client:
                assert_refused(proxy, client.fetch(**ask), "parent-password")


@pytest.mark.parametrize("password", [None, ("ferry", "word")], ids=["open", "password"])
def test_tinyproxy(password, behind, authority, origin, http_origin, home, tmp_path):
    page = http_origin(pages({"/a": b"plain"}))
    secure = http_origin(pages({"/a": b"secret"}), certificate=authority.server("127.0.0.1"))
    with Tinyproxy(tmp_path / "tinyproxy", password) as tinyproxy:
        kept = private(tmp_path / "credentials", f"127.0.0.1:{tinyproxy.port} ferry:word\n")
        keys = {"upstream_credentials_file": kept} if password else {}
        proxy = behind(url(tinyproxy), allowed_hosts="127.0.0.1", tunnel_sni="match", **keys)
        assert enrolling.fetched(home, proxy.url, f"http://127.0.0.1:{page.port}/a") == b"plain"
        trust = ("--cacert", authority.root.cert)
        assert enrolling.fetched(home, proxy.url, *trust, f"https://127.0.0.1:{secure.port}/a") == b"secret"


@pytest.mark.parametrize("kind", ["certbot", "lego"])
def test_enrollment_through_squid_while_the_first_parent_is_dead(kind, behind, authority, home, tmp_path, dead):
    from test_acme import Certbot, Lego

    with Pebble(tmp_path / "pebble", authority) as pebble, Squid([PEBBLE_NAME]) as squid:
        proxy = behind(dead, url(squid), tunnel_sni="strict")
        client = {"certbot": Certbot, "lego": Lego}[kind](home, pebble, authority.root.cert, proxy.url)
        done = client.enroll("first")
        assert done.returncode == 0, programs.told(done)
        assert all(path.exists() for path in client.leaf_and_chain("first"))
        assert proxy.wait_log(lambda line: line["class"] == "tunnel")["parent"] == url(squid)


def test_tls_goes_through_unaltered(behind, authority, origin):
    """The certificate that the client sees is the origin's."""
    certificate = authority.server(NAME)
    parent = origin(relays_to(origin(echo, certificate=certificate)))
    proxy = behind(url(parent), tunnel_sni="strict")
    with open_tunnel(proxy, NAME, 443) as sock, authority.client_context().wrap_socket(sock, server_hostname=NAME) as inside:
        assert inside.getpeercert(True) == certificate.der()
        inside.sendall(b"x")
        assert inside.recv(1) == b"x"
        assert isinstance(inside, ssl.SSLSocket) and isinstance(sock, socket.socket)
