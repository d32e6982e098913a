"""One spelling for JSON that is signed or hashed: RFC 8785."""

from __future__ import annotations

import hashlib
from typing import Any


def canonical(value: Any) -> bytes:
    """Serialize a JSON value by RFC 8785, so that equal values have equal bytes."""
    import rfc8785

    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the canonical JSON."""
    return digest_of_bytes(canonical(value))


def digest_of_bytes(content: bytes) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
