"""A client's side of CONNECT at the level of octets."""

import socket

PATIENCE = 20


class Refused(Exception):
    """The proxy's answer was no 200. `head`: the whole of it."""

    def __init__(self, head):
        super().__init__(head.decode(errors="backslashreplace"))
        self.head = head
        self.status = int(head[9:12])


def read_head(sock):
    """Up to the empty line and not an octet more, so that what follows can be told from it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = sock.recv(1)
        if not octet:
            raise EOFError(f"the connection ended in the head {head!r}")
        head += octet
    return head


def connect(proxy, timeout=PATIENCE):
    """A TCP connection to the proxy; `proxy` needs nothing but a port."""
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def open_tunnel(proxy, host, port, early=b""):
    """A socket whose next octets are the origin's. `early` goes out in one piece with the head."""
    sock = connect(proxy)
    target = f"{host}:{port}"
    try:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + early)
        head = read_head(sock)
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused(head)
    except BaseException:
        sock.close()
        raise
    return sock


def read_exactly(sock, count):
    """Fewer octets than asked for are an error."""
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError(f"the connection ended after {len(data)} of {count} octets")
        data += more
    return data


def read_to_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))
