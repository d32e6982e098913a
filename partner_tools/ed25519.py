"""The only door of Ed25519: a person's key, what it signs, and whether a signature is one.

The private key rests in a file of three lines: what it is, a salt, and the key, encrypted under a
passphrase that PBKDF2-SHA256 stretches as often as OWASP advises
(https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html, read 2026-11).
No PFX file: its MAC, by which a passphrase can be tried as well, is stretched 2,048 times only.
Public keys and signatures are texts: `ed25519:` and base64.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unicodedata import normalize

from partner_tools.errors import InputError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
KEY_BYTES = 32
ROUNDS = 600_000
SALT_BYTES = 16
PASSPHRASE_CHARACTERS = 12
"""Fewer are refused: whoever copies the file has all the time there is."""
_FIRST_LINE = b"partner-tools-signing-key-1"


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
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(passphrase) < PASSPHRASE_CHARACTERS:
        raise InputError(
            f"the passphrase has fewer than {PASSPHRASE_CHARACTERS} characters",
            rule="weak-passphrase",
            remedy="choose a longer one: it is all that protects a copy of the key",
        )
    key, salt = Ed25519PrivateKey.generate(), os.urandom(SALT_BYTES)
    locked = _lock(passphrase, salt).encrypt_at_time(key.private_bytes_raw(), 0)
    lines = (_FIRST_LINE, base64.b64encode(salt), locked, b"")
    return b"\n".join(lines), _text(key.public_key().public_bytes_raw())


def open_key(content: bytes, passphrase: str) -> SigningKey:
    """The key of a file that `make_key` made. Raises InputError where it does not open."""
    key = _unlocked(content, passphrase)
    if key is None:
        raise InputError(
            "the signing key cannot be opened: the passphrase or the file is wrong",
            rule="signing-key",
            remedy="type the passphrase again; `partner-tools approve --init` makes another key",
        )
    return SigningKey(public=_text(key.public_key().public_bytes_raw()), _private=key)


def _unlocked(content: bytes, passphrase: str) -> Ed25519PrivateKey | None:
    """None without the library's words, which may quote the content."""
    from cryptography.fernet import InvalidToken
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    lines = content.split()
    if len(lines) != 3 or lines[0] != _FIRST_LINE:
        return None
    try:
        salt = base64.b64decode(lines[1], validate=True)
        return Ed25519PrivateKey.from_private_bytes(_lock(passphrase, salt).decrypt(lines[2]))
    except (ValueError, InvalidToken):
        return None


def _lock(passphrase: str, salt: bytes) -> Fernet:
    """What locks and opens a key's file, as the library advises for passwords
    (https://cryptography.io/en/latest/fernet/#using-passwords-with-fernet, read 2026-11)."""
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    typed = normalize("NFC", passphrase)  # keyboards of macOS and others differ in accents
    stretched = PBKDF2HMAC(algorithm=SHA256(), length=32, salt=salt, iterations=ROUNDS)
    return Fernet(
        base64.urlsafe_b64encode(stretched.derive(typed.encode("utf-8", "surrogatepass")))
    )


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
