"""The machine's environment: the clock, randomness, the user and their folders."""

from __future__ import annotations

import ctypes
import os
import secrets
import sys
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
    """Return a new run id that can't be guessed."""
    from partner_tools.ledger import RANDOM_BYTES, new_run_id

    return new_run_id(now(), secrets.token_bytes(RANDOM_BYTES))


def actor() -> str | None:
    """The account that runs the program, as the operating system knows it.

    Environment variables such as LOGNAME are the user's own words, and are not asked.
    """
    if sys.platform == "win32":
        name, size = ctypes.create_unicode_buffer(257), ctypes.c_ulong(257)
        found = ctypes.windll.advapi32.GetUserNameW(name, ctypes.byref(size))
        return name.value if found else None
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        return f"uid-{os.geteuid()}"


def user_config_folder() -> Path:
    """Where a user's configuration lives on this operating system."""
    from platformdirs import user_config_path

    return user_config_path(APP, appauthor=False)


def user_data_folder() -> Path:
    """Where a user's ledger lives on this operating system."""
    from platformdirs import user_data_path

    return user_data_path(APP, appauthor=False)
