"""
An Azure IoT Edge device's part in enrollment, as aziot-certd and aziot-identityd of iot-identity-service play it: what
they send, octet for octet where that is known, when they renew, and with which certificate. Told by a config.toml.

Names: the device knows those in `hosts` alone, as from /etc/hosts; all others are the proxy's to resolve.
"""

import base64
import concurrent.futures
import datetime
import pathlib
import re
import socket
import ssl
import time
import tomllib
import urllib.parse
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from support.certferry import PATIENCE
from support.tls_inside import TlsInside

LINE = 64  # octets of base64 in a line
RETRY_MIN = 1  # seconds


class EnrollmentError(Exception):
    """What certd would log, and then retry."""


class Clock:
    """The device's own. Instead of waiting it is put forward; `waits` lets the time pass instead."""

    def __init__(self, waits=False):
        self.ahead = 0
        self.waits = waits

    def now(self):
        return time.time() + self.ahead

    def sleep_until(self, moment):
        missing = max(moment - self.now(), 0)
        if self.waits:
            time.sleep(missing)
        else:
            self.ahead += missing


@dataclass(frozen=True)
class Identity:
    """Two PEM files to authenticate with. The certificate's file may hold its chain."""

    cert: pathlib.Path
    key: pathlib.Path

    def certificate(self):
        return x509.load_pem_x509_certificate(self.cert.read_bytes())

    def lifetime(self):
        """(notBefore, notAfter) in seconds since the epoch."""
        certificate = self.certificate()
        return tuple(moment_of(certificate, name) for name in ("not_valid_before", "not_valid_after"))


def moment_of(certificate, name):
    """Debian 12's cryptography knows only times without a zone, of which newer ones warn."""
    if hasattr(certificate, f"{name}_utc"):
        return getattr(certificate, f"{name}_utc").timestamp()
    return getattr(certificate, name).replace(tzinfo=datetime.timezone.utc).timestamp()


