"""Approvals and signatures: keys, what they sign, and whether a plan is approved.

A signature covers the RFC 8785 form of purpose, digest, key, account and time, so a signature for
one purpose is none for another, and nothing beside it can be changed.

The private key is kept in a file of three lines: its kind, a salt, and the key, encrypted under a
passphrase that PBKDF2-SHA256 stretches as often as OWASP advises
(https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html, read 2026-11).
A PFX file is no alternative: its MAC, against which a passphrase can be tried too, is stretched
only 2,048 times. Public keys and signatures are texts: `ed25519:` and base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from partner_tools.errors import GuardError, InputError
from partner_tools.json_forms import canonical, stated
from partner_tools.model import Account

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
    """Return the cipher of a key's file, as the library advises for passwords
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


def fingerprint(public: str) -> str:
    """Return a public key's fingerprint to compare: the SHA-256 of its 32 bytes, in hex."""
    return hashlib.sha256(_bytes(public)).hexdigest()


def grouped(fingerprint_: str) -> str:
    """A fingerprint in groups of four, as people compare it."""
    return " ".join(fingerprint_[at : at + 4] for at in range(0, len(fingerprint_), 4))


def _text(content: bytes) -> str:
    return f"{PREFIX}{base64.b64encode(content).decode('ascii')}"


def _bytes(text: str) -> bytes:
    """The bytes behind a text that `_text` wrote; another spelling of them is refused."""
    try:
        content = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if _text(content) != text:
        raise ValueError("not the base64 that was written")
    return content


class Purpose(StrEnum):
    """The purpose of a signature."""

    APPROVAL = "plan-approval"
    PLAN = "plan-author"
    EXPORT = "ledger-export"
    CERTIFICATE = "release-certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature. `account` is whom the operating system knew, `signed_at` that machine's time:
    both are the signer's own claims, which no one else can change afterwards."""

    purpose: Purpose
    key: str
    account: Account
    signed_at: str
    signature: str


def sign(
    purpose: Purpose, digest: str, *, key: SigningKey, account: Account, at: datetime
) -> Signature:
    signed_at = at.isoformat(timespec="seconds")
    unsigned = Signature(
        purpose=purpose, key=key.public, account=account, signed_at=signed_at, signature=""
    )
    return replace(unsigned, signature=key.sign(_statement(unsigned, digest)))


def is_valid(signature: Signature, purpose: Purpose, digest: str) -> bool:
    """Whether the signature's key signed this digest for this purpose."""
    try:
        statement = _statement(replace(signature, purpose=purpose), digest)
    except ValueError:  # canonical JSON cannot hold this text, so it was never signed
        return False
    return is_signature(signature.key, signature.signature, statement)


def signatures_document(
    purpose: Purpose, digest: str, signatures: Sequence[Signature]
) -> dict[str, Any]:
    """Signatures as JSON by `schemas/signatures.schema.json`."""
    return {
        "schemaVersion": "1",
        "purpose": purpose.value,
        "digest": digest,
        "signatures": signature_entries(signatures),
    }


def signature_entries(signatures: Iterable[Signature]) -> list[dict[str, Any]]:
    """Signatures as JSON objects."""
    return [
        {
            **({"as": "planner"} if each.purpose is Purpose.PLAN else {}),
            **_claims(each),
            "signature": each.signature,
        }
        for each in signatures
    ]


def read_signatures(document: Mapping[str, Any]) -> tuple[Signature, ...]:
    """The signatures of a document that its schema accepts, none of them checked."""
    purpose = Purpose(document.get("purpose", Purpose.APPROVAL))
    return tuple(
        Signature(
            purpose=Purpose.PLAN if "as" in each else purpose,
            key=each["key"],
            account=Account(name=each["account"], id=each.get("accountId")),
            signed_at=each["signedAt"],
            signature=each["signature"],
        )
        for each in document["signatures"]
    )


def _statement(signature: Signature, digest: str) -> bytes:
    """The bytes that are signed."""
    purpose = f"partner-tools {signature.purpose.value} 1"
    return canonical({"purpose": purpose, "digest": digest, **_claims(signature)})


