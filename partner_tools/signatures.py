"""Signatures that lie beside a file: who signed its digest, for what purpose, and when. Pure.

What is signed is the RFC 8785 form of purpose, digest, key, account and time, so that a signature
for one purpose is none for another, and nothing beside it can be changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from partner_tools.canonical import canonical
from partner_tools.ed25519 import SigningKey, is_signature


class Purpose(StrEnum):
    """What a signature is for."""

    APPROVAL = "plan-approval"
    EXPORT = "ledger-export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature. `account` is whom the operating system knew, `signed_at` that machine's time:
    both are the signer's own words, which nobody else can change afterwards."""

    key: str
    account: str | None
    signed_at: str
    signature: str


def sign(
    purpose: Purpose, digest: str, *, key: SigningKey, account: str | None, at: datetime
) -> Signature:
    """Sign a digest."""
    signed_at = at.isoformat(timespec="seconds")
    text = key.sign(_statement(purpose, digest, key.public, account, signed_at))
    return Signature(key=key.public, account=account, signed_at=signed_at, signature=text)


def is_valid(signature: Signature, purpose: Purpose, digest: str) -> bool:
    """Whether the signature's key signed this digest for this purpose."""
    try:
        statement = _statement(
            purpose, digest, signature.key, signature.account, signature.signed_at
        )
    except ValueError:  # a text that canonical JSON cannot hold, which nobody signed
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
            "key": each.key,
            "account": each.account,
            "signedAt": each.signed_at,
            "signature": each.signature,
        }
        for each in signatures
    ]


def read_signatures(document: Mapping[str, Any]) -> tuple[Signature, ...]:
    """The signatures of a document that its schema accepts, none of them checked."""
    return tuple(
        Signature(
            key=each["key"],
            account=each["account"],
            signed_at=each["signedAt"],
            signature=each["signature"],
        )
        for each in document["signatures"]
    )


def _statement(
    purpose: Purpose, digest: str, key: str, account: str | None, signed_at: str
) -> bytes:
    return canonical(
        {
            "purpose": f"partner-tools {purpose.value} 1",
            "digest": digest,
            "key": key,
            "account": account,
            "signedAt": signed_at,
        }
    )
