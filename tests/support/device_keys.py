"""What TPMs and HSMs of a test have in common: how their keys get certificates, and what of it certferry is told."""

import datetime
import glob
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support import programs
from support.pki import Certificate


def run(device, *command, stdin=b""):
    """Standard output of a device's tool, in its directory and environment; a failure is an error of the test."""
    done = programs.run(device.directory, *command, stdin=stdin, **device.variables)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{programs.told(done)}"
    return done.stdout


def certify(authority, directory, name, public_key, subject="localhost"):
    """The path of a certificate of the test CA for a public key (PEM or DER): good for both ends of TLS."""
    load = serialization.load_pem_public_key if b"-----" in public_key else serialization.load_der_public_key
    key = load(public_key)
    ca = x509.load_pem_x509_certificate(authority.root.cert.read_bytes())
    ca_key = serialization.load_pem_private_key(authority.root.key.read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    names = x509.SubjectAlternativeName([x509.DNSName(subject)])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(usage, True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(identifier, False)
        .add_extension(names, False)
        .sign(ca_key, hashes.SHA256())
    )
    path = pathlib.Path(directory) / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def key_file(path, text):
    """A private file that the proxy may read whoever it becomes."""
    path.write_text(text)
    path.chmod(0o640)
    return path


def provider_module(name):
    """The path of an OpenSSL provider; None if it is not installed."""
    found = glob.glob(f"/usr/lib/*/ossl-modules/{name}.so")
    return found[0] if found else None


__all__ = ["Certificate", "certify", "key_file", "provider_module", "run"]
