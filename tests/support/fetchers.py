"""HTTP clients as one type: fetch a URL through a proxy, and tell status, body and the certificate that was seen."""

import base64
import hashlib
import json
import pathlib
import re
import ssl
from dataclasses import dataclass, field

from support import java, programs

PROGRAMS = pathlib.Path(__file__).resolve().parent / "clients"
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


@dataclass
class Fetched:
    """How it ended. Only a fetch that `worked` has status, body, and over TLS the server's certificate."""

    worked: bool
    told: str  # all that the client said
    status: int = None
    body: bytes = None
    certificate: str = None  # SHA-256 of its DER form


@dataclass
class Fetcher:
    """
    What all clients are asked for. `refused_tunnel`: what a refused CONNECT makes this client say, where PHRASE stands
    for the proxy's reason phrase. `tunnels_http`: it opens a tunnel for http:// URLs too.
    """

    name: str
    refused_tunnel: str
    tunnels_http: bool = False
    environment: dict = field(default_factory=dict)

    def command(self, method, url, proxy, authority, body_file):
        raise NotImplementedError

    def result(self, done, directory):
        """Of a client that ended well."""
        answer = json.loads(done.stdout)
        return answer["status"], base64.b64decode(answer["body"]), answer["certificate"]

    def fetch(self, home, proxy, authority, url, method="GET", body=None):
        body_file = None
        if body is not None:
            body_file = home / "body"
            body_file.write_bytes(body)
        command = self.command(method, url, proxy, authority, body_file)
        done = programs.run(home, *command, **self.environment)
        if done.returncode != 0:
            return Fetched(False, programs.told(done))
        return Fetched(True, programs.told(done), *self.result(done, home))


class Script(Fetcher):
    """A program of support/clients; see the README there."""

    def __init__(self, interpreter, file, refused_tunnel, **more):
        super().__init__(file.partition(".")[0], refused_tunnel, **more)
        self._start = (interpreter, PROGRAMS / file)

    def command(self, method, url, proxy, authority, body_file):
        where = (authority.root.cert, "127.0.0.1", proxy.port)
        return [*self._start, method, url, *where, *([body_file] if body_file else [])]


class Java(Fetcher):
    """A single-file program, given its proxy and trust store by system properties."""

    def __init__(self, file, refused_tunnel):
        super().__init__(file.partition(".")[0], refused_tunnel)
        self._class = file.partition(".")[0]

    def command(self, method, url, proxy, authority, body_file):
        properties = {
            "https.proxyHost": "127.0.0.1",
            "https.proxyPort": proxy.port,
            "http.proxyHost": "127.0.0.1",
            "http.proxyPort": proxy.port,
            "javax.net.ssl.trustStore": authority.truststore(),
            "javax.net.ssl.trustStorePassword": "changeit",
        }
        return java.command(self._class, properties, method, url, *([body_file] if body_file else []))


class Curl(Fetcher):
    def __init__(self, name="curl", *options, proxy_option="--proxy"):
        super().__init__(name, "CONNECT tunnel failed, response 403")
        self._options = options
        self._proxy_option = proxy_option

    def command(self, method, url, proxy, authority, body_file):
        told = ("--write-out", "%{http_code}\n%{certs}", "--output", "answer")
        common = ("curl", "--disable", "--silent", "--show-error", "--max-time", "60", "--cacert", authority.root.cert)
        sent = ("--request", method, "--data-binary", f"@{body_file}") if body_file else ()
        return [*common, *self._options, self._proxy_option, proxy.url, *told, *sent, url]

    def result(self, done, directory):
        certificate = CERTIFICATE.search(done.stdout)
        seen = fingerprint(certificate[0]) if certificate else None
        return int(done.stdout[:3]), (directory / "answer").read_bytes(), seen


class Wget(Fetcher):
    """wget does not show certificates: it is told the public key to insist on instead."""

    def __init__(self):
        super().__init__("wget", "Proxy tunneling failed: PHRASE")

    def command(self, method, url, proxy, authority, body_file):
        trust = [f"--ca-certificate={authority.root.cert}", "--content-on-error", "--server-response"]
        told = ["--output-document=answer", "--tries=1", "--timeout=60", "--no-config"]
        for scheme in ("http", "https"):
            told += ["--execute", f"{scheme}_proxy={proxy.url}"]
        sent = [f"--method={method}", f"--body-file={body_file}"] if body_file else []
        return ["wget", *trust, *told, *sent, url]

    def result(self, done, directory):
        statuses = re.findall(rb"^  HTTP/1\.1 (\d+)", done.stderr, re.MULTILINE)
        return int(statuses[-1]), (directory / "answer").read_bytes(), None


def fingerprint(pem):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()
