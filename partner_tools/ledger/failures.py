"""What can go wrong with a database, as one sentence and a remedy: never a library's traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from partner_tools.errors import LedgerError


@dataclass(frozen=True, slots=True)
class _Meaning:
    rule: str
    what: str
    remedy: str


LOCKED_RULE = "ledger-locked"
_LOCKED = _Meaning(
    LOCKED_RULE,
    "is locked by another process",
    "wait until the other command has ended, then try again; see it with `partner-tools runs`",
)
_DAMAGED = _Meaning(
    "ledger-damaged",
    "is damaged, or is not a ledger",
    "keep the file as it is, put back a copy of it, or begin a new ledger with --ledger",
)
_INCOMPLETE = _Meaning(
    "ledger-damaged",
    "is damaged: a part of its tables is missing",
    "keep it as it is and put back a backup of it, or begin a new ledger with --ledger; what was "
    "exported of it before still says what was done",
)
_READ_ONLY = _Meaning(
    "ledger-read-only",
    "cannot be written",
    "give yourself write permission on the file and its folder, or name another with --ledger",
)
_FULL = _Meaning(
    "ledger-full",
    "cannot grow: the disk is full",
    "free space on that disk; a run that had begun goes on with `partner-tools resume RUN`",
)
_FAULTY = _Meaning(
    "ledger-io",
    "could not be read or written by the operating system",
    "check the disk that holds it; a run that had begun goes on with `partner-tools resume RUN`",
)
_MISSING = _Meaning(
    "ledger-unreachable",
    "cannot be opened",
    "check the folder or the server that --ledger or PARTNER_TOOLS_LEDGER names",
)
_UNREACHABLE = _Meaning(
    "ledger-unreachable",
    "cannot be reached",
    "check the server that PARTNER_TOOLS_LEDGER names and the way to it; "
    "a run that had begun goes on with `partner-tools resume RUN`",
)
_DENIED = _Meaning(
    "ledger-denied",
    "does not let this user in",
    "check user and password of the database that PARTNER_TOOLS_LEDGER names",
)
_FORBIDDEN = _Meaning(
    "ledger-denied",
    "does not let this user do that",
    "use a login whose role may (`partner-tools ledger roles`); one that is bound to a depot hands "
    "in for that one, with --depot or fleet.depot in the profile",
)
_OTHER = _Meaning(
    "ledger",
    "refused a statement",
    "run `partner-tools ledger verify`; if it finds nothing, report this as a bug",
)

_MISSING_IN_SQLITE = ("no such table", "no such column")
"""SQLite has one code for these and for what is wrong with a statement."""

_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FORMAT: _DAMAGED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FAULTY,
    sqlite3.SQLITE_CANTOPEN: _MISSING,
}

_BY_SQL_STATE = {
    "55P03": _LOCKED,
    "40P01": _LOCKED,
    "53100": _FULL,
    "25006": _READ_ONLY,
    "42501": _FORBIDDEN,
    "28": _DENIED,
    "3D": _MISSING,
    "42P01": _INCOMPLETE,
    "42703": _INCOMPLETE,
    "08": _UNREACHABLE,
    "53": _UNREACHABLE,
    "57": _UNREACHABLE,
    "58": _FAULTY,
    "XX": _DAMAGED,
}
"""By the whole SQLSTATE or its class
(https://www.postgresql.org/docs/18/errcodes-appendix.html, read 2026-11)."""


@contextmanager
def explained(place: str, driver: type[Exception] = sqlite3.Error) -> Iterator[None]:
    """Turn whatever SQLAlchemy or the driver raises within into a LedgerError about `place`."""
    try:
        yield
    except (SQLAlchemyError, driver) as error:
        raise explain(error, place) from error


def explain(error: Exception, place: str) -> LedgerError:
    """Say what a database error means for the ledger at `place`."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return _failure(_meaning(cause), place, " ".join(str(cause).split()))


def incomplete(place: str, missing: str) -> LedgerError:
    """The ledger at `place` has lost a table."""
    return _failure(_INCOMPLETE, place, missing)


def _failure(meaning: _Meaning, place: str, said: str) -> LedgerError:
    return LedgerError(
        f"the ledger {place} {meaning.what} ({said})", remedy=meaning.remedy, rule=meaning.rule
    )


def _meaning(cause: BaseException) -> _Meaning:
    if isinstance(cause, sqlite3.Error):
        # The low byte is the primary code: https://sqlite.org/rescode.html, read 2026-11.
        if str(cause).startswith(_MISSING_IN_SQLITE):
            return _INCOMPLETE
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return _BY_SQLITE_CODE.get(code, _OTHER)
    state = getattr(cause, "sqlstate", None)
    if state:
        return _BY_SQL_STATE.get(state) or _BY_SQL_STATE.get(state[:2], _OTHER)
    return _UNREACHABLE if type(cause).__name__ == "OperationalError" else _OTHER
