"""
Servers for the far side of the proxy: one thread for each connection, which runs a script - a function of a
Connection. What came is kept byte for byte (inside TLS: the plain text), so that a test can compare it.
"""

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass

PATIENCE = 20


class Connection:
    """One accepted connection, as its script sees it."""

    def __init__(self, sock, peer, number):
        self.sock = sock
        self.peer = peer
        self.number = number  # from 1, in the order of acceptance
        self.received = bytearray()
        self.error = None  # what ended the script, if it was no plain return
        self.server_name = None  # TLS only, as the next
        self.alpn = None
        self.done = threading.Event()
        self._ahead = b""

    def recv(self, maximum=65536):
        """What comes next; b"" at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:maximum], self._ahead[maximum:]
            return data
        data = self.sock.recv(maximum)
        self.received += data
        return data

    def read_until(self, mark=b"\r\n\r\n"):
        """Everything up to and including the mark; less if the peer ends first."""
        data = b""
        while mark not in data:
            more = self.recv()
            if not more:
                return data
            data += more
        end = data.index(mark) + len(mark)
        self._ahead = data[end:] + self._ahead
        return data[:end]

    def read_exactly(self, count):
        """`count` bytes; fewer if the peer ends first."""
        parts = []
        while count > 0:
            data = self.recv(min(count, 65536))
            if not data:
                break
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def read_to_end(self):
        return b"".join(iter(self.recv, b""))

    def send(self, data):
        self.sock.sendall(data)

    def half_close(self):
        """FIN; what the peer sends can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class Origin:
    """
    Listens from construction to close(). `certificate` (pki.Certificate) makes it a TLS server, `alpn` what it offers.
    A handshake that fails leaves its reason in the connection's `error`.
    """

    def __init__(self, script, address="127.0.0.1", certificate=None, alpn=(), port=0, require_client=None):
        self.script = script
        self._context = server_context(certificate, alpn, require_client) if certificate else None
        self._connections = []
        self._changed = threading.Condition()
        self._threads = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(512)
        self.address = address
        self.port = self._listener.getsockname()[1]
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def connections(self):
        """All so far, in the order of acceptance, those that have ended too."""
        with self._changed:
            return list(self._connections)

    def wait_connection(self, number=1, timeout=PATIENCE):
        """The connection with this number, from 1."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self._connections) >= number, timeout)
            assert there, f"connection {number} never came to the origin; there were {len(self._connections)}"
            return self._connections[number - 1]

    def wait_done(self, number=1, timeout=PATIENCE):
        """The same, once its script has ended."""
        connection = self.wait_connection(number, timeout)
        assert connection.done.wait(timeout), f"the origin's connection {number} did not end"
        return connection

    def become(self, certificate, version=None):
        """Another TLS server from the next connection on, that knows no sessions of the one before."""
        context = server_context(certificate, (), None)
        if version:
            context.maximum_version = version
        self._context = context

    def _accept(self):
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            if self._closed:
                sock.close()
                return
            with self._changed:
                connection = Connection(sock, peer, len(self._connections) + 1)
                self._connections.append(connection)
                self._changed.notify_all()
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection):
        plain = connection.sock
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                connection.sock = self._context.wrap_socket(plain, server_side=True)
                connection.server_name = connection.sock.server_name
                connection.alpn = connection.sock.selected_alpn_protocol()
            self.script(connection)
            say_goodbye(connection.sock)
        except (OSError, EOFError, ValueError) as error:
            connection.error = error
        finally:
            with contextlib.suppress(OSError):
                connection.sock.close()
            connection.done.set()

    def close(self):
        """Ends every connection that is still open."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        for connection in self.connections():
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def say_goodbye(sock):
    """close_notify, without waiting for the peer's: OpenSSL's clients take a bare FIN for an attack."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            sock.unwrap()


class NamedSocket(ssl.SSLSocket):
    """A TLS socket that remembers the name its client asked for."""

    server_name = None


def server_context(certificate, alpn, require_client):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if require_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(require_client)
    context.sslsocket_class = NamedSocket

    def remember(sock, name, _):
        sock.server_name = name

    context.sni_callback = remember
    return context


def echo(connection):
    """Sends back what comes until the peer's FIN, then ends too."""
    while data := connection.recv():
        connection.send(data)


def swallow(connection):
    """Reads to the end and says nothing."""
    connection.read_to_end()


@dataclass
class Request:
    """One HTTP request as it came."""

    method: str
    target: str
    version: str
    headers: list  # (name, value) in order, names as sent
    head: bytes  # with the empty line
    body: bytes = b""
    connection: Connection = None

    def header(self, name):
        """The value, several of them joined, None if there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


def read_request(connection):
    """The next request with its body, None at the end of the connection."""
    head = connection.read_until()
    if not head.endswith(b"\r\n\r\n"):
        return None
    line, *fields = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    request = Request(method, target, version, headers, head, connection=connection)
    if (request.header("expect") or "").lower() == "100-continue":
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if (request.header("transfer-encoding") or "").lower() == "chunked":
        request.body = read_chunked(connection)
    else:
        request.body = connection.read_exactly(int(request.header("content-length") or 0))
    return request


def read_chunked(connection):
    """The octets of a chunked body; trailers are dropped."""
    parts = []
    while size := int(connection.read_until(b"\r\n").split(b";")[0], 16):
        parts.append(connection.read_exactly(size))
        connection.read_until(b"\r\n")
    while connection.read_until(b"\r\n") not in (b"\r\n", b""):
        pass
    return b"".join(parts)


def reply(body=b"", status="200 OK", headers=(), kind="text/plain"):
    """A response with Content-Length."""
    fields = [f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + body


class HttpOrigin(Origin):
    """
    Answers each request with what `answer(request)` returns (bytes of a whole response), and keeps connections open as
    HTTP says. `requests` has all that came.
    """

    def __init__(self, answer, **how):
        self.answer = answer
        self.requests = []
        super().__init__(self._converse, **how)

    def _converse(self, connection):
        while request := read_request(connection):
            self.requests.append(request)
            response = self.answer(request)
            if request.method == "HEAD":
                response = response[: response.index(b"\r\n\r\n") + 4]
            connection.send(response)
            said = (request.header("connection") or "").lower()
            stays = "keep-alive" in said if request.version == "HTTP/1.0" else "close" not in said
            if not stays or b"\r\nconnection: close\r\n" in response[: response.index(b"\r\n\r\n") + 2].lower():
                return


def pages(bodies):
    """An answer function: {"/path": b"body"}; other paths are 404. A POST gets its own body back."""

    def answer(request):
        if request.method == "POST":
            return reply(request.body, kind="application/octet-stream")
        path = request.target.partition("?")[0]
        return reply(bodies[path]) if path in bodies else reply(b"no such page\n", "404 Not Found")

    return answer


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def http2_page(body):
    """A script that speaks just enough HTTP/2 (RFC 9113) to answer every request with 200 and this body."""

    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def script(connection):
        if connection.read_exactly(len(PREFACE)) != PREFACE:
            raise ValueError("no HTTP/2 preface")
        connection.send(frame(4, 0, 0))  # SETTINGS
        while len(head := connection.read_exactly(9)) == 9:
            connection.read_exactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == 4 and not flags & 1:
                connection.send(frame(4, 1, 0))  # SETTINGS, acknowledged
            if kind == 1:
                # HEADERS with `:status: 200` (index 8 of HPACK's static table), DATA that ends the stream.
                connection.send(frame(1, 4, stream, b"\x88") + frame(0, 1, stream, body))

    return script
