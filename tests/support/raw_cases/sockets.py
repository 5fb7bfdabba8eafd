"""
The sockets of one raw case: a client's and those of an origin of its own, which records every octet. One selector turns
them, in the thread that runs the case; what it waits for are events, and its patience is for proxies that never bring
one.
"""

import contextlib
import errno
import selectors
import socket
import time

from support.raw_cases import model, wire

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER with no time


class Link:
    """One connection. `ended`: "", "fin" or "reset", as the peer did it."""

    def __init__(self, sockets, sock, on_data=None, number=0):
        self.received = bytearray()
        self.unread = b""  # what of it the origin has not read as a request yet
        self.ended = ""
        self.number = number
        self.state = {}  # the origin's own notes
        self._sockets = sockets
        self._sock = sock
        self._on_data = on_data
        self._out = b""
        self._fin_due = False
        self._closed = False
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets.selector.register(sock, READ, self._turn)

    def send(self, data):
        if not self._closed and self.ended != "reset":
            self._out += data
            self._write()

    def half_close(self):
        self._fin_due = True
        self._write()

    def close(self):
        """With a FIN, or a reset if there are octets unread."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(KeyError):
                self._sockets.selector.unregister(self._sock)
            self._sock.close()

    def reset(self):
        if not self._closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close()

    def _turn(self, mask):
        if mask & READ and not self._closed:
            self._read()
        if mask & WRITE and not self._closed:
            self._write()

    def _read(self):
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self._end("reset")
            return
        if not data:
            self._end("fin")
            return
        self.received += data
        if self._on_data:
            self.unread += data
            self._on_data(self)

    def _end(self, how):
        self.ended = how
        if self._on_data or how == "reset":
            self.close()
        else:
            self._watch()

    def _write(self):
        try:
            while self._out and not self._closed:
                self._out = self._out[self._sock.send(self._out) :]
            if self._fin_due and not self._closed:
                self._fin_due = False
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError as error:
            # A proxy that has closed already; what it said may still be there to be read.
            self._out = b""
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise
        self._watch()

    def _watch(self):
        if self._closed:
            return
        wanted = (0 if self.ended else READ) | (WRITE if self._out else 0)
        with contextlib.suppress(KeyError):
            self._sockets.selector.unregister(self._sock)
        if wanted:
            self._sockets.selector.register(self._sock, wanted, self._turn)


class Sockets:
    """`addresses` of the origin, all with one port; `answer(origin link)` is called when octets have come there."""

    def __init__(self, addresses, answer):
        self.selector = selectors.DefaultSelector()
        self.links = []  # at the origin, in the order of acceptance
        self.clients = []
        self._answer = answer
        self._listeners = listen(addresses)
        self.port = self._listeners[0].getsockname()[1]
        for listener in self._listeners:
            self.selector.register(listener, READ, lambda mask, listener=listener: self._accept(listener))

    def _accept(self, listener):
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            sock, _ = listener.accept()
            self.links.append(Link(self, sock, self._answer, len(self.links) + 1))

    def connect(self, port):
        """A client's connection to the proxy; None if nobody listens there any more."""
        try:
            sock = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            return None
        self.clients.append(Link(self, sock))
        return self.clients[-1]

    def until(self, done, patience):
        """Turns until done() is true; False when the patience is at its end."""
        limit = time.monotonic() + patience
        while not done():
            left = limit - time.monotonic()
            if left <= 0:
                return False
            self._turn(left)
        return True

    def sweep(self):
        """What has come by now, without waiting."""
        while self._turn(0):
            pass

    def _turn(self, timeout):
        ready = self.selector.select(timeout)
        for key, mask in ready:
            key.data(mask)
        return bool(ready)

    def close(self):
        for link in self.clients + self.links:
            link.close()
        for listener in self._listeners:
            listener.close()
        self.selector.close()


def listen(addresses):
    """Listeners on all these addresses with one port, which is free on each."""
    for _ in range(100):
        listeners = []
        try:
            for address in addresses:
                port = listeners[0].getsockname()[1] if listeners else 0
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listener = socket.socket(family, socket.SOCK_STREAM)
                listeners.append(listener)
                listener.setblocking(False)
                listener.bind((address, port))
                listener.listen(64)
        except OSError as error:
            for listener in listeners:
                listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return listeners
    raise OSError(errno.EADDRINUSE, "no port is free on all addresses")


class StrictOrigin:
    """Reads as wire.py does, answers each request with its own name; what it cannot read it refuses, and closes."""

    def __init__(self):
        self.requests = []  # (connection, request) in the order they came
        self.faults = []

    def on_data(self, link):
        while link.unread and not link.ended and not link.state.get("over"):
            try:
                found = wire.parse_request(link.unread)
            except wire.Fault as fault:
                self.faults.append(str(fault))
                link.state["over"] = True
                link.send(b"HTTP/1.1 400 Not strict\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                link.half_close()
                return
            if found is None:
                return
            request, link.unread = found
            self.requests.append((link.number, request))
            self.answer(link, request)

    def answer(self, link, request):
        link.send(answer_to(request))
        options = ",".join(request.values("Connection")).lower()
        if "close" in options or (request.version == "1.0" and "keep-alive" not in options):
            link.state["over"] = True
            link.half_close()


def answer_to(request):
    """A response that names its request. A client of HTTP/1.0 gets the same; the connection tells it the end."""
    body = f"{request.method} {request.target}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nX-Answer: {request.method} {request.target}\r\n"
    if request.version == "1.0":
        head += "Connection: close\r\n"
    return head.encode() + b"\r\n" + (b"" if request.method == "HEAD" else body)


class HostileOrigin(StrictOrigin):
    """Sends a case's octets in answer to /first; other requests get their own answer."""

    def __init__(self, octets, then, early):
        super().__init__()
        self._now, self._later = octets.split(b"~", 1) if then == "later" else (octets, b"")
        self._then = then
        self._early = early
        self._first = None

    def fill(self, port):
        self._now, self._later = model.fill(self._now, port), model.fill(self._later, port)

    def on_data(self, link):
        if self._early and not link.state.get("first") and b"/first " in link.unread.partition(b"\r\n\r\n")[0]:
            if b"\r\n\r\n" not in link.unread:
                return
            self._attack(link)
        super().on_data(link)

    def answer(self, link, request):
        if request.target != "/first":
            super().answer(link, request)
        elif not link.state.get("first"):
            self._attack(link)

    def _attack(self, link):
        link.state["first"] = True
        self._first = link
        link.send(self._now)
        if self._then == "close":
            link.half_close()
        elif self._then == "reset":
            link.reset()

    def send_later(self):
        if self._first is not None:
            self._first.send(self._later)


class EchoingOrigin:
    """Sends back what comes, and its FIN behind the client's."""

    requests = ()
    faults = ()

    def on_data(self, link):
        link.send(link.unread)
        link.unread = b""
