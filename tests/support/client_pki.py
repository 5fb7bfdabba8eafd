"""
Certificates of clients, as a door of ours may be shown them: of any age, key and name, with intermediate CAs and CRLs.
Made in this process, so that a test can afford many; support/pki.py makes those of servers.
"""

import datetime
import pathlib
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from support.pki import Certificate

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)


def subject(common_name):
    """"O=Enrolled, CN=..." for a text, and any x509.Name as it is."""
    if isinstance(common_name, x509.Name):
        return common_name
    words = [(NameOID.ORGANIZATION_NAME, "Enrolled"), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(*word) for word in words])


def key_usage(ca):
    """Python 3.13 verifies strictly after RFC 5280."""
    never = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*never, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **never)


def new_key(kind="ec"):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


class ClientAuthority:
    """A CA in `directory`, below `parent` or by itself."""

    def __init__(self, directory, name="Device CA", parent=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.parent = parent
        self.key = new_key()
        self.name = subject(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.own = self._sign(self.name, self.key.public_key(), constraints, (), NOW - DAY, NOW + 30 * DAY, parent)
        self.cert = self.directory / "ca.pem"
        self.cert.write_bytes(pem(self.own))

    def _sign(self, name, public_key, constraints, alternative, start, end, signer):
        issuer, key = (signer.name, signer.key) if signer else (self.name, self.key)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(key_usage(constraints.ca), critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(alternative)), critical=False)
        return builder.sign(key, hashes.SHA256())

    def certificate(self, name, alternative=(), start=NOW - DAY, end=NOW + 7 * DAY, kind="ec", with_chain=True):
        """
        A pki.Certificate whose PEM holds the CAs between it and the root too. `alternative`: x509.DNSName and so on.
        """
        key = new_key(kind)
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        own = self._sign(subject(name), key.public_key(), constraints, alternative, start, end, self)
        stem = self.directory / uuid.uuid4().hex
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        made.cert.write_bytes(b"".join(pem(each) for each in [own, *(self._between() if with_chain else ())]))
        plain = serialization.NoEncryption()
        octets = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        made.key.touch(mode=0o600)
        made.key.write_bytes(octets)
        return made

    def _between(self):
        return [self.own, *self.parent._between()] if self.parent else []

    def crl(self, *revoked, end=NOW + 7 * DAY):
        """The PEM text of a CRL that names these certificates of ours."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(min(NOW, end) - DAY).next_update(end)
        for each in revoked:
            number = x509.load_pem_x509_certificate(each.cert.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
