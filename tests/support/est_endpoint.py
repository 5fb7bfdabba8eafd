"""One endpoint of an EST server: which CA signs behind its label, whom it believes, how long its certificates live."""

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

DAY = 86400
# What a request may bring into its certificate.
COPIED = (x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.KeyUsage)


@dataclass
class Endpoint:
    """May be changed between requests."""

    issuer: object  # pki.Authority that signs here
    users: dict = field(default_factory=dict)  # of HTTP Basic authentication
    secret: str = ""  # a `Secret-Value` field with this value is believed; "" none
    clients: tuple = ()  # authorities whose certificates are believed
    lifetime: int = 5 * DAY  # seconds
    age: int = 0  # of a new certificate: seconds since its notBefore
    authorities: bool = False  # it makes certificates of CAs, as for an Edge CA
    forces_reenroll: bool = False  # a new certificate keeps the subject of the one that was shown
    failures: int = 0  # so many enrollments are answered with 503 first

    def believes(self, certificate, user, password, secret):
        """Whether this client may enroll. `certificate`: x509.Certificate that TLS has verified, None without one."""
        if self.secret and secret == self.secret:
            return True
        if user and self.users.get(user) == password:
            return True
        return certificate is not None and any(issued_by(authority, certificate) for authority in self.clients)

    def fails(self):
        """Whether this enrollment is one of the `failures`."""
        if self.failures == 0:
            return False
        self.failures -= 1
        return True

    def sign(self, request, shown):
        """A certificate in PEM for this x509.CertificateSigningRequest."""
        issuer = x509.load_pem_x509_certificate(self.issuer.root.cert.read_bytes())
        key = serialization.load_pem_private_key(self.issuer.root.key.read_bytes(), None)
        now = datetime.datetime.now(datetime.timezone.utc)
        begins = now.replace(microsecond=0) - datetime.timedelta(seconds=self.age)
        forced = self.forces_reenroll and shown is not None
        builder = (
            x509.CertificateBuilder()
            .subject_name(shown.subject if forced else request.subject)
            .issuer_name(issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + datetime.timedelta(seconds=self.lifetime))
            .add_extension(x509.BasicConstraints(self.authorities, 0 if self.authorities else None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
        )
        for extension in request.extensions:
            if isinstance(extension.value, COPIED):
                builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issued_by(authority, certificate):
    """By name: TLS has verified the signature."""
    return certificate.issuer == x509.load_pem_x509_certificate(authority.root.cert.read_bytes()).subject
