"""The exclusive right to execute a run, which ends with the process that holds it.

Beside a SQLite file it is a lock of the operating system on an empty file, on PostgreSQL an
advisory lock of a session: both go when the process is killed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from partner_tools.errors import LedgerError
from partner_tools.ledger.database import Database, advisory_key, make_private_folder
from partner_tools.ledger.failures import explained
from partner_tools.model import RunId

_GRACE_SECONDS = 0.5
"""`is_held` takes the lock for a moment, which `hold` has to outlast."""


@contextmanager
def hold_run(database: Database, run: RunId) -> Iterator[None]:
    """Hold the run while the block lasts. Raises LedgerError where another process holds it."""
    if database.path is None:
        with _advisory_lock(database, run):
            yield
    else:
        with _file_lock(database.path, run):
            yield


def run_is_held(database: Database, run: RunId) -> bool:
    """Whether some process, this one included, holds the run right now."""
    if database.path is None:
        with database.read() as connection:
            return _advisory_lock_exists(connection, run)
    return _file_is_locked(_lock_path(database.path, run))


def _held_elsewhere(run: RunId) -> LedgerError:
    return LedgerError(
        f"run {run} is being executed by another process",
        remedy=f"wait for it (`partner-tools runs {run} --watch`), or end it with Ctrl-C first",
        rule="run-held",
    )


def _lock_path(ledger: Path, run: RunId) -> Path:
    return ledger.with_name(f"{ledger.name}.locks") / f"{run}.lock"


@contextmanager
def _file_lock(ledger: Path, run: RunId) -> Iterator[None]:
    path = _lock_path(ledger, run)
    lock = FileLock(path, timeout=_GRACE_SECONDS, mode=0o600, thread_local=False)
    try:
        make_private_folder(path.parent)
        lock.acquire(poll_interval=0.02)
    except Timeout:
        raise _held_elsewhere(run) from None
    except OSError as error:
        raise LedgerError(
            f"run {run} cannot be locked: {path} cannot be written ({error.strerror})",
            remedy="give yourself write permission on the ledger's folder",
            rule="ledger-read-only",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _file_is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0, mode=0o600, thread_local=False)
    try:
        with lock:
            return False
    except (Timeout, OSError):
        return True


@contextmanager
def _advisory_lock(database: Database, run: RunId) -> Iterator[None]:
    with explained(database.place):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with explained(database.place):
            taken = connection.execute(
                text("SELECT pg_try_advisory_lock(:kind, :number)"), _key(run)
            ).scalar_one()
        if not taken:
            raise _held_elsewhere(run)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a session that is lost has lost its locks
                connection.execute(text("SELECT pg_advisory_unlock(:kind, :number)"), _key(run))
    finally:
        connection.detach()
        connection.close()


def _advisory_lock_exists(connection: Connection, run: RunId) -> bool:
    query = text(
        "SELECT EXISTS (SELECT 1 FROM pg_locks JOIN pg_database ON oid = database"
        " WHERE locktype = 'advisory' AND granted AND objsubid = 2"
        " AND datname = current_database()"
        " AND classid = CAST(:kind AS bigint) AND objid = CAST(:number AS bigint) & 4294967295)"
    )
    return bool(connection.execute(query, _key(run)).scalar_one())


def _key(run: RunId) -> dict[str, Any]:
    number = int.from_bytes(hashlib.sha256(run.encode()).digest()[:4], "big", signed=True)
    kind, number = advisory_key(number)
    return {"kind": kind, "number": number}
