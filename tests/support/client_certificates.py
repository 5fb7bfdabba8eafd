"""
Client certificates with any name in them, also names that no honest CA would write: made with the cryptography package,
since the openssl command refuses or repairs them.
"""

import datetime
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.pki import Certificate

CN, O, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


def attribute(oid, value):
    """Whatever its length: that a common name has 64 characters at most is the CA's business."""
    try:
        return x509.NameAttribute(oid, value)
    except ValueError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x509.NameAttribute(oid, value, _validate=False)


def name(*parts):
    """Of (oid, value) in the order of the encoding; a list of such pairs is one RDN with several values."""
    rdns = [part if isinstance(part, list) else [part] for part in parts]
    return x509.Name([x509.RelativeDistinguishedName([attribute(*pair) for pair in rdn]) for rdn in rdns])


class Devices:
    """Certificates of the CA `authority` (pki.Authority), each made once."""

    def __init__(self, authority):
        self.authority = authority
        self.made = {}
        self._ca = x509.load_pem_x509_certificate(authority.root.cert.read_bytes())
        self._ca_key = serialization.load_pem_private_key(authority.root.key.read_bytes(), None)

    def cn(self, common_name):
        """With this common name and nothing else."""
        return self.make(name((CN, common_name)))

    def make(self, subject, *alternatives):
        """`alternatives`: x509.DNSName and the like."""
        wanted = (subject, alternatives)
        if wanted not in self.made:
            self.made[wanted] = self._make(f"device-{len(self.made)}", subject, alternatives)
        return self.made[wanted]

    def _make(self, stem, subject, alternatives):
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca.public_key()), False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        made = Certificate(self.authority.directory / f"{stem}.pem", self.authority.directory / f"{stem}.key")
        made.cert.write_bytes(builder.sign(self._ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        made.key.touch(mode=0o600)
        made.key.write_bytes(pem)
        return made
