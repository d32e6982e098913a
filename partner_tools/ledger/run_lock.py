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

from partner_tools.errors import LedgerError
from partner_tools.files import make_private_folder
from partner_tools.ledger.database import LOCKED_RULE, Database, advisory_key
from partner_tools.model import RunId

_GRACE_SECONDS = 0.5
"""`is_held` takes the lock for a moment, which `hold` has to outlast."""
_SERVER_GRACE_SECONDS = 2.0
"""PostgreSQL ends the session of a killed process only once it has noticed."""


@contextmanager
def hold_run(database: Database, run: RunId) -> Iterator[None]:
    """Hold the run while the block lasts. Raises LedgerError if another process holds it."""
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
        remedy=f"wait for it (`partner-tools runs {run}` shows it), or end it with Ctrl-C first",
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
    """A lock of the session that writes: who loses it cannot write either."""
    _take_advisory_lock(database, run)
    try:
        yield
    finally:
        with suppress(LedgerError), database.write() as connection:  # lost with its session
            connection.execute(text("SELECT pg_advisory_unlock(:kind, :number)"), _key(run))
        database.held.discard(run)


def _take_advisory_lock(database: Database, run: RunId) -> None:
    try:
        with database.write() as connection:
            if run in database.held:  # the session could take its own lock again
                raise _held_elsewhere(run)
            grace = int(_SERVER_GRACE_SECONDS * 1000)
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {grace}")
            connection.execute(text("SELECT pg_advisory_lock(:kind, :number)"), _key(run))
            database.held.add(run)
    except LedgerError as error:
        if error.rule == LOCKED_RULE:
            raise _held_elsewhere(run) from None
        raise


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