def _claims(signature: Signature) -> dict[str, Any]:
    """What a signer says of themselves; version 0.1 knew no account id."""
    return {
        "key": signature.key,
        "account": signature.account.name,
        **stated(accountId=signature.account.id),
        "signedAt": signature.signed_at,
    }


APPROVAL_HOURS = 72.0
"""How long an approval holds, where the profile does not say."""
_CLOCK_DIFFERENCE = timedelta(minutes=10)
"""A signature from the future: by how much the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """A person whose signature counts. `accounts` are the names under which they plan."""

    name: str
    key: str
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """How many approvals of which people the profile requires, and for how many hours they hold.

    `planners` sign the plans that they make, as approvers do with theirs; they approve none.
    """

    required: bool = False
    needed: int = 1
    approvers: tuple[Approver, ...] = ()
    planners: tuple[Approver, ...] = ()
    valid_hours: float = APPROVAL_HOURS


def check_approval(
    rule: ApprovalRule,
    digest: str,
    planner: Account,
    signatures: Sequence[Signature],
    *,
    now: datetime,
) -> tuple[str, ...]:
    """The names of those who approved the plan of this digest within the last hours, each once.

    Raises GuardError where the rule demands more, and says of each signature why it does not
    count. A plan without its planner's own signature has no approval: the name of an account does
    not prove that two people were involved, two keys do.
    """
    author = _author(rule, digest, signatures)
    names: dict[str, None] = {}
    against = [] if planner.name is not None else ["the plan does not say who planned it"]
    if author is None:
        against.append("its planner has not signed it (`approve --as-planner`)")
    for signature in signatures:
        if signature.purpose is Purpose.PLAN:
            continue
        approver, why_not = _judge(rule, digest, planner, signature, now)
        if approver is None:
            against.append(why_not)
        elif author and (author.name == approver.name or author.key == approver.key):
            against.append(f"{approver.name} planned it")
        else:
            names[approver.name] = None
    if rule.required and (planner.name is None or author is None or len(names) < rule.needed):
        have = f"{len(names)} of {rule.needed} approvals ({', '.join(names) or 'none'})"
        raise GuardError(
            ": ".join(filter(None, (f"the plan has {have}", "; ".join(against)))),
            rule="approval-missing",
            remedy="have it signed by its planner, and by an approver who is another person, with "
            "`partner-tools approve`",
        )
    return tuple(names)


def refuse_without_plan(rule: ApprovalRule) -> None:
    """Raise GuardError where the rule demands an approval, which only a plan file can have."""
    if rule.required:
        raise GuardError(
            "the profile demands that a second person approves, and a batch has no approval",
            rule="approval-missing",
            remedy="write the plan with `partner-tools plan -o`, have it signed with "
            "`partner-tools approve`, and run `partner-tools deregister --plan`",
        )


def _author(rule: ApprovalRule, digest: str, signatures: Iterable[Signature]) -> Approver | None:
    """The person of the profile who signed the plan as its planner."""
    people = {each.key: each for each in (*rule.approvers, *rule.planners)}
    signed = (each for each in signatures if each.purpose is Purpose.PLAN)
    valid = (each for each in signed if each.key in people and is_valid(each, Purpose.PLAN, digest))
    return next((people[each.key] for each in valid), None)


def _judge(
    rule: ApprovalRule, digest: str, planner: Account, signature: Signature, now: datetime
) -> tuple[Approver | None, str]:
    """The approver whose signature this is, or why it does not count."""
    found = next((each for each in rule.approvers if each.key == signature.key), None)
    if found is None:
        return None, f"{signature.account.name or 'the signer'} is not an approver of this profile"
    if not is_valid(signature, Purpose.APPROVAL, digest):
        return None, f"the signature of {found.name} is not one of this plan"
    own = {name.casefold() for name in (found.name, *found.accounts, signature.account.name or "")}
    same_id = signature.account.id is not None and signature.account.id == planner.id
    if same_id or (planner.name is not None and planner.name.casefold() in own):
        return None, f"{found.name} planned it"
    age = now - datetime.fromisoformat(signature.signed_at)
    if not -_CLOCK_DIFFERENCE <= age <= timedelta(hours=rule.valid_hours):
        return None, f"{found.name} signed it at {signature.signed_at}, which has expired"
    return found, ""
