"""Certificates, made by the test that needs them."""

import base64
import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

# A certificate, and its key.
Paths = tuple[Path, Path]


def make_certificate(
    folder: Path, *, name: str = "localhost", issuer: Paths | None = None
) -> Paths:
    """Return the paths of a certificate for 127.0.0.1 and localhost, and of its key.

    ``name``: its common name. ``issuer``: who signs it; without one it is self-signed, and may sign
    others.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    signer, signing_key = (subject, key) if issuer is None else _load(issuer)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path


def public_key(certificate: Path) -> Any:
    """Return whose certificate it is."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()


def public_jwk(certificate: Path) -> dict[str, Any]:
    """Return the certificate as a JWK (RFC 7517 §4.7)."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    der = found.public_bytes(serialization.Encoding.DER)
    jwk = ECAlgorithm.to_jwk(found.public_key(), as_dict=True)
    return {**jwk, "x5c": [base64.b64encode(der).decode()]}


def _load(issuer: Paths) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
    certificate, key = (path.read_bytes() for path in issuer)
    loaded = serialization.load_pem_private_key(key, password=None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(certificate).subject, loaded
