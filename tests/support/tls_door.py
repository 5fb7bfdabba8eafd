"""
TLS clients of a door of ours: Python's, and one that knows no more than the first octets of TLS, so that it can say
what no library would, and sees what the answer is made of.
"""

import contextlib
import os
import selectors
import socket
import ssl
import struct

from cryptography import x509
from support.raw_http import Client

PATIENCE = 20
HANDSHAKE, ALERT = 22, 21
# RFC 8446 section 6.2
ALERTS = {
    20: "bad_record_mac",
    40: "handshake_failure",
    42: "bad_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    80: "internal_error",
    100: "no_renegotiation",
    116: "certificate_required",
    120: "no_application_protocol",
}


def door_settings(certificate, **more):
    """
    Settings of a TLS door on a port of its own; in `more` a key's dots are written as underscores. Only root may search
    the directories where a test's certificates are.
    """
    settings = {"tls.listen": "127.0.0.1:0", "tls.cert": certificate.cert, "tls.key": certificate.key}
    settings["service.user"] = "root"
    return settings | {key.replace("_", "."): value for key, value in more.items()}


def context(authority, identity=None, version=None, alpn=()):
    """A client's, that believes `authority` (support/pki.py) and shows `identity` (a pki.Certificate)."""
    made = ssl.create_default_context(cafile=authority.root.cert)
    if identity:
        made.load_cert_chain(identity.cert, identity.key)
    if version:
        made.minimum_version = made.maximum_version = version
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


class DoorClient(Client):
    """raw_http.Client through TLS to the door `door` of `proxy`. `before`: octets that go ahead of TLS."""

    def __init__(self, proxy, tls, name="localhost", door="tls", source=None, before=b"", session=None):
        plain = socket.socket()
        if source:
            plain.bind((source, 0))
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", proxy.doors[door]))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = plain.getsockname()[1]
        self._ahead = b""
        if before:
            plain.sendall(before)
        try:
            self.sock = tls.wrap_socket(plain, server_hostname=name, session=session)
        except BaseException:
            plain.close()
            raise

    def certificate(self):
        """What we were shown, in DER."""
        return self.sock.getpeercert(binary_form=True)

    def half_close(self):
        """A FIN without close_notify."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def exchange(self, data):
        """Sends all of it while it reads as much: Python's TLS cannot do the two in two threads."""
        view, got, done = memoryview(data), [], 0
        self.sock.setblocking(False)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while done < len(data):
                waiting.modify(self.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if view else 0))
                assert waiting.select(PATIENCE), f"nothing moves after {done} octets"
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    view = view[self.sock.send(view[:65536]) :] if view else view
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    while more := self.sock.recv(65536):
                        got.append(more)
                        done += len(more)
        self.sock.settimeout(PATIENCE)
        return b"".join(got)

    def tunnel(self, host, port):
        """CONNECT; afterwards recv() and send() are the origin's."""
        target = f"{host}:{port}"
        self.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return self.head()


def resume(proxy, tls, session=None):
    """Whether the session was taken up, and the one to come back with."""
    with DoorClient(proxy, tls, session=session) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
        return client.sock.session_reused, client.sock.session


def names(*texts):
    return [x509.DNSName(text) for text in texts]


def lists(certificates):
    """tls.cert and tls.key of several."""
    return {
        "tls.cert": ",".join(str(each.cert) for each in certificates),
        "tls.key": ",".join(str(each.key) for each in certificates),
    }


def still_serves(proxy, tls):
    with DoorClient(proxy, tls) as client:
        return client.fetch("/healthz", "Host: a").status == 200


def resume(proxy, tls, session=None):
    """Whether it was resumed, and the session for the next time."""
    with DoorClient(proxy, tls, session=session) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
        return client.sock.session_reused, client.sock.session


# ---- octets ----


def extension(kind, data):
    return struct.pack("!HH", kind, len(data)) + data


def vector(data, size=2):
    return len(data).to_bytes(size, "big") + data


def server_name(name):
    return extension(0, vector(b"\0" + vector(name.encode())))


def client_hello(version=0x0303, ciphers=(0xC02B, 0xC02F), compressions=b"\0", extensions=None, versions=()):
    """The record of a ClientHello. `versions`: of the extension supported_versions, which TLS 1.3 needs."""
    if extensions is None:
        groups = extension(10, vector(bytes.fromhex("001d00170018")))
        formats = extension(11, vector(b"\0", 1))
        signatures = extension(13, vector(bytes.fromhex("0403080408050806040105010601")))
        extensions = groups + formats + signatures
    if versions:
        words = b"".join(struct.pack("!H", each) for each in versions)
        extensions += extension(43, vector(words, 1))
    suites = b"".join(struct.pack("!H", each) for each in ciphers)
    body = struct.pack("!H", version) + os.urandom(32) + vector(b"", 1)
    body += vector(suites) + vector(compressions, 1) + (vector(extensions) if extensions else b"")
    message = b"\x01" + vector(body, 3)
    pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)]
    return b"".join(b"\x16\x03\x01" + vector(piece) for piece in pieces)


class Answer:
    """What came back for a ClientHello: a ServerHello, an alert's name, or nothing but the end (both None)."""

    def __init__(self, octets):
        self.octets = octets
        self.alert = self.cipher = self.compression = self.version = None
        kind = octets[0] if octets else None
        if kind == ALERT and len(octets) >= 7:
            self.alert = ALERTS.get(octets[6], str(octets[6]))
        elif kind == HANDSHAKE and octets[5] == 2:
            after_session = 5 + 4 + 2 + 32 + 1 + octets[5 + 4 + 2 + 32]
            self.version = struct.unpack_from("!H", octets, 9)[0]
            self.cipher = struct.unpack_from("!H", octets, after_session)[0]
            self.compression = octets[after_session + 2]


def connect(proxy, door="tls", source=None):
    sock = socket.socket()
    if source:
        sock.bind((source, 0))
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", proxy.doors[door]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_some(sock, least):
    """Until `least` octets are there, or the end."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while len(data) < least and (more := sock.recv(65536)):
            data += more
    return data


def ask(proxy, octets, door="tls", source=None):
    """The Answer to these octets on a connection of their own."""
    with connect(proxy, door, source) as sock:
        sock.sendall(octets)
        return Answer(read_some(sock, 7 if octets[:1] != b"\x16" else 48))


def handshake_error(proxy, tls, **how):
    """
    The reason, in OpenSSL's words, for which a client's handshake fails. In TLS 1.3 its own half is over before the
    server has judged its certificate: the alert comes with the first read.
    """
    try:
        with DoorClient(proxy, tls, **how) as client:
            client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            client.recv()
    except ssl.SSLError as error:
        return error.reason or str(error)
    except ConnectionResetError:
        return "RESET"
    return None
