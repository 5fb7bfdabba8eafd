"""
What the https-connect door speaks, octet by octet: versions, ciphers and extensions as testssl.sh asks for them; and
what slow and hostile clients come to, and those that speak no TLS at all.
"""

import contextlib
import os
import random
import ssl
import subprocess

import pytest
from support import programs
from support.certferry import PATIENCE
from support.client_pki import ClientAuthority
from support.raw_http import metric, request
from support.tls_door import (
    DoorClient,
    ask,
    client_hello,
    connect,
    context,
    extension,
    handshake_error,
    lists,
    read_some,
    server_name,
    still_serves,
    vector,
)
from support.tls_fixtures import both_kinds, certificate, proxy, settings, tls  # noqa: F401
from support.tunnels import read_to_end

NAME = "ca.enroll.test"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
PLAIN_PHRASE = "This port speaks TLS"


# ---- as testssl.sh asks ----


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302])
def test_old_versions_are_refused(proxy, version):
    answer = ask(proxy, client_hello(version=version, ciphers=(0xC009, 0xC013, 0x002F, 0xC02B)))
    assert answer.alert in ("protocol_version", "handshake_failure"), answer.octets
    line = proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")
    assert "protocol" in line["detail"] or "version" in line["detail"]
    assert line["status"] == 0


def test_ssl2_is_no_tls(proxy):
    """A ClientHello of SSL 2.0, which early versions of others still understood."""
    hello = bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16)
    assert ask(proxy, hello).alert
    proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")


@pytest.mark.parametrize(
    ("key", "version", "works"),
    [("1.2", TLS12, True), ("1.2", TLS13, True), ("1.3", TLS13, True), ("1.3", TLS12, False)],
)
def test_min_version(certferry, settings, authority, key, version, works):
    proxy = certferry(settings | {"tls.min.version": key})
    error = handshake_error(proxy, context(authority, version=version))
    assert (error is None) == works, error
    if not works:
        assert "PROTOCOL_VERSION" in error
        proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")
        assert metric(proxy, 'tls_handshakes_total{result="failed",version=""}') == 1


STRONG = {0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9}
# All that IANA has given a number in the ranges where TLS 1.2 and before have theirs, and many that it has not.
EVERY = [*range(0x0100), *range(0xC000, 0xC100), *range(0xCCA0, 0xCCB0), *range(0xFEFE, 0xFF00)]


def test_ciphers_of_tls12(certferry, settings, both_kinds):
    """Offered one by one, those of forward secrecy and authenticated encryption alone are taken."""
    proxy = certferry(settings | lists(both_kinds[1]) | {"limit.connections.per.client": "0"})
    taken = {ask(proxy, client_hello(ciphers=(cipher,))).cipher for cipher in EVERY}
    assert taken - {None} == STRONG


def test_broken_ciphers_cannot_be_configured(certferry, settings):
    proxy = certferry(settings | {"tls.ciphers": "ALL:COMPLEMENTOFALL", "limit.connections.per.client": "0"})
    null, export, rc4 = [0x0000, 0x0001, 0x0002, 0x003B, 0xC006], [0x0003, 0x0008, 0x0014], [0x0004, 0x0005, 0xC007]
    triple, anonymous = [0x000A, 0xC008, 0xC012], [0x0018, 0x001B, 0x0034, 0xC018]
    for cipher in null + export + rc4 + triple + anonymous:
        assert ask(proxy, client_hello(ciphers=(cipher,))).alert == "handshake_failure", hex(cipher)
    assert ask(proxy, client_hello(ciphers=(0xC009,))).cipher == 0xC009, "CBC can, for an old device"


def test_ciphers_of_tls13(proxy):
    for cipher, taken in ((0x1301, True), (0x1302, True), (0x1303, True), (0x1304, False), (0x1305, False)):
        share = extension(51, vector(bytes.fromhex("001d0020") + os.urandom(32)))
        groups = extension(10, vector(bytes.fromhex("001d")))
        signatures = extension(13, vector(bytes.fromhex("0403080408050401")))
        extensions = groups + signatures + share
        answer = ask(proxy, client_hello(ciphers=(cipher,), extensions=extensions, versions=(0x0304,)))
        assert (answer.cipher == cipher) is taken, (hex(cipher), answer.octets[:16])


