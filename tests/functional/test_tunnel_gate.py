"""
The gate of tunnels (RFC 8446 section 4.1.2, RFC 6066 section 3): which first octets open it, in whatever pieces they
come; that nothing passes either way before; what a refused client, the log and the metrics are told.
"""

import select
import socket
import ssl
import threading

import pytest
from support import programs
from support.certferry import PATIENCE
from support.client_hello import (
    ACCESS_DENIED,
    DECODE_ERROR,
    UNRECOGNIZED_NAME,
    alert,
    chrome,
    encrypted_client_hello,
    hello,
    hello_of,
)
from support.hellos import LIMIT, MALFORMED, NAME, NAMED, NAMELESS, NOT_TLS, OTHER, all_hellos, hellos
from support.origins import echo, pages, swallow
from support.tunnels import open_tunnel, read_exactly, read_to_end


@pytest.fixture
def gated(certferry, enroll_settings):
    """Factory: gated(sni, more settings) -> a proxy of one thread, to which addresses are hosts like others."""

    def start(sni="match", settings=None):
        addresses = {"allowed.hosts": "127.0.0.1,[::1]", "allowed.networks": "127.0.0.0/8,::1/128"}
        return certferry(enroll_settings | addresses | {"tunnel.sni": sni, "threads": "1"} | (settings or {}))

    return start


def assert_told(proxy, port, outcome, sni, result):
    """The log and the metrics say the same of the only tunnel there was."""
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT" and line["port"] == port)
    assert (line["outcome"], line["sni"]) == (outcome, sni or ""), line
    assert hellos(proxy) == ({result: 1} if result else {})
    return line


def assert_passes(proxy, server, host, octets, name, result):
    """Origin and client get every octet as it was sent."""
    with open_tunnel(proxy, host, server.port) as sock:
        sock.sendall(octets)
        assert read_exactly(sock, len(octets)) == octets
        sock.sendall(b"more")
        assert read_exactly(sock, 4) == b"more"
    assert bytes(server.wait_done().received) == octets + b"more"
    line = assert_told(proxy, server.port, "ok", name, result)
    assert (line["bytes_up"], line["bytes_down"]) == (len(octets) + 4, len(octets) + 4)


def assert_refused(proxy, server, host, octets, outcome, name, result, code):
    """The client gets the alert and the end, the origin the end and nothing else."""
    with open_tunnel(proxy, host, server.port) as sock:
        sock.sendall(octets)
        assert read_to_end(sock) == alert(code)
    assert not server.wait_done().received
    line = assert_told(proxy, server.port, outcome, name, result)
    assert (line["bytes_up"], line["bytes_down"]) == (0, len(alert(code)))


# What opens it: (octets, server name that the log shows).
GOOD = {what: (octets, NAME) for what, octets in NAMED.items()}
GOOD |= {what: (octets, None) for what, octets in NAMELESS.items()}


@pytest.mark.parametrize("octets, name", GOOD.values(), ids=GOOD)
def test_gate_opens(octets, name, gated, origin):
    assert_passes(gated(), origin(echo), NAME, octets, name, "match" if name else "absent")


def cut(octets, *sizes):
    """The octets in pieces of these sizes; the last size goes on to the end."""
    pieces, at = [], 0
    for number in range(len(octets)):
        if at >= len(octets):
            break
        size = sizes[min(number, len(sizes) - 1)]
        pieces.append(octets[at : at + size])
        at += size
    return pieces


