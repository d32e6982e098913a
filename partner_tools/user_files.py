"""Files that a user names but others may have written: read within limits, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from partner_tools.errors import InputError
from partner_tools.strict_json import InvalidTextError, read_json

MIB: Final = 1024 * 1024
PLAN_BYTES: Final = 512 * MIB
"""A plan: about 800 bytes a device."""
SIGNATURES_BYTES: Final = 65_536
"""A file of signatures: twenty of them have 6,000 bytes."""
EXPORT_BYTES: Final = 1024 * MIB
"""An exported audit trail: about a kilobyte an event."""
PROFILE_BYTES: Final = 4 * MIB
"""A wire profile: its characters are counted when it is parsed."""
HANDOFF_BYTES: Final = 256 * MIB
"""A handoff: ten thousand devices take about twenty million bytes."""
HOLD_LIST_BYTES: Final = 64 * MIB
"""A hold list: some four million serial numbers."""


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file. Raises OSError as `open` does, ForeignError beyond the limit."""
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise InvalidTextError(f"it has more than {limit:,} bytes")
    return content


def read_document(
    path: Path,
    limit: int,
    *,
    what: str,
    rule: str,
    remedy: str,
    read: Callable[[bytes], Any] = read_json,
) -> Any:
    """The JSON of a file, or what `read` makes of it.

    Raises InputError where it is none, is larger, or cannot be read.
    """
    try:
        return read(read_bytes(path, limit))
    except (OSError, InvalidTextError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{what} {str(path)!r} cannot be read: {why}", rule=rule, remedy=remedy
        ) from error
