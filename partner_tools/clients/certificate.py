"""The app's certificate: read, unlocked and checked before anything is sent with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from partner_tools.clients.secret import Secret
from partner_tools.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its private key: a PEM file with both, or a PFX file."""

    path: Path
    password: Secret | None = None


def read_certificate(certificate: Certificate, now: datetime) -> dict[str, str]:
    """The credential as msal takes it, its key unlocked; the thumbprint is SHA-256.

    Raises InputError unless the file holds an RSA key, with the password given, and a certificate
    of that key which is valid now. Entra ID takes no other kind of key
    (https://learn.microsoft.com/entra/identity-platform/certificate-credentials, read 2026-11).
    """
    from cryptography.hazmat.primitives import serialization

    key, public = _load(certificate)
    if public.not_valid_after_utc <= now:
        _refuse(certificate, f"expired on {public.not_valid_after_utc:%Y-%m-%d}")
    if public.not_valid_before_utc > now:
        _refuse(certificate, f"is valid from {public.not_valid_before_utc:%Y-%m-%d} on only")
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "private_key": private.decode("ascii"),
        "public_certificate": public.public_bytes(serialization.Encoding.PEM).decode("ascii"),
    }


def unpack_pfx(certificate: Certificate) -> bytes:
    """The PFX file as unlocked PEM: private key, certificate and chain, for mutual TLS.

    Raises InputError unless it can be opened and holds a key with its certificate.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    password = certificate.password.reveal().encode("utf-8") if certificate.password else None
    try:
        bundle = load_pkcs12(certificate.path.read_bytes(), password)
    except OSError as error:
        _refuse(certificate, f"cannot be read: {error.strerror or type(error).__name__}")
    except (ValueError, TypeError, NotImplementedError):
        _refuse(certificate, "cannot be opened: the password or the form is wrong")
    if bundle.key is None or bundle.cert is None:
        _refuse(certificate, "does not hold a private key and its certificate")
    key = bundle.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = [bundle.cert, *bundle.additional_certs]
    pem = (each.certificate.public_bytes(serialization.Encoding.PEM) for each in chain)
    return key + b"".join(pem)


def _load(certificate: Certificate) -> tuple[RSAPrivateKey, x509.Certificate]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    password = certificate.password.reveal().encode("utf-8") if certificate.password else None
    try:
        content = certificate.path.read_bytes()
    except OSError as error:
        _refuse(certificate, f"cannot be read: {error.strerror or type(error).__name__}")
    read = _read_pem if b"-----BEGIN" in content else _read_pfx
    try:
        key, public = read(content, password)
    except (ValueError, TypeError, NotImplementedError):
        # Not chained, and without the library's words, which may quote the content.
        _refuse(certificate, "cannot be opened: the password or the form is wrong")
    if public is None or not isinstance(key, RSAPrivateKey):
        _refuse(certificate, "does not hold an RSA key and its certificate")
    if key.public_key() != public.public_key():
        _refuse(certificate, "holds a certificate of another key")
    return key, public


def _read_pem(content: bytes, password: bytes | None) -> tuple[object, x509.Certificate | None]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # A password for a key that has none is no reason to refuse it.
    locked = b"ENCRYPTED" in content
    return (
        load_pem_private_key(content, password if locked else None),
        x509.load_pem_x509_certificate(content),
    )


def _read_pfx(content: bytes, password: bytes | None) -> tuple[object, x509.Certificate | None]:
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    key, public, _ = load_key_and_certificates(content, password)
    return key, public


def _refuse(certificate: Certificate, reason: str) -> NoReturn:
    raise InputError(
        f"the certificate {str(certificate.path)!r} {reason}",
        rule="client-certificate",
        remedy="Give a PEM file with the certificate and its RSA private key, or a PFX file; set "
        "PARTNER_TOOLS_CERTIFICATE_PASSWORD where it has a password.",
    ) from None
