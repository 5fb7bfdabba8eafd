"""An EST server (RFC 7030) for tests: Python's ssl and http.server, and the openssl command for the CA's work.

It answers below any path prefix and label: PREFIX/.well-known/est[/LABEL]/OPERATION. Over TLS, or plainly for the
forwarding path: RFC 7030 wants TLS, but servers behind a gateway that ends it are asked all the same. With `endpoints`
it has those labels only, each with a CA and rules of its own (est_endpoint.py).
"""

import base64
import binascii
import http.server
import re
import secrets
import ssl
import threading
from dataclasses import dataclass

from cryptography import x509

from support import pki

OPERATION = re.compile(r"/\.well-known/est(/(?P<label>[^/]+))?/(?P<name>[a-z]+)$")
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

    def __init__(self, authority, *names, line_breaks=True, address="127.0.0.1", endpoints=None):
        self.authority = authority
        self.line_breaks = line_breaks
        self.endpoints = endpoints or {}
        self.meeting = None  # threading.Barrier: requests at endpoints wait for each other there
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
        for endpoint in self.endpoints.values():
            for client in endpoint.clients:
                context.load_verify_locations(client.root.cert)
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

    def sign(self, request):
        """The certificate for a PKCS #10 request in DER."""
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
        kind = ("endpoint_" if est.endpoints else "est_") + found["name"] if found else ""
        operation = getattr(self, kind, None)
        self.endpoint = est.endpoints.get(found["label"]) if found else None
        if self.endpoint and est.meeting:
            est.meeting.wait(60)
        if operation is None or (est.endpoints and self.endpoint is None):
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

    def credentials(self):
        """User and password of HTTP Basic authentication, ("", "") without."""
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        user, _, password = base64.b64decode(credentials).decode().partition(":")
        return user, password

    def known_user(self):
        user, password = self.credentials()
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
            certificate = self.server.est.sign(pkcs10(seen.body))
        except (binascii.Error, pki.subprocess.SubprocessError) as error:
            self.reply(seen, 400, str(error).encode(), ("Content-Type", "text/plain"))
            return
        self.reply_certificates(seen, certificate, "; smime-type=certs-only")

    # The same at an endpoint with rules of its own.

    def shown(self):
        """The client's certificate, as TLS has verified it."""
        der = self.request.getpeercert(binary_form=True) if self.server.est.tls else None
        return x509.load_der_x509_certificate(der) if der else None

    def endpoint_cacerts(self, seen):
        self.reply_certificates(seen, self.endpoint.issuer.root.cert.read_bytes(), "")

    def endpoint_simpleenroll(self, seen, renewing=False):
        shown = self.shown()
        if not self.endpoint.believes(shown, *self.credentials(), self.headers.get("Secret-Value")):
            challenge = [("WWW-Authenticate", 'Basic realm="est"')] if self.endpoint.users else []
            self.reply(seen, 401 if challenge else 403, b"", *challenge)
            return
        if self.endpoint.fails():
            self.reply(seen, 503, b"", ("Retry-After", "1"))
            return
        request = x509.load_der_x509_csr(pkcs10(seen.body))
        # RFC 7030 section 4.2.2: the request names whom the certificate to renew names.
        if renewing and (shown is None or request.subject != shown.subject):
            self.reply(seen, 400, b"not the subject of the certificate that was shown\n")
            return
        self.reply_certificates(seen, self.endpoint.sign(request, shown), "; smime-type=certs-only")

    def endpoint_simplereenroll(self, seen):
        self.endpoint_simpleenroll(seen, renewing=True)


def pkcs10(body):
    """A request's DER: it comes as base64, or as openssl writes PEM."""
    text = re.sub(rb"-----[A-Z ]+-----", b"", body)
    return base64.b64decode(b"".join(text.split()), validate=True)
