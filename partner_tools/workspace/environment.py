"""What the machine gives: the clock, chance, and the user's folders."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from pathlib import Path

APP = "partner-tools"


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def randomness() -> bytes:
    """Bytes that nobody can guess, for run ids."""
    from partner_tools.ledger import RANDOM_BYTES

    return secrets.token_bytes(RANDOM_BYTES)


def user_config_folder() -> Path:
    """Where a user's configuration lives on this operating system."""
    from platformdirs import user_config_path

    return user_config_path(APP, appauthor=False)


def user_data_folder() -> Path:
    """Where a user's ledger lives on this operating system."""
    from platformdirs import user_data_path

    return user_data_path(APP, appauthor=False)
