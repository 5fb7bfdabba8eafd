"""
The operations that are counted (support/cost.py), with client and origin in one thread. Before each octet that is sent,
the proxy's worker has come to rest: however busy the machine is, it sees the same events in the same order.
"""

import select
import socket

from support.certferry import PATIENCE
from support.client_hello import extension, groups, hello, key_share, vector
from support.tunnels import connect, read_exactly, read_head, read_to_end

NAME = "ca005000.cost.test"  # in the middle of the list
ENTRIES = 10_000
DOMAINS = ",".join(f"ca{number:06d}.cost.test" for number in range(ENTRIES))
HELLO_OCTETS = 517

ANSWER_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: cost\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nCache-Control: no-store\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
)


def openssl_hello(name):
    """As OpenSSL 3.0 sends it, padded (RFC 7685). Written here, so that it is the same everywhere."""
    suites = "130213031301c02cc030c02bc02fcca9cca8c024c028c023c027009f009e006b006700ff"
    algorithms = "040305030603080708080809080a080b080408050806040105010601030303010302040205020602"
    extensions = [
        extension(11, b"\x03\0\1\2"),
        groups(0x1D, 0x17, 0x1E, 0x19, 0x18, 0x100, 0x101, 0x102, 0x103, 0x104),
        extension(35),
        extension(22),
        extension(23),
        extension(13, vector(bytes.fromhex(algorithms), 2)),
        extension(43, b"\4\3\4\3\3"),
        extension(45, b"\1\1"),
        key_share(0x1D),
    ]
    bare = hello(name, b"".join(extensions), suites=bytes.fromhex(suites))
    extensions.append(extension(21, bytes(HELLO_OCTETS - len(bare) - 4)))
    return hello(name, b"".join(extensions), suites=bytes.fromhex(suites))


class Work:
    """One method for each operation. `rest()` returns when the proxy has done all it can do for now."""

    def __init__(self, proxy, rest):
        self.proxy = proxy
        self.rest = rest
        self.hello = openssl_hello(NAME)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.kept_client = None  # of the operations with keep-alive
        self.kept_origin = None  # the proxy's idle connection to us
        self.marker = self._connect()

    def close(self):
        for sock in (self.listener, self.kept_client, self.kept_origin, self.marker):
            if sock is not None:
                sock.close()

    def mark(self):
        """A page of the proxy's own, which nothing else asks for: here callgrind ends one count and begins the next."""
        self.marker.sendall(b"GET /healthz HTTP/1.1\r\nHost: cost\r\n\r\n")
        assert self._read_answer(self.marker).startswith(b"HTTP/1.1 200")
        self.rest()

    def connect(self):
        """New connection, CONNECT, a ClientHello and its echo, close."""
        self._tunnel(self.address)

    def connect_name(self):
        """The same to a name that the resolver knows already."""
        self._tunnel(self.address.replace("127.0.0.1", NAME))

    def refused(self):
        """New connection, CONNECT to a host that is not allowed, 403, close."""
        client = self._connect()
        client.sendall(self._connect_head("elsewhere.test:443"))
        assert read_to_end(client).startswith(b"HTTP/1.1 403")
        self._end(client)

    def get(self):
        """GET of 1 KiB; both connections are kept."""
        if self.kept_client is None:
            self.kept_client = self._connect()
        self._exchange(self.kept_client, self._request("GET", "/bytes/1024"), 1024)

    def get_new(self):
        """GET of 1 KiB on a new connection; the proxy keeps the one to the origin."""
        client = self._connect()
        self._exchange(client, self._request("GET", "/bytes/1024", "Connection: close"), 1024)
        assert client.recv(1) == b""
        self._end(client)

    def post(self):
        """POST of 2 KiB as a SCEP client sends it, answered with 2 KiB; both connections are kept."""
        if self.kept_client is None:
            self.kept_client = self._connect()
        fields = ("Content-Type: application/x-pki-message", "Content-Length: 2048")
        head = self._request("POST", "/scep/pkiclient.exe?operation=PKIOperation", *fields)
        self._exchange(self.kept_client, head + b"b" * 2048, 2048)

    def _connect(self):
        client = connect(self.proxy)
        self.rest()
        return client

    def _end(self, client):
        self.rest()
        client.close()
        self.rest()

    def _connect_head(self, target):
        return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: cost\r\n\r\n".encode()

    def _request(self, method, path, *fields):
        lines = [f"Host: {self.address}", "User-Agent: cost", "Accept: */*", *fields]
        return f"{method} http://{self.address}{path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "\r\n"]).encode()

    def _accept(self):
        self.listener.settimeout(PATIENCE)
        sock, _ = self.listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _tunnel(self, target):
        client = self._connect()
        client.sendall(self._connect_head(target))
        origin = self._accept()
        assert read_head(client).startswith(b"HTTP/1.1 200")
        self.rest()
        client.sendall(self.hello)
        heard = read_exactly(origin, len(self.hello))
        self.rest()
        origin.sendall(heard)
        assert read_exactly(client, len(heard)) == self.hello
        self.rest()
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(origin) == b""
        self.rest()
        origin.close()
        assert read_to_end(client) == b""
        self._end(client)

    def _origin(self):
        """The connection on which the proxy's next request is: the one it kept or a new one."""
        sockets = [self.listener] + ([self.kept_origin] if self.kept_origin else [])
        ready, _, _ = select.select(sockets, [], [], PATIENCE)
        assert ready, "nothing has come to the origin"
        if self.listener in ready:
            if self.kept_origin:
                self.kept_origin.close()
            self.kept_origin = self._accept()
        return self.kept_origin

    def _exchange(self, client, request, octets):
        client.sendall(request)
        origin = self._origin()
        self._read_answer(origin)
        self.rest()
        origin.sendall(ANSWER_HEAD % octets + b"x" * octets)
        assert self._read_answer(client).startswith(b"HTTP/1.1 200")
        self.rest()

    def _read_answer(self, sock):
        """A head and as much body as it tells of; also for requests. The head."""
        head = read_head(sock)
        _, _, length = head.lower().partition(b"content-length: ")
        if length:
            read_exactly(sock, int(length.partition(b"\r\n")[0]))
        return head


OPERATIONS = {
    "connect": Work.connect,
    "connect-name": Work.connect_name,
    "refused": Work.refused,
    "get": Work.get,
    "get-new": Work.get_new,
    "post": Work.post,
}
