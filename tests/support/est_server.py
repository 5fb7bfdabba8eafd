"""An EST server (RFC 7030) for tests: Python's ssl and http.server, and the openssl command for the CA's work.

It answers below any path prefix and label: PREFIX/.well-known/est[/LABEL]/OPERATION. Over TLS, or plainly for the
forwarding path: RFC 7030 wants TLS, but servers behind a gateway that ends it are asked all the same.
"""

import base64
import binascii
import http.server
import re
import secrets
import ssl
import threading
from dataclasses import dataclass

from support import pki

OPERATION = re.compile(r"/\.well-known/est(/[^/]+)?/(?P<name>[a-z]+)$")
USERS = {"device": "first-password"}


@dataclass
class Seen:
    """One request as the server saw it."""

    connection: int  # number of the TCP connection, from 1
    version: str
    method: str
    path: str
    headers: list  # (name, value) as sent
    body: bytes
    client_name: str  # subject of the client's certificate, "" without one
    status: int = 0

    def header(self, name):
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())


class EstServer:
    """
    Listens from construction to close(). `authority` signs, and makes the TLS certificate for `names`; no names: plain
    HTTP. `line_breaks`: base64 as libest reads it; without them as strongSwan does.
    """

    def __init__(self, authority, *names, line_breaks=True, address="127.0.0.1"):
        self.authority = authority
        self.line_breaks = line_breaks
        self.seen = []
        self.connections = 0
        self.lock = threading.Lock()
        self.tls = self._context(authority.server(*names)) if names else None
        self.http = _Listener((address, 0), _Handler)
        self.http.est = self
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def _context(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        context.load_verify_locations(self.authority.root.cert)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url(self, operation, name="est.enroll.test", prefix="", label=""):
        scheme = "https" if self.tls else "http"
        label = f"/{label}" if label else ""
        return f"{scheme}://{name}:{self.port}{prefix}/.well-known/est{label}/{operation}"

    # The CA's work: bytes in, bytes out.

    def _openssl(self, *arguments, stdin):
        return pki.openssl(self.authority.directory, *arguments, stdin=stdin)

    def certs_only(self, pem):
        """The certs-only PKCS #7 of RFC 7030 section 4.1.3, in base64."""
        der = self._openssl("crl2pkcs7", "-nocrl", "-certfile", "/dev/stdin", "-outform", "DER", stdin=pem)
        return base64.encodebytes(der) if self.line_breaks else base64.b64encode(der)

    def sign(self, body):
        """The certificate for a PKCS #10 request, which comes as base64 or as openssl writes PEM."""
        text = re.sub(rb"-----[A-Z ]+-----", b"", body)
        request = base64.b64decode(b"".join(text.split()), validate=True)
        root = self.authority.root
        return self._openssl(
            "x509", "-req", "-inform", "DER", "-in", "/dev/stdin", "-days", "5", "-copy_extensions", "copy",
            "-CA", root.cert, "-CAkey", root.key, "-set_serial", "0x01" + secrets.token_hex(15), stdin=request,
        )  # fmt: skip


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Clients that leave in the middle are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = 1 << 16  # head and body in one piece
    disable_nagle_algorithm = True

    def setup(self):
        est = self.server.est
        if est.tls:
            # Here and not while accepting: a client that does not speak must not hold up the others.
            self.request.settimeout(self.timeout)
            self.request = est.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        with est.lock:
            est.connections += 1
            self.number = est.connections

    def log_message(self, *_):
        """Says nothing: `seen` has it all."""

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_GET(self):
        est = self.server.est
        seen = Seen(
            self.number,
            self.request_version,
            self.command,
            self.path,
            self.headers.items(),
            self.read_body(),
            self.client_name(),
        )
        with est.lock:
            est.seen.append(seen)
        found = OPERATION.search(self.path)
        operation = getattr(self, "est_" + found["name"], None) if found else None
        if operation is None:
            self.reply(seen, 404)
        else:
            operation(seen)

    do_POST = do_GET

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def client_name(self):
        certificate = self.request.getpeercert() if self.server.est.tls else None
        if not certificate:
            return ""
        return ",".join(f"{key}={value}" for part in certificate["subject"] for key, value in part)

    def reply(self, seen, status, body=b"", *fields):
        seen.status = status
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def reply_certificates(self, seen, pem, kind):
        fields = ("Content-Type", "application/pkcs7-mime" + kind), ("Content-Transfer-Encoding", "base64")
        self.reply(seen, 200, self.server.est.certs_only(pem), *fields)

    def known_user(self):
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        user, _, password = base64.b64decode(credentials).decode().partition(":")
        return user in USERS and USERS[user] == password

    # The operations of RFC 7030 section 4.

    def est_cacerts(self, seen):
        self.reply_certificates(seen, self.server.est.authority.root.cert.read_bytes(), "")

    def est_csrattrs(self, seen):
        self.reply(seen, 204)

    def est_simpleenroll(self, seen):
        if seen.client_name or self.known_user():
            self.enroll(seen)
        else:
            self.reply(seen, 401, b"", ("WWW-Authenticate", 'Basic realm="est"'))

    def est_simplereenroll(self, seen):
        if seen.client_name:
            self.enroll(seen)
        else:
            self.reply(seen, 403)

    def enroll(self, seen):
        try:
            certificate = self.server.est.sign(seen.body)
        except (binascii.Error, pki.subprocess.SubprocessError) as error:
            self.reply(seen, 400, str(error).encode(), ("Content-Type", "text/plain"))
            return
        self.reply_certificates(seen, certificate, "; smime-type=certs-only")
