"""A test CA and its certificates, made anew by the openssl command for each test run."""

import hashlib
import ipaddress
import pathlib
import ssl
import subprocess
from dataclasses import dataclass

from support import programs

# Python 3.13 verifies strictly after RFC 5280: key identifiers and a critical key usage of the CA are needed.
CONFIG = """
[req]
prompt = no
distinguished_name = name
[name]
CN = {subject}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternative}
"""


@dataclass(frozen=True)
class Certificate:
    """Paths of two PEM files."""

    cert: pathlib.Path
    key: pathlib.Path

    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())

    def fingerprint(self):
        """SHA-256 over the DER form, in lower-case hex without colons."""
        return hashlib.sha256(self.der()).hexdigest()


class Authority:
    """A root in `directory`. The same names get the same certificate."""

    def __init__(self, directory, subject="Certferry test CA"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._made = {}
        self.root = self._make("ca", subject, "ca", "DNS:unused.test")

    def server(self, *names):
        """A certificate for DNS names and addresses; the first is the subject."""
        if names not in self._made:
            alternative = ", ".join(("IP:" if is_address(name) else "DNS:") + name for name in names)
            signer = ["-CA", self.root.cert, "-CAkey", self.root.key]
            self._made[names] = self._make(f"server-{len(self._made)}", names[0], "server", alternative, signer)
        return self._made[names]

    def _make(self, stem, subject, section, alternative, signer=()):
        made = Certificate(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        config = self.directory / f"{stem}.cnf"
        config.write_text(CONFIG.format(subject=subject, alternative=alternative))
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", made.key]
        wanted = ["-config", config, "-extensions", section, "-days", "7", "-out", made.cert]
        openssl(self.directory, "req", "-x509", *key, *wanted, *signer)
        return made

    def truststore(self, keytool="keytool", password="changeit"):
        """The root in a PKCS12 truststore, as Java wants it."""
        path = self.directory / "truststore.p12"
        if not path.exists():
            store = ["-storetype", "PKCS12", "-keystore", path, "-storepass", password, "-noprompt"]
            command = [keytool, "-importcert", "-alias", "root", "-file", self.root.cert, *store]
            done = programs.run(self.directory, *command)
            assert done.returncode == 0, programs.told(done)
        return path

    def client_context(self):
        """Trusts this root and nothing else."""
        return ssl.create_default_context(cafile=self.root.cert)


def is_address(name):
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def openssl(home, *arguments, stdin=b""):
    """Standard output of the openssl command; a failure is an error of the test."""
    done = programs.run(home, "openssl", *arguments, stdin=stdin)
    if done.returncode != 0:
        raise subprocess.SubprocessError(programs.told(done))
    return done.stdout