def test_no_compression(proxy):
    answer = ask(proxy, client_hello(compressions=b"\x01\x00"))
    assert answer.cipher and answer.compression == 0


def test_no_renegotiation(proxy, home):
    """CVE-2011-1473: one client could make us compute for ever."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{proxy.doors['tls']}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=programs.environment(home),
    )  # fmt: skip
    said, _ = process.communicate(b"R\n", PATIENCE)
    assert b"Secure Renegotiation IS supported" in said, "RFC 5746, against injected prefixes"
    assert b"RENEGOTIATING" in said and b"no renegotiation" in said, said[-2000:]
    assert metric(proxy, 'tls_handshakes_total{result="full",version="1.2"}') == 1


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), ((), None)],
)
def test_alpn(proxy, authority, offered, chosen):
    with DoorClient(proxy, context(authority, alpn=offered)) as client:
        assert client.sock.selected_alpn_protocol() == chosen
        assert client.fetch("/healthz", "Host: a").status == 200


def test_alpn_of_nothing_that_we_speak(proxy, authority):
    error = handshake_error(proxy, context(authority, alpn=["h2"]))
    assert "no application protocol" in error.lower().replace("_", " ")
    proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")


# ---- clients that are no clients ----


def test_plain_http_is_told(proxy, home):
    done = programs.run(home, "curl", "--disable", "-sS", "-i", f"http://127.0.0.1:{proxy.doors['tls']}/")
    assert done.stdout.startswith(f"HTTP/1.1 400 {PLAIN_PHRASE}\r\n".encode()), programs.told(done)
    assert b"Write https:// before this proxy's host and port" in done.stdout
    line = proxy.wait_log(lambda line: line["outcome"] == "plain-to-tls-port")
    assert (line["door"], line["status"]) == ("tls", 400)
    assert metric(proxy, 'tls_handshakes_total{result="plain",version=""}') == 1


@pytest.mark.parametrize("method", ["CONNECT", "POST", "OPTIONS", "PROPFIND"])
def test_any_method_in_plain(proxy, method):
    with connect(proxy) as sock:
        sock.sendall(request(f"{NAME}:443", method=method))
        assert read_to_end(sock).startswith(f"HTTP/1.1 400 {PLAIN_PHRASE}\r\n".encode())


GARBAGE = {
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "ssh": b"\x00SSH-2.0-x\r\n",
    "record of alerts": b"\x15\x03\x03\x00\x02\x02\x28",
    "record of data": b"\x17\x03\x03\x00\x04data",
    "empty record": b"\x16\x03\x01\x00\x00" * 100,
    "longest length": b"\x16\x03\x01\xff\xff" + bytes(70000),
    "no hello": b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
    "hello of 16 MiB": b"\x16\x03\x01\x00\x09\x01\xff\xff\xff\x03\x03abc" + bytes(1000),
    "version 9": b"\x16\x09\x09" + client_hello()[3:],
    "cut extensions": client_hello(extensions=b"\x00\x0a\xff\xff\x00"),
    "server name twice": client_hello(extensions=server_name("a.test") * 2),
    "empty server name": client_hello(extensions=server_name("")),
    "NUL in the server name": client_hello(extensions=server_name("localhost\0.evil.test")),
    "no ciphers": client_hello(ciphers=()),
    "no compression": client_hello(compressions=b""),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(proxy, tls, name):
    answer = ask(proxy, GARBAGE[name])
    assert answer.cipher is None
    assert answer.alert or not answer.octets, answer.octets[:32]
    line = proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")
    assert line["detail"] and line["door"] == "tls"
    assert still_serves(proxy, tls)


def test_random_octets(proxy, tls):
    rolls = random.Random(11)
    for _ in range(200):
        with connect(proxy) as sock:
            head = b"\x16\x03\x01" if rolls.random() < 0.7 else b""
            sock.sendall(head + rolls.randbytes(rolls.randrange(1, 400)))
            with contextlib.suppress(OSError):
                sock.shutdown(1)
                read_to_end(sock)
    assert still_serves(proxy, tls)


def test_changed_hellos(proxy, tls):
    """A real ClientHello with octets changed here and there."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    rolls = random.Random(12)
    for _ in range(300):
        changed = bytearray(hello)
        for _ in range(rolls.randrange(1, 6)):
            changed[rolls.randrange(3, len(changed))] = rolls.randrange(256)
        with connect(proxy) as sock:
            sock.sendall(changed)
            with contextlib.suppress(OSError):
                sock.shutdown(1)
                read_to_end(sock)
    assert still_serves(proxy, tls)


