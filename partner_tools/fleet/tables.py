"""The queue's own tables: made and brought up to date as Procrastinate ships them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from partner_tools.errors import LedgerError
from partner_tools.ledger.postgresql import AUDITOR, SUBMIT, WORKER, statements

_LOCK = 0x7061_7274_6E65_7273
_APPLIED = "SELECT max(migration) FROM fleet_queue_version"


_TABLES = (
    "procrastinate_jobs",
    "procrastinate_events",
    "procrastinate_periodic_defers",
    "procrastinate_workers",
)
_SEQUENCES = "USAGE ON ALL SEQUENCES IN SCHEMA public"
_SEEN = ("fleet_queue_version", *_TABLES)
GRANTS = {
    SUBMIT: (
        *(f"SELECT ON {table}" for table in _SEEN),
        "INSERT ON procrastinate_jobs",
        "INSERT ON procrastinate_events",
        _SEQUENCES,
    ),
    WORKER: (
        "SELECT ON fleet_queue_version",
        *(f"SELECT, INSERT, UPDATE, DELETE ON {table}" for table in _TABLES),
        _SEQUENCES,
    ),
    AUDITOR: tuple(f"SELECT ON {table}" for table in _SEEN),
}


def bring_up_to_date(conninfo: str) -> None:
    """Make the queue's tables, or apply the migrations that came with a newer Procrastinate.

    Needs the right to make tables only where something is to do. Raises LedgerError.
    """
    shipped = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    try:
        with psycopg.connect(conninfo) as connection:
            if _applied(connection) != shipped[-1].name:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                _apply(connection, shipped)
    except psycopg.Error as error:
        raise LedgerError(
            f"the queue's tables cannot be made or read ({_first_line(error)})",
            remedy="let the owner of the database run `partner-tools ledger roles` once",
            rule="queue-tables",
        ) from error


def _applied(connection: psycopg.Connection[Any]) -> str | None:
    """The last migration that was applied; None where there is no queue yet."""
    present = connection.execute("SELECT to_regclass('fleet_queue_version')").fetchone()
    if present is None or present[0] is None:
        return None
    row = connection.execute(_APPLIED).fetchone()
    return None if row is None else row[0]


def _apply(connection: psycopg.Connection[Any], shipped: list[Path]) -> None:
    applied = _applied(connection)
    if applied is None:
        connection.execute("CREATE TABLE fleet_queue_version (migration text NOT NULL)")
        _execute(connection, SchemaManager.get_schema())
    else:
        for migration in shipped:
            if migration.name > applied:
                _execute(connection, migration.read_text(encoding="utf-8"))
    connection.execute("INSERT INTO fleet_queue_version VALUES (%s)", (shipped[-1].name,))
    _grant(connection)


def grant(conninfo: str) -> None:
    """Give the roles what they need of the queue; for its owner."""
    with psycopg.connect(conninfo) as connection:
        _grant(connection)


def _grant(connection: psycopg.Connection[Any]) -> None:
    for statement in statements(GRANTS):
        _execute(connection, statement)


def _execute(connection: psycopg.Connection[Any], statements: str) -> None:
    connection.execute(statements.encode())


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
