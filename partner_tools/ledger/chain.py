"""The hash chain of a run, as pure functions.

Every event names the hash of the one before it, and its own hash covers everything but the
payload, of which it covers the digest. A payload can therefore be purged and the chain still
verifies. A rewrite of a run's whole chain is detected by comparing the heads with
exported ones, which `digest_of_heads` condenses into one line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from partner_tools.json_forms import digest_of_bytes
from partner_tools.ledger.records import RunHead

GENESIS = f"sha256:{'0' * 64}"
"""The previous hash in the first event of a run."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def payload_digest(text: str) -> str:
    """The digest of a payload as it is stored."""
    return digest_of_bytes(text.encode("ascii"))


def link(event: Mapping[Any, Any], payload: str) -> str:
    """The hash of an event, new, stored or exported; `payload` is the payload's digest.

    The hash covers a compact JSON array. All texts in it are ASCII, so it is the array's RFC 8785
    form too, and any language can check it.
    """
    names = ("previous", "run", "n", "at", "kind", "device")
    content = _ENCODER.encode([*(event[name] for name in names), payload])
    return digest_of_bytes(content.encode("ascii"))


def digest_of_heads(heads: Iterable[RunHead]) -> str:
    """One digest over the heads of all runs, which have to come sorted by run."""
    hashed = hashlib.sha256()
    for head in heads:
        hashed.update(line(f"{head.run} {head.n} {head.hash}"))
    return f"sha256:{hashed.hexdigest()}"


def line(text: str) -> bytes:
    """The text as one line of what is hashed as a list."""
    return f"{text}\n".encode("utf-8", "surrogatepass")
