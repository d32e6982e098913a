"""What the machine gives: the clock, chance, the user and their folders."""

from __future__ import annotations

import getpass
import secrets
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partner_tools.model import RunId

APP = "partner-tools"


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def new_run() -> RunId:
    """A fresh run id, which nobody can guess."""
    from partner_tools.ledger import RANDOM_BYTES, new_run_id

    return new_run_id(now(), secrets.token_bytes(RANDOM_BYTES))


def actor() -> str | None:
    """Who started the program, as the operating system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


def user_config_folder() -> Path:
    """Where a user's configuration lives on this operating system."""
    from platformdirs import user_config_path

    return user_config_path(APP, appauthor=False)


def user_data_folder() -> Path:
    """Where a user's ledger lives on this operating system."""
    from platformdirs import user_data_path

    return user_data_path(APP, appauthor=False)