BEFORE_ENROLL = hello(NAME).index(b"enroll")
# The same in pieces, each a segment of its own; the first goes out with the head of the CONNECT.
PIECES = {
    "with the head": [hello(NAME)],
    "all but an octet with the head": cut(hello(NAME), len(hello(NAME)) - 1),
    "its first octet with the head": cut(hello(NAME), 1, LIMIT),
    "its record header alone": [b"", *cut(hello(NAME), 5, LIMIT)],
    "cut within the name": [b"", *cut(hello(NAME), BEFORE_ENROLL, 3, LIMIT)],
    "octet by octet": [b"", *cut(hello(NAME), 1)],
    "octet by octet in records of 1": [b"", *cut(hello(NAME, size=1), 1)],
    "a long one in segments of 1000": [b"", *cut(hello_of(LIMIT, NAME), 1000)],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_gate_opens_whatever_the_pieces(pieces, gated, origin):
    proxy, server = gated(), origin(echo)
    whole = b"".join(pieces)
    with open_tunnel(proxy, NAME, server.port, early=pieces[0]) as sock:
        for piece in pieces[1:]:
            sock.sendall(piece)
        assert read_exactly(sock, len(whole)) == whole
    assert bytes(server.wait_done().received) == whole
    assert_told(proxy, server.port, "ok", NAME, "match")


# Before it opens.


def assert_nothing_came(sock, proxy):
    """The proxy, which has one thread, has answered something else meanwhile; nothing came out of the tunnel."""
    assert hellos(proxy) == {}
    assert select.select([sock], [], [], 0)[0] == []


def test_origin_that_speaks_first_is_not_heard_before(gated, origin):
    spoken = threading.Event()

    def greet(connection):
        connection.send(b"early")
        spoken.set()
        echo(connection)

    proxy, server = gated(), origin(greet)
    octets = chrome(NAME)
    with open_tunnel(proxy, NAME, server.port) as sock:
        assert spoken.wait(PATIENCE)
        for piece in (octets[:1], octets[1:700], octets[700:-1]):
            sock.sendall(piece)
            assert_nothing_came(sock, proxy)
            assert not server.wait_connection().received
        sock.sendall(octets[-1:])
        assert read_exactly(sock, 5 + len(octets)) == b"early" + octets
    assert_told(proxy, server.port, "ok", NAME, "match")


def test_origin_that_ends_before(gated, origin):
    """Its last octets and its FIN wait as well, and come when the ClientHello has come."""
    ended = threading.Event()

    def speak_and_end(connection):
        connection.send(b"bye")
        connection.half_close()
        ended.set()
        connection.read_to_end()

    proxy, server = gated(), origin(speak_and_end)
    with open_tunnel(proxy, NAME, server.port) as sock:
        assert ended.wait(PATIENCE)
        assert_nothing_came(sock, proxy)
        sock.sendall(hello(NAME))
        assert read_to_end(sock) == b"bye"
        sock.shutdown(socket.SHUT_WR)
        assert bytes(server.wait_done().received) == hello(NAME)
    assert_told(proxy, server.port, "ok", NAME, "match")


def test_client_that_ends_right_behind_its_hello(gated, origin):
    proxy, server = gated(), origin(echo)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(hello(NAME))
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == hello(NAME)
    assert_told(proxy, server.port, "ok", NAME, "match")


@pytest.mark.parametrize("part", [b"", hello(NAME)[:1], hello(NAME)[:-1]], ids=["nothing", "an octet", "all but one"])
def test_client_that_leaves_in_front_of_the_gate(part, gated, origin):
    """No refusal: nobody is there to hear it. The origin hears no octet of half a ClientHello."""
    proxy, server = gated(), origin(swallow)
    with open_tunnel(proxy, NAME, server.port) as sock:
        sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    assert not server.wait_done().received
    assert_told(proxy, server.port, "client-left", None, None)


def test_first_octet_that_never_comes(gated, origin):
    proxy, server = gated(settings={"timeout.tunnel.hello": "300ms"}), origin(swallow)
    assert_refused(proxy, server, NAME, b"", "hello-timeout", None, "timeout", ACCESS_DENIED)


def test_trickled_hello_has_one_deadline(gated, origin):
    """An octet now and then puts nothing off."""
    proxy, server = gated(settings={"timeout.tunnel.hello": "500ms"}), origin(swallow)
    octets = chrome(NAME)
    with open_tunnel(proxy, NAME, server.port) as sock:
        for at in range(400):  # 20 seconds, and not a whole ClientHello
            sock.sendall(octets[at : at + 1])
            if select.select([sock], [], [], 0.05)[0]:
                break
        assert read_to_end(sock) == alert(ACCESS_DENIED)
    assert not server.wait_done().received
    assert_told(proxy, server.port, "hello-timeout", None, "timeout")


# What keeps it shut.

BAD = {what: (octets, "not-tls") for what, octets in NOT_TLS.items()}
BAD |= {what: (octets, "malformed") for what, octets in MALFORMED.items()}


@pytest.mark.parametrize("octets, result", BAD.values(), ids=BAD)
def test_gate_stays_shut(octets, result, gated, origin):
    """A name that is none never comes to the log."""
    assert_refused(gated(), origin(swallow), NAME, octets, f"hello-{result}", None, result, DECODE_ERROR)


# (CONNECT host, server name): a good name, but for somewhere else, though the allowlist has it.
ELSEWHERE = [
    (NAME, "enroll.test"),
    (NAME, "x." + NAME),
    (NAME, "x" + NAME),
    (NAME, NAME[1:]),
    (NAME, NAME + "1"),
    ("127.0.0.1", "ca.elsewhere.test"),
    ("[::1]", "ca.elsewhere.test"),
]


@pytest.mark.parametrize("host, name", ELSEWHERE)
def test_gate_stays_shut_for_another_name(host, name, gated, origin):
    server = origin(swallow, address=host.strip("[]") if "." not in host else "127.0.0.1")
    assert_refused(gated(), server, host, hello(name), "sni-mismatch", name, "mismatch", UNRECOGNIZED_NAME)


def test_gate_reads_the_outer_name_of_ech(gated, origin):
    """The public name of some provider is not the CA (RFC 9849 section 10.9.3 tells what follows)."""
    octets = hello("public.provider.test", encrypted_client_hello())
    assert_refused(
        gated(), origin(swallow), NAME, octets, "sni-mismatch", "public.provider.test", "mismatch", UNRECOGNIZED_NAME
    )


# Settings.

# (tunnel.sni, CONNECT host, server name, result)
PASSES = [
    ("match", NAME.upper(), NAME, "match"),
    ("match", NAME + ".", NAME, "match"),
    ("match", "xn--bcher-kva.enroll.test", "XN--Bcher-KVA.enroll.test", "match"),
    ("match", "127.0.0.1", None, "absent"),
    ("match", "127.0.0.1", NAME, "address"),
    ("match", "[::1]", None, "absent"),
    ("match", "[::1]", NAME, "address"),
    ("strict", NAME, NAME, "match"),
    ("strict", "127.0.0.1", NAME, "address"),
]


@pytest.mark.parametrize("sni, host, name, result", PASSES)
def test_gate_opens_for_the_host_that_was_meant(sni, host, name, result, gated, origin):
    server = origin(echo, address="::1" if "[" in host else "127.0.0.1")
    assert_passes(gated(sni), server, host, hello(name), name and name.lower(), result)


@pytest.mark.parametrize("host", [NAME, "127.0.0.1", "[::1]"])
def test_strict_wants_a_name(host, gated, origin):
    server = origin(swallow, address="::1" if "[" in host else "127.0.0.1")
    assert_refused(gated("strict"), server, host, hello(), "sni-missing", None, "missing", ACCESS_DENIED)


def test_name_of_an_address_needs_its_port_too(gated, origin):
    """The name in a tunnel to an address must be allowed as if it had been asked for."""
    server = origin(swallow)
    proxy = gated(settings={"allowed.domains": "", "allowed.hosts": f"127.0.0.1,{OTHER}"})
    assert_refused(proxy, server, "127.0.0.1", hello(NAME), "sni-mismatch", NAME, "mismatch", UNRECOGNIZED_NAME)


NO_TLS = NOT_TLS["SSH"]


def test_no_gate(gated, origin):
    proxy, server = gated("off"), origin(echo)
    assert_passes(proxy, server, NAME, NO_TLS, None, "ungated")


def test_raw_ports_are_without_a_gate_and_no_others(gated, origin):
    raw, other = origin(echo), origin(swallow)
    proxy = gated("strict", {"tunnel.raw.ports": f"1,{raw.port}"})
    assert_passes(proxy, raw, NAME, NO_TLS, None, "ungated")
    with open_tunnel(proxy, NAME, other.port) as sock:
        sock.sendall(NO_TLS)
        assert read_to_end(sock) == alert(DECODE_ERROR)
    assert not other.wait_done().received
    assert hellos(proxy) == {"ungated": 1, "not-tls": 1}


def test_reload_holds_for_those_who_wait_at_the_gate(gated, origin):
    """A tunnel that is open stays; what has not been judged yet is judged by the new rule."""
    proxy, server = gated(), origin(echo)
    with open_tunnel(proxy, NAME, server.port) as inside, open_tunnel(proxy, NAME, server.port) as waiting:
        inside.sendall(hello())
        assert read_exactly(inside, len(hello())) == hello()
        proxy.reload({"tunnel.sni": "strict"})
        refused_at_last(proxy, server)
        waiting.sendall(hello())
        assert read_to_end(waiting) == alert(ACCESS_DENIED)
        inside.sendall(b"more")
        assert read_exactly(inside, 4) == b"more"


def refused_at_last(proxy, server):
    """Workers take a new configuration a moment after the line that tells of it."""
    while True:
        with open_tunnel(proxy, NAME, server.port) as sock:
            sock.sendall(hello())
            if sock.recv(1) == alert(ACCESS_DENIED)[:1]:
                return


def test_metrics_name_every_result(gated):
    results = all_hellos(gated())
    wanted = "match address absent mismatch missing not-tls malformed timeout named ungated"
    assert results == dict.fromkeys(wanted.split(), 0)


# Real clients; those with an HTTP library are in test_clients.py.

VERSIONS = {"tls1": "TLSv1", "tls1_1": "TLSv1.1", "tls1_2": "TLSv1.2", "tls1_3": "TLSv1.3"}


def any_tls(certificate):
    """A script that speaks every version of TLS, also those that nobody should, and tells which it was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED

    def script(connection):
        with context.wrap_socket(connection.sock, server_side=True) as inside:
            inside.sendall(inside.version().encode() + b"\n")

    return script


@pytest.mark.parametrize("option, version", VERSIONS.items())
@pytest.mark.parametrize("name", [NAME, None], ids=["named", "nameless"])
def test_openssl_speaks_every_version(option, version, name, gated, authority, origin, home):
    proxy, server = gated(), origin(any_tls(authority.server(NAME)))
    naming = ("-servername", name) if name else ("-noservername",)
    where = ("-proxy", f"127.0.0.1:{proxy.port}", "-connect", f"{NAME}:{server.port}")
    weak = ("-cipher", "ALL:@SECLEVEL=0", "-quiet", "-verify_quiet")
    done = programs.run(home, "openssl", "s_client", *where, *naming, f"-{option}", *weak)
    assert done.stdout == version.encode() + b"\n", programs.told(done)
    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert (line["sni"], line["outcome"] in ("ok", "client-reset")) == (name or "", True), line
    assert hellos(proxy) == {"match" if name else "absent": 1}


def test_openssl_tells_why(gated, origin, home):
    proxy, server = gated("strict"), origin(swallow)
    where = ("-proxy", f"127.0.0.1:{proxy.port}", "-connect", f"{NAME}:{server.port}")
    done = programs.run(home, "openssl", "s_client", *where, "-noservername")
    assert done.returncode != 0 and "alert access denied" in programs.told(done)
    done = programs.run(home, "openssl", "s_client", *where, "-servername", OTHER)
    assert done.returncode != 0 and "unrecognized name" in programs.told(done)
    assert hellos(proxy) == {"missing": 1, "mismatch": 1}
    assert not any(connection.received for connection in server.connections())


def test_curl_with_another_name_tells_why(gated, authority, http_origin, home):
    """Domain fronting as curl does it: a tunnel to one name, TLS for another."""
    proxy = gated()
    server = http_origin(pages({"/page": b"page\n"}), certificate=authority.server(NAME, OTHER))
    port = server.port
    common = ("curl", "--disable", "--silent", "--show-error", "--proxy", proxy.url, "--cacert", authority.root.cert)
    done = programs.run(home, *common, f"https://{NAME}:{port}/page")
    assert done.stdout == b"page\n", programs.told(done)
    fronted = ("--connect-to", f"{OTHER}:{port}:{NAME}:{port}", f"https://{OTHER}:{port}/page")
    done = programs.run(home, *common, *fronted)
    assert done.returncode == 35 and "unrecognized name" in programs.told(done)
    proxy.wait_log(lambda line: (line["host"], line["sni"], line["outcome"]) == (NAME, OTHER, "sni-mismatch"))
    assert len(server.requests) == 1
