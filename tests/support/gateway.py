"""A certferry with its gateway on, for tests; and clients that speak to it directly, as devices do."""

import contextlib
import socket
import threading

from support.certferry import PATIENCE
from support.daemons import Daemon, accepts, unused_port
from support.raw_http import Client

PATHS = "/.well-known/est/**,/.well-known/cmp/**,/scep/**,/cgi-bin/pkiclient.exe,/pkix/**"


def settings(authority, *upstreams, **more):
    """Keys for a plain gateway on loopback before these upstreams; dots of keys as "_"."""
    given = {
        "gateway.listen": "127.0.0.1:0",
        "gateway.tls": "off",
        "gateway.upstreams": ",".join(upstreams),
        "gateway.upstream.ca": authority.root.cert,
        "gateway.paths": PATHS,
        "via.name": "ferry-1",
        # The CA's file lies where a service user could not go.
        "service.user": "root",
    }
    return given | {key.replace("_", "."): value for key, value in more.items()}


def tls_settings(certificate):
    """Keys for a gateway with this certificate (pki.Certificate) of its own."""
    return {"gateway.tls": "on", "gateway.cert": certificate.cert, "gateway.key": certificate.key}


class DoorClient(Client):
    """A raw client of that door instead of the proxy's port; `context`: it speaks TLS."""

    def __init__(self, proxy, door="gateway", context=None, name="est.enroll.test", source=None, address="127.0.0.1"):
        self.sock = socket.socket()
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(PATIENCE)
        self.sock.connect((address, proxy.doors[door]))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname=name)
        self._ahead = b""


def tls_front(port):
    """A script for a TLS Origin: what comes inside TLS goes on to that plain port, and back."""

    def script(connection):
        with socket.create_connection(("127.0.0.1", port)) as server:
            thread = threading.Thread(target=_copy, args=(connection.recv, server), daemon=True)
            thread.start()
            with contextlib.suppress(OSError):
                while data := server.recv(65536):
                    connection.send(data)
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            thread.join()

    return script


def _copy(receive, server):
    with contextlib.suppress(OSError):
        while data := receive(65536):
            server.sendall(data)
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_WR)


# The guide's configuration, but for places and what belongs to a service of the system: line for line the same.
GUIDE = """
global
        maxconn 300
defaults
        mode    http
        timeout connect 20s
        timeout client  30s
        timeout server  30s
        timeout queue   1m
        retries 3
frontend input-traffic
        bind 127.0.0.1:{port} ssl crt {pem}
        option forwardfor except 127.0.0.0/8
        default_backend backend_servers
        redirect scheme https if !{{ ssl_fc }}
        http-request replace-header Host .* {host}
backend backend_servers
        balance roundrobin
        server  gsedge  127.0.0.1:{upstream} ssl verify none
        http-request set-header X-Forwarded-Port %[dst_port]
        http-request add-header X-Forwarded-Proto https if {{ ssl_fc }}
"""


class GuideHaproxy(Daemon):
    """Debian's haproxy with the guide's haproxy.cfg before the port `upstream`."""

    def __init__(self, directory, certificate, host, upstream):
        directory.mkdir(parents=True, exist_ok=True)
        pem = directory / "haproxy.pem"
        pem.write_bytes(certificate.key.read_bytes() + certificate.cert.read_bytes())
        for _ in range(5):
            self.port = unused_port()
            (directory / "haproxy.cfg").write_text(GUIDE.format(port=self.port, pem=pem, host=host, upstream=upstream))
            super().__init__(directory, "haproxy", "-db", "-f", directory / "haproxy.cfg")
            if accepts(self.port, self.process):
                return
            self.close()
        raise AssertionError(f"haproxy does not start: {self.lines.all()}")
