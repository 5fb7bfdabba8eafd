#!/usr/bin/python3
"""
A whole EST enrollment (RFC 7030) through a tunnel, with real TLS: handshake, /cacerts, /simpleenroll, close.

  enroll.py make DIRECTORY NAME                       a CA, a server certificate for NAME, a request and its answer
  enroll.py serve DIRECTORY PORT                      the EST server; prints "ready"
  enroll.py load DIRECTORY NAME TO PID COUNT TUNNEL   COUNT enrollments one after another; prints JSON

TO is the port on loopback to connect to, TUNNEL the host:port to ask for with CONNECT, or - for none. The server
answers with what was prepared: the proxy sees only that it is encrypted, and how long it is.
"""

import base64
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True

import proxies  # noqa: E402

WARMUP = 10
ANSWER = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mime; smime-type=certs-only\r\n"
    "Content-Transfer-Encoding: base64\r\n"
)


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make(directory, name):
    """Everything that takes a key is made before anything is measured."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Bench", "-days", "2")
    for stem, subject in (("server", name), ("device", "device-1.bench.test")):
        openssl(directory, "req", "-new", *key, "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
                "-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}")
        openssl(directory, "x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                "-copy_extensions", "copy", "-out", f"{stem}.pem")
        openssl(directory, "req", "-in", f"{stem}.csr", "-outform", "DER", "-out", f"{stem}.der")
    for stem in ("ca", "device"):
        openssl(directory, "crl2pkcs7", "-nocrl", "-certfile", f"{stem}.pem", "-outform", "DER", "-out", f"{stem}.p7")


def message(head, body):
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_message(tls):
    """The head and body of one message; empty when the peer has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = tls.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = [line.partition(b":") for line in head.split(b"\r\n")]
    length = next((int(value) for name, _, value in fields if name.lower() == b"content-length"), 0)
    while len(body) < length:
        body += tls.recv(65536)
    return head + b"\r\n\r\n" + body


# ---- server ----


def answer_one(connection, context, answers):
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            while request := read_message(tls):
                tls.sendall(answers[request.split(b" ", 2)[1]])
    except (OSError, KeyError):
        connection.close()


def serve(directory, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    answers = {
        path: message(ANSWER, base64.encodebytes((directory / file).read_bytes()))
        for path, file in ((b"/.well-known/est/cacerts", "ca.p7"), (b"/.well-known/est/simpleenroll", "device.p7"))
    }
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer_one, args=(connection, context, answers), daemon=True).start()


# ---- load ----


def cpu_seconds(pids):
    """Of the processes themselves, in nanoseconds: the clock that clock_getcpuclockid(3) names."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def open_tunnel(port, tunnel):
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tunnel != "-":
        connection.sendall(f"CONNECT {tunnel} HTTP/1.1\r\nHost: {tunnel}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            octet = connection.recv(4096)
            if not octet:
                break
            head += octet
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise OSError(f"no tunnel: {head[:60]!r}")
    return connection


def enroll(port, tunnel, context, name, request):
    host = f" HTTP/1.1\r\nHost: {name}\r\n"
    with context.wrap_socket(open_tunnel(port, tunnel), server_hostname=name) as tls:
        tls.sendall(f"GET /.well-known/est/cacerts{host}\r\n".encode())
        authorities = read_message(tls)
        tls.sendall(message(f"POST /.well-known/est/simpleenroll{host}Content-Type: application/pkcs10\r\n", request))
        certificate = read_message(tls)
    if b" 200 " not in authorities[:16] or b" 200 " not in certificate[:16]:
        raise OSError("the enrollment was not answered")


def load(directory, name, port, pid, count, tunnel):
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    request = base64.encodebytes((directory / "device.der").read_bytes())
    for _ in range(WARMUP):
        enroll(port, tunnel, context, name, request)
    pids = proxies.family(pid)
    took = []
    cpu, began = cpu_seconds(pids), time.monotonic()
    for _ in range(count):
        at = time.monotonic()
        enroll(port, tunnel, context, name, request)
        took.append((time.monotonic() - at) * 1e6)
    result = {"seconds": time.monotonic() - began, "operations": count, "octets": 0, "failures": 0,
              "cpu_seconds": cpu_seconds(pids) - cpu}
    took.sort()
    print(json.dumps(result | {"p50_us": took[count // 2], "p99_us": took[count * 99 // 100]}))


def main():
    match sys.argv[1:]:
        case ["make", directory, name]:
            make(pathlib.Path(directory), name)
        case ["serve", directory, port]:
            serve(pathlib.Path(directory), int(port))
        case ["load", directory, name, port, pid, count, tunnel]:
            load(pathlib.Path(directory), name, int(port), int(pid), int(count), tunnel)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