@dataclass
class Policy:
    """[...auto_renew] of config.toml, in percent of the lifetime."""

    threshold: int
    retry: int

    def times(self, identity, now):
        """When to renew, and how long after a failure to try again; cert-renewal's integer arithmetic."""
        begins, ends = map(int, identity.lifetime())
        total = ends - begins
        due = ends - (total - total * self.threshold // 100)
        retry = max(total * self.retry // 100, RETRY_MIN)
        return (due if due > now else now + retry), retry


@dataclass
class Credential:
    """A certificate that certd gets and keeps: key and certificate on disk, its endpoint, and its next renewal."""

    name: str  # as its files begin: deviceid, aziotedgeca, estid
    subject: str
    url: str
    policy: Policy
    identity: Identity
    authority: bool = False  # the Edge CA
    due: float = 0
    retry: float = 0
    history: list = field(default_factory=list)  # serial numbers, or EnrollmentError


class Device:
    """`config`: the text of config.toml; `environment` as systemd gives it to the services."""

    def __init__(self, directory, config, environment=None, hosts=None, clock=None):
        self.directory = pathlib.Path(directory)
        self.certs = self.directory / "certs"
        self.keys = self.directory / "keys"
        self.certs.mkdir(parents=True, exist_ok=True)
        self.keys.mkdir(exist_ok=True)
        self.hosts = hosts or {}
        self.clock = clock or Clock()
        environment = environment or {}
        # Once, at start; nothing else counts, NO_PROXY neither.
        self.proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy")
        self._configure(tomllib.loads(config))

    def _configure(self, config):
        est = config["cert_issuance"]["est"]
        auth = est["auth"]
        self.trusted = [file_of(uri) for uri in est.get("trusted_certs", [])]
        self.basic = (auth["username"], auth["password"]) if "username" in auth else None
        default = est.get("urls", {}).get("default")
        device, edge_ca = config["provisioning"]["attestation"]["identity_cert"], config["edge_ca"]
        self.device_id = self._credential("deviceid", device, default, device["common_name"])
        self.edge_ca = self._credential("aziotedgeca", edge_ca, default, "iotedged workload ca edge", authority=True)
        self.fixed = identity_of(auth, "identity")
        self.bootstrap = identity_of(auth, "bootstrap_identity")
        self.est_id = None
        if self.bootstrap:
            renewal = {"auto_renew": est["identity_auto_renew"]}
            self.est_id = self._credential("estid", renewal, self.device_id.url, device["common_name"])
        self.rotate_key = est.get("identity_auto_renew", {}).get("rotate_key", True)

    def _credential(self, name, settings, default, subject, authority=False):
        identity = Identity(self.certs / f"{name}.cer", self.keys / f"{name}.key")
        policy = Policy(*(int(settings["auto_renew"][key].rstrip("%")) for key in ("threshold", "retry")))
        return Credential(name, subject, settings.get("url", default), policy, identity, authority)

    def credentials(self):
        """Those that it renews, in the order in which it gets them."""
        return [credential for credential in (self.est_id, self.device_id, self.edge_ca) if credential]

    # What happens when.

    def provision(self):
        """`iotedge config apply` on a device that has nothing yet."""
        for credential in self.credentials():
            self.enroll(credential)

    def enroll(self, credential):
        """Gets or renews it now; raises EnrollmentError and tries again later if that fails."""
        try:
            self._enroll(credential)
        except EnrollmentError as error:
            credential.history.append(error)
            credential.due = self.clock.now() + credential.retry
            raise
        credential.due, credential.retry = credential.policy.times(credential.identity, self.clock.now())
        credential.history.append(credential.identity.certificate().serial_number)

    def _enroll(self, credential):
        key = ec.generate_private_key(ec.SECP256R1())
        if not self.rotate_key and credential.identity.key.exists():
            key = serialization.load_pem_private_key(credential.identity.key.read_bytes(), None)
        shown = self._bootstrap_or_own() if credential is self.est_id else self._authenticates_with()
        chain = self.create_cert(credential.url, request_for(credential, key), shown)
        if len(chain) < 2:
            raise EnrollmentError("the answers hold no certificate and CA")
        # After that nothing fails any more: the old pair is kept until the new one is whole.
        credential.identity.key.write_bytes(pem_key(key))
        credential.identity.cert.write_bytes(pem_chain(chain))

    def _bootstrap_or_own(self):
        """An EST identity renews itself; one that is missing or has expired begins with the bootstrap certificate."""
        own = self.est_id.identity
        return own if own.cert.exists() and own.lifetime()[1] > self.clock.now() else self.bootstrap

    def _authenticates_with(self):
        if self.est_id and self._bootstrap_or_own() is self.bootstrap:
            self.enroll(self.est_id)
        return self.est_id.identity if self.est_id else self.fixed

    def next_due(self):
        return min(self.credentials(), key=lambda credential: credential.due)

    def renew_next(self):
        """Waits for what must be renewed next and tries it; the credential, whose history tells how that went."""
        credential = self.next_due()
        self.clock.sleep_until(credential.due)
        try:
            self.enroll(credential)
        except EnrollmentError:
            pass
        return credential

    # What goes over the wire.

    def create_cert(self, url, request, identity=None):
        """simpleenroll and cacerts at the same time, each on a connection of its own; all certificates that came."""
        lines = base64.b64encode(request).decode()
        body = "".join(lines[at : at + LINE] + "\n" for at in range(0, len(lines), LINE)).encode()
        fields = ["content-type: application/pkcs10", "content-transfer-encoding: base64"]
        asked = [("POST", "simpleenroll", fields, body), ("GET", "cacerts", [], b"")]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(self._ask, url, identity, *message) for message in asked]
        return [certificate for answer in answers for certificate in certificates_of(answer.result())]

    def _ask(self, url, identity, method, operation, fields, body):
        try:
            connection = self.connect(url, identity)
            try:
                connection.sendall(self.message(url, method, operation, fields, body))
                return read_answer(connection)
            finally:
                connection.close()
        except (OSError, EOFError) as error:
            raise EnrollmentError(f"{operation}: {error!r}") from error

    def message(self, url, method, operation, fields, body):
        """hyper's octets: names in lower case, Host and Content-Length last."""
        parts = urllib.parse.urlsplit(url)
        head = [f"{method} {parts.path.rstrip('/')}/{operation} HTTP/1.1"]
        if self.basic:
            head.append("authorization: " + basic(*self.basic))
        head += [*fields, f"host: {parts.netloc}"]
        if body:
            head.append(f"content-length: {len(body)}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def connect(self, url, identity=None):
        """A connection to the server of an https URL, through the proxy if there is one."""
        host, port = authority_of(url, 443)
        if self.proxy is None:
            return TlsInside(self._tcp(host, port), self.context(identity), host)
        proxy_host, proxy_port = authority_of(self.proxy, 80)
        below = self._tcp(proxy_host, proxy_port)
        try:
            if self.proxy.startswith("https:"):
                # The proxy gets to see the same certificate, and is believed for the same CAs, as the server.
                below = TlsInside(below, self.context(identity), proxy_host)
            below.sendall(self.connect_message(host, port))
            read_connected(below)
            return TlsInside(below, self.context(identity), host)
        except BaseException:
            below.close()
            raise

    def connect_message(self, host, port):
        """hyper-proxy's: credentials of the proxy's URL stand in two fields."""
        head = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
        parts = urllib.parse.urlsplit(self.proxy)
        if parts.username:
            credentials = basic(urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
            head += [f"authorization: {credentials}", f"proxy-authorization: {credentials}"]
        return "\r\n".join(head).encode() + b"\r\n\r\n"

    def _tcp(self, host, port):
        address = self.hosts.get(host, host)
        if not re.fullmatch(r"[0-9.]+", address):
            raise EnrollmentError(f"{host}: this device has no such name; was it to ask the proxy?")
        return socket.create_connection((address, port), PATIENCE)

    def context(self, identity):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for path in self.trusted:
            context.load_verify_locations(path)
        if identity is not None:
            context.load_cert_chain(identity.cert, identity.key)
            context.set_alpn_protocols(["http/1.1"])
        return context


# Small parts.


def file_of(uri):
    return pathlib.Path(urllib.parse.urlsplit(uri).path)


def identity_of(auth, name):
    """A pair of file: URIs of [cert_issuance.est.auth], None without them."""
    if f"{name}_cert" not in auth:
        return None
    return Identity(file_of(auth[f"{name}_cert"]), file_of(auth[f"{name}_pk"]))


def authority_of(url, port):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port or port


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request_for(credential, key):
    """PKCS #10 in DER: for clients' authentication, or for a CA below which nothing but ends may stand."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, credential.subject)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if credential.authority:
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True)
        usage = {name: name == "key_cert_sign" for name in KEY_USAGES}
        builder = builder.add_extension(x509.KeyUsage(**usage), True)
    else:
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


KEY_USAGES = [
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
]


def pem_key(key):
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def pem_chain(certificates):
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def read_connected(stream):
    """hyper-proxy's reading: a 200 counts once all octets so far end with an empty line, and then not one more."""
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        data = stream.recv(8192)
        if not data:
            raise EOFError("the proxy closed before it had answered")
        read += data
        if not read.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and b"\r\n" in read:
            raise EnrollmentError(f"unsuccessful tunnel ({read.partition(bytes([13]))[0].decode()})")


def read_answer(stream):
    """(status, content type, body) of one response on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    values = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
    if values.get("transfer-encoding", "").lower() == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += received(stream)
        body = b"".join(re.findall(rb"[0-9a-fA-F]+\r\n(.*?)\r\n", body, re.DOTALL))
    while len(body) < int(values.get("content-length", 0)):
        body += received(stream)
    return int(line.split()[1]), values.get("content-type", ""), body


def received(stream):
    data = stream.recv(65536)
    if not data:
        raise EOFError("the server closed within its answer")
    return data


def certificates_of(answer):
    status, kind, body = answer
    if status != 200:
        raise EnrollmentError(f"EST endpoint did not return successful response: {status} {body[:200]!r}")
    if kind != "application/pkcs7-mime" and not kind.startswith("application/pkcs7-mime;"):
        raise EnrollmentError(f"EST response has unexpected content-type header: {kind}")
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(body.split())))
