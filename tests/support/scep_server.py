"""A small SCEP server (RFC 8894) for strongSwan's client, which refuses the signatures of micromdm's scepserver.

It signs whatever proper request comes. Python's http.server in front, the openssl command and cryptography behind.
"""

import base64
import hashlib
import http.server
import secrets
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from support import pki

CAPABILITIES = b"AES\nDES3\nPOSTPKIOperation\nRenewal\nSCEPStandard\nSHA-256\n"

SEQUENCE, SET, INTEGER, OCTETS, NULL, PRINTABLE = 0x30, 0x31, 0x02, 0x04, 0x05, 0x13
# Object identifiers in DER.
DATA = bytes.fromhex("06092a864886f70d010701")
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")
SHA256 = bytes.fromhex("0609608648016503040201")


def verisign(number):
    """An attribute of SCEP, RFC 8894 section 3.2.1."""
    return bytes.fromhex("060a6086480186f8450109") + bytes([number])


MESSAGE_TYPE, PKI_STATUS, SENDER_NONCE, RECIPIENT_NONCE, TRANSACTION = map(verisign, (2, 3, 5, 6, 7))


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def attribute_of(message, name):
    """The value of a signed attribute: SEQUENCE { name, SET { value } }, all of them short."""
    at = message.index(name) + len(name) + 2
    return message[at + 2 : at + 2 + message[at + 1]]


class ScepServer:
    """Listens from construction to close(); its own RSA CA is made in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        self.ca_cert, self.ca_key = directory / "scep-ca.pem", directory / "scep-ca.key"
        self.seen = []  # (method, operation)
        self._make_ca()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.scep = self
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def _make_ca(self):
        config = self.directory / "scep-ca.cnf"
        config.write_text(pki.CONFIG.format(subject="SCEP test CA", alternative="DNS:unused.test"))
        config.write_text(config.read_text().replace("cRLSign,", "cRLSign, keyEncipherment,"))
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", self.ca_key]
        self._openssl("req", "-x509", *key, "-config", config, "-extensions", "ca", "-days", "7", "-out", self.ca_cert)
        self.cert = x509.load_pem_x509_certificate(self.ca_cert.read_bytes())
        self.key = serialization.load_pem_private_key(self.ca_key.read_bytes(), None)

    def _openssl(self, *arguments, stdin=b""):
        return pki.openssl(self.directory, *arguments, stdin=stdin)

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ca_der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)

    def enroll(self, message):
        """PKCSReq in, CertRep out (RFC 8894 sections 3.3.1 and 3.3.2)."""
        signer = self.directory / f"signer-{secrets.token_hex(8)}.pem"
        checked = ("-noverify", "-inform", "DER", "-signer", signer)
        enveloped = self._openssl("cms", "-verify", *checked, stdin=message)
        ours = ("-inform", "DER", "-recip", self.ca_cert, "-inkey", self.ca_key)
        request = self._openssl("cms", "-decrypt", *ours, stdin=enveloped)
        issuer = ("-CA", self.ca_cert, "-CAkey", self.ca_key, "-set_serial", "0x01" + secrets.token_hex(15))
        certificate = self._openssl("x509", "-req", "-inform", "DER", "-days", "5", *issuer, stdin=request)
        chain = self._openssl("crl2pkcs7", "-nocrl", "-certfile", "/dev/stdin", "-outform", "DER", stdin=certificate)
        sealed = self._openssl("smime", "-encrypt", "-binary", "-aes128", "-outform", "DER", signer, stdin=chain)
        return self._sign(sealed, attribute_of(message, TRANSACTION), attribute_of(message, SENDER_NONCE))

    def _sign(self, content, transaction, nonce):
        """SignedData of RFC 5652 section 5.1 with SCEP's attributes, which the openssl command cannot add."""
        attributes = self._attributes(content, transaction, nonce)
        signature = self.key.sign(tlv(SET, attributes), padding.PKCS1v15(), hashes.SHA256())
        digest = tlv(SEQUENCE, SHA256, tlv(NULL))
        serial = self.cert.serial_number
        number = tlv(INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
        info = tlv(
            SEQUENCE,
            tlv(INTEGER, b"\1"),
            tlv(SEQUENCE, self.cert.issuer.public_bytes(), number),
            digest,
            tlv(0xA0, attributes),
            tlv(SEQUENCE, RSA_ENCRYPTION, tlv(NULL)),
            tlv(OCTETS, signature),
        )
        inner = tlv(SEQUENCE, DATA, tlv(0xA0, tlv(OCTETS, content)))
        whole = tlv(SEQUENCE, tlv(INTEGER, b"\1"), tlv(SET, digest), inner, tlv(0xA0, self.ca_der()), tlv(SET, info))
        return tlv(SEQUENCE, SIGNED_DATA, tlv(0xA0, whole))

    @staticmethod
    def _attributes(content, transaction, nonce):
        values = {
            CONTENT_TYPE: DATA,
            MESSAGE_DIGEST: tlv(OCTETS, hashlib.sha256(content).digest()),
            MESSAGE_TYPE: tlv(PRINTABLE, b"3"),
            PKI_STATUS: tlv(PRINTABLE, b"0"),
            SENDER_NONCE: tlv(OCTETS, secrets.token_bytes(16)),
            RECIPIENT_NONCE: tlv(OCTETS, nonce),
            TRANSACTION: tlv(PRINTABLE, transaction),
        }
        # DER sorts a SET OF; the signature is over that order.
        return b"".join(sorted(tlv(SEQUENCE, name, tlv(SET, value)) for name, value in values.items()))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = 1 << 16

    def log_message(self, *_):
        """Says nothing: `seen` has it all."""

    def do_GET(self):
        scep = self.server.scep
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        operation = query.get("operation", [""])[0]
        scep.seen.append((self.command, operation))
        if operation == "GetCACaps":
            self.reply(CAPABILITIES, "text/plain")
        elif operation == "GetCACert":
            self.reply(scep.ca_der(), "application/x-x509-ca-cert")
        else:
            self.reply(scep.enroll(self.message(query)), "application/x-pki-message")

    do_POST = do_GET

    def message(self, query):
        if self.command == "POST":
            return self.rfile.read(int(self.headers["Content-Length"]))
        return base64.b64decode(query["message"][0])

    def reply(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
