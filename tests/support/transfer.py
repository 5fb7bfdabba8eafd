"""
One side of many tunnels that carry random octets both ways at once. A program of its own, so that several of them use
several processors:

    transfer.py origin COUNT SIZE [CERT KEY]
    transfer.py client COUNT SIZE FIRST-NUMBER PROXY-PORT HOST PORT [CA-FILE]

An origin prints `port N`. A client opens its COUNT tunnels, prints `open`, and begins when a line comes on standard
input. With a certificate both sides do a real TLS handshake and then go on without TLS: what the proxy cares for is
done, and the processors are left to it. At the end each prints a JSON list: tunnel's number, octets and their digest in
each direction. The digests are taken of what was sent and of what came, and compared by the test.
"""

import hashlib
import json
import random
import socket
import ssl
import sys
import threading

PIECE = 256 * 1024


def send_random(sock, size, seed, result):
    """`size` octets that no other tunnel or direction has, then FIN."""
    digest = hashlib.sha256()
    block = random.Random(seed).randbytes(PIECE)
    for number in range(size // PIECE):
        # Each piece is another one, for little work.
        piece = number.to_bytes(8, "big") + block[8 + number :] + block[: number]
        digest.update(piece)
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
    result["sent"] = digest.hexdigest()


def receive(sock, result):
    digest = hashlib.sha256()
    count = 0
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    while got := sock.recv_into(buffer):
        digest.update(view[:got])
        count += got
    result["received"] = digest.hexdigest()
    result["octets"] = count


def both_ways(sock, size, seed, result):
    sender = threading.Thread(target=send_random, args=(sock, size, seed, result))
    sender.start()
    receive(sock, result)
    sender.join()
    sock.close()


def handshake(sock, context, **how):
    """A real one, octet for octet, after which the plain socket is used again."""
    secured = context.wrap_socket(sock, **how)
    timeout = secured.gettimeout()
    return socket.socket(fileno=secured.detach()), timeout


def read_line(sock):
    line = b""
    while not line.endswith(b"\n"):
        octet = sock.recv(1)
        if not octet:
            raise EOFError(f"the tunnel ended after {line!r}")
        line += octet
    return line


def serve(sock, context, size, results):
    if context:
        sock, _ = handshake(sock, context, server_side=True)
    number = int(read_line(sock))
    sock.sendall(b"ready\n")
    result = {"tunnel": number}
    results.append(result)
    both_ways(sock, size, f"down {number}", result)


def origin(count, size, certificate=None, key=None):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.num_tickets = 0  # nothing of TLS may follow the handshake
    listener = socket.create_server(("127.0.0.1", 0), backlog=count)
    print(f"port {listener.getsockname()[1]}", flush=True)
    results, threads = [], []
    for _ in range(count):
        sock, _ = listener.accept()
        threads.append(threading.Thread(target=serve, args=(sock, context, size, results)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


def open_one(number, proxy_port, host, port, context):
    sock = socket.create_connection(("127.0.0.1", proxy_port), 60)
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    status = read_line(sock)
    if not status.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"refused: {status!r}")
    while read_line(sock) != b"\r\n":
        pass
    if context:
        sock, timeout = handshake(sock, context, server_hostname=host)
        sock.settimeout(timeout)
    sock.sendall(f"{number}\n".encode())
    if read_line(sock) != b"ready\n":
        raise ConnectionError("the origin did not greet")
    return sock


def client(count, size, first, proxy_port, host, port, trust=None):
    context = ssl.create_default_context(cafile=trust) if trust else None
    socks = {number: open_one(number, proxy_port, host, port, context) for number in range(first, first + count)}
    print("open", flush=True)
    sys.stdin.readline()
    results, threads = [], []
    for number, sock in socks.items():
        results.append({"tunnel": number})
        threads.append(threading.Thread(target=both_ways, args=(sock, size, f"up {number}", results[-1])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


if __name__ == "__main__":
    role, *rest = [int(word) if word.isdigit() else word for word in sys.argv[1:]]
    {"origin": origin, "client": client}[role](*rest)
