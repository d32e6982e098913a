"""The machine's environment: clock, ids, user, folders, and the configuration and ledger there."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.config import Config, read_config
from partner_tools.files import this_user

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger
    from partner_tools.model import Account, RunId

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


def this_account() -> Account:
    """The account that runs the program, as the operating system knows it.

    Environment variables such as LOGNAME are the user's own words, and are not asked.
    """
    from partner_tools.model import Account

    if sys.platform == "win32":
        return Account(name=actor(), id=_windows_sid())
    return Account(name=actor(), id=f"{os.geteuid()}@{socket.gethostname()}")


def _windows_sid() -> str | None:
    """The security identifier of the process's user, as in `whoami /user`."""
    if sys.platform != "win32":
        return None
    from ctypes import wintypes

    query, token_user, token = 8, 1, wintypes.HANDLE()
    api, kernel = ctypes.windll.advapi32, ctypes.windll.kernel32
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    process = wintypes.HANDLE(kernel.GetCurrentProcess())
    if not api.OpenProcessToken(process, query, ctypes.byref(token)):
        return None
    try:
        size, text = wintypes.DWORD(), wintypes.LPWSTR()
        api.GetTokenInformation(token, token_user, None, 0, ctypes.byref(size))
        user = ctypes.create_string_buffer(size.value)  # it begins with the address of the SID
        if not api.GetTokenInformation(token, token_user, user, size, ctypes.byref(size)):
            return None
        sid = ctypes.c_void_p.from_buffer(user)
        if not api.ConvertSidToStringSidW(sid, ctypes.byref(text)):
            return None
        found = text.value
        kernel.LocalFree(text)
        return found
    finally:
        kernel.CloseHandle(token)


def actor() -> str | None:
    """The name of the account that runs the program."""
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


def load_config(
    named: Path | str | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The configuration that a named file and profile, environment and file amount to."""
    return read_config(
        named=None if named is None else Path(named),
        profile=profile,
        environment=os.environ if environment is None else environment,
        user_folder=user_config_folder(),
        validate=lambda profiles: named_faults("config", profiles),
        user=this_user(),
    )


def ledger_url(given: str | None, config: Config) -> str:
    """The ledger's SQLAlchemy URL; a plain path means a SQLite file."""
    named = given or config.text("ledger")
    if named is None:
        return _sqlite_url(user_data_folder() / "ledger.db")
    return named if "://" in named else _sqlite_url(Path(named))


@contextmanager
def open_ledger(given: str | None, config: Config) -> Iterator[Ledger]:
    """The ledger at a path or URL, else the configuration's; closed at the end."""
    from partner_tools.ledger import Ledger

    with Ledger.open(ledger_url(given, config)) as ledger:
        yield ledger


def named_faults(schema: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a document breaks a shipped schema, and how, with the names that it does not know."""
    from partner_tools.intake.schema import checker

    return [
        (fault.place("."), fault.message) for fault in checker(schema).violations(dict(document))
    ]


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.expanduser().absolute().as_posix()}"
