"""The only door of Ed25519: a person's key, what it signs, and whether a signature is one.

The private key rests in a PFX file under a passphrase, stretched by PBKDF2-SHA256 as often as
OWASP advises (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html,
read 2026-11). Public keys and signatures are texts: `ed25519:` and base64.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from partner_tools.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
KEY_BYTES = 32
ROUNDS = 600_000
PASSPHRASE_CHARACTERS = 12
"""Fewer are refused: whoever copies the file has all the time there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An unlocked key. `public` is its public half as text."""

    public: str
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, content: bytes) -> str:
        """The signature over the content, as text."""
        return _text(self._private.sign(content))


def make_key(passphrase: str) -> tuple[bytes, str]:
    """A new key: the content of its file, and its public half.

    Raises InputError for a passphrase that is too short.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

    if len(passphrase) < PASSPHRASE_CHARACTERS:
        raise InputError(
            f"the passphrase has fewer than {PASSPHRASE_CHARACTERS} characters",
            rule="weak-passphrase",
            remedy="choose a longer one: it is all that protects a copy of the key",
        )
    key = Ed25519PrivateKey.generate()
    locked = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(passphrase.encode("utf-8"))
    )
    content = pkcs12.serialize_key_and_certificates(b"partner-tools", key, None, None, locked)
    return content, _text(key.public_key().public_bytes_raw())


def open_key(content: bytes, passphrase: str) -> SigningKey:
    """The key of a file that `make_key` made. Raises InputError where it does not open."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        key, _, _ = pkcs12.load_key_and_certificates(content, passphrase.encode("utf-8"))
    except (ValueError, TypeError, NotImplementedError):
        key = None  # without the library's words, which may quote the content
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            "the signing key cannot be opened: the passphrase or the file is wrong",
            rule="signing-key",
            remedy="type the passphrase again; `partner-tools approve --init` makes another key",
        )
    return SigningKey(public=_text(key.public_key().public_bytes_raw()), _private=key)


def is_public(text: str) -> bool:
    """Whether the text is the public half of a key, as `make_key` gives it."""
    try:
        return text.startswith(PREFIX) and len(_bytes(text)) == KEY_BYTES
    except ValueError:
        return False


def is_signature(public: str, signature: str, content: bytes) -> bool:
    """Whether the signature over the content was made by the key of this public half."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(_bytes(public)).verify(_bytes(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(content: bytes) -> str:
    return f"{PREFIX}{base64.b64encode(content).decode('ascii')}"


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
