"""The name of a run: unique, sortable by time, and whole in file names on every system."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from partner_tools.model import RunId

RANDOM_BYTES = 3
"""How much randomness `new_run_id` takes: two runs of one second collide once in 16.7 million."""

_FORM = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


def new_run_id(now: datetime, randomness: bytes) -> RunId:
    """Name a run after its second in UTC and three random bytes: `20260417-101530-4f2a9c`.

    No colon and no upper case, so that the name is a file name on Windows too, and two names
    never differ by case alone.
    """
    if now.tzinfo is None or len(randomness) != RANDOM_BYTES:
        raise ValueError("a run id is made of an aware moment and three bytes")
    return RunId(f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{randomness.hex()}")


def is_run_id(text: str) -> bool:
    """Whether the text is a whole run id, hence safe as a part of a file name."""
    return _FORM.fullmatch(text) is not None