def test_octet_by_octet(proxy, tls):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with connect(proxy) as sock:

        def turn(call, *arguments):
            while True:
                try:
                    return call(*arguments)
                except ssl.SSLWantReadError:
                    for octet in outgoing.read():
                        sock.sendall(bytes([octet]))
                    incoming.write(sock.recv(65536))

        turn(client.do_handshake)
        client.write(request("/healthz", "Host: a"))
        assert turn(client.read, 65536).startswith(b"HTTP/1.1 200")


def test_big_hello(proxy, tls):
    """100 KB is more than anybody needs, and less than OpenSSL takes at most: no harm either way."""
    padded = extension(0x5A5A, bytes(16000)) + extension(0x7A7A, bytes(0xBF00))
    answer = ask(proxy, client_hello(extensions=padded))
    assert answer.alert or answer.cipher
    message = b"\x01\x01\x86\xa0" + bytes(100_000)
    records = [message[at : at + 16384] for at in range(0, len(message), 16384)]
    with connect(proxy) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"".join(b"\x16\x03\x01" + vector(record) for record in records))
        read_some(sock, 1 << 20)
    proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")
    assert still_serves(proxy, tls)


def test_half_a_hello_is_not_waited_for(certferry, settings, tls):
    proxy = certferry(settings | {"timeout.tls.handshake": "300ms"})
    with connect(proxy) as sock:
        sock.sendall(client_hello()[:60])
        assert read_to_end(sock) == b""
    line = proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-timeout")
    assert (line["status"], line["door"]) == (0, "tls")
    assert metric(proxy, 'tls_handshakes_total{result="timeout",version=""}') == 1
    assert still_serves(proxy, tls)


def test_hello_without_an_end(certferry, settings, tls):
    """The rest of a handshake is due within the same time, whatever comes meanwhile."""
    proxy = certferry(settings | {"timeout.tls.handshake": "300ms"})
    with connect(proxy) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(client_hello()[:-1])
            while sock.recv(65536):
                pass
    proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-timeout")


def test_who_says_nothing_is_no_event(certferry, settings):
    """Probes of load balancers: connect, perhaps wait, and leave."""
    proxy = certferry(settings | {"timeout.tls.handshake": "200ms"})
    with connect(proxy) as sock:
        assert read_to_end(sock) == b"", "its time is over"
    connect(proxy).close()
    with connect(proxy) as sock:
        sock.shutdown(1)
        assert read_to_end(sock) == b""
    assert proxy.log() == []


def test_handshake_without_a_request_is_no_event(certferry, settings, authority):
    proxy = certferry(settings | {"threads": 1})
    for _ in range(2):
        with DoorClient(proxy, context(authority)):
            pass
    with DoorClient(proxy, context(authority)) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
    proxy.wait_log(lambda line: line["operation"] == "healthz")
    proxy.stop()
    assert [line["operation"] for line in proxy.log()] == ["healthz"]


def test_client_that_does_not_believe_us(proxy, tmp_path, home):
    other = ClientAuthority(tmp_path / "other", "Another CA")
    door = ("--proxy", f"https://localhost:{proxy.doors['tls']}", "--proxy-cacert", other.cert)
    done = programs.run(home, "curl", "--disable", "-sS", *door, f"http://{NAME}/")
    assert done.returncode == 60, programs.told(done)
    line = proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-failed")
    assert "unknown ca" in line["detail"]
