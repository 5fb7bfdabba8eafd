"""Verifies the detached JSON Web Signature of a roster document (RFC 7515 appendix F), independently of the program."""

import base64
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils


def decode(text):
    assert "=" not in text and "+" not in text and "/" not in text, "base64url without padding"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(field):
    """(header, signature, the header as it came)"""
    header, payload, signature = field.split(".")
    assert payload == "", "detached"
    return json.loads(decode(header)), decode(signature), header


def chain_of(header):
    return [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in header.get("x5c", [])]


def verify(field, body, key):
    """The header; raises InvalidSignature. `key`: a public key of python3-cryptography."""
    header, signature, encoded = read(field)
    signed = encoded.encode() + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert header["alg"] == "ES256" and len(signature) == 64, header
        half = [int.from_bytes(part, "big") for part in (signature[:32], signature[32:])]
        key.verify(utils.encode_dss_signature(*half), signed, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
        assert header["alg"] == "RS256", header
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey) and header["alg"] == "EdDSA", header
        key.verify(signature, signed)
    return header


def public_key(path):
    return serialization.load_pem_public_key(path.read_bytes())
