"""Brings a database to this program's version of the tables, and leaves every other one alone.

Loaded only where the version differs: Alembic is slow to import.
"""

from __future__ import annotations

import io
import os
import sqlite3
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Index

from partner_tools.errors import LedgerError
from partner_tools.ledger.database import Database, advisory_key
from partner_tools.ledger.tables import devices, is_in_doubt, metadata, read_version

__all__ = ["metadata", "upgrade"]

# The indexes of a part of a table, which need to be known where tables are made or compared. To
# name them loads every dialect, so they are not in `tables`.
Index(
    "ix_devices_removed",
    devices.c.customer,
    devices.c.settled_at,
    sqlite_where=devices.c.outcome == "removed",
    postgresql_where=devices.c.outcome == "removed",
)
Index("ix_devices_in_doubt", devices.c.run, sqlite_where=is_in_doubt, postgresql_where=is_in_doubt)

_MIGRATION_LOCK = 0
_one_at_a_time = threading.Lock()
"""Alembic keeps the migration under way in module globals, which the threads of a process share
(https://alembic.sqlalchemy.org/en/latest/api/runtime.html, read 2026-11)."""


def upgrade(database: Database, migrations: Path) -> None:
    """Bring the tables to the newest version, in one transaction.

    A SQLite ledger of an older version is copied beside itself first. Raises LedgerError for a
    version that these migrations do not know; nothing was changed then.
    """
    config = _config(migrations)
    with _one_at_a_time, database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(%s, %s)", advisory_key(_MIGRATION_LOCK)
            )
        version = read_version(connection, database.place)
        _check_known(version, config, database.place)
        if version is not None and version != _newest(config) and database.path is not None:
            _back_up(database.path, version)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config(migrations: Path) -> Config:
    config = Config(stdout=io.StringIO())
    # The value is interpolated: https://alembic.sqlalchemy.org/en/latest/api/config.html, 2026-11.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _newest(config: Config) -> str | None:
    return ScriptDirectory.from_config(config).get_current_head()


def _check_known(version: str | None, config: Config, place: str) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise LedgerError(
            f"the ledger {place} was written by a newer partner-tools (its version is "
            f"'{version}', this one knows up to '{_newest(config)}')",
            remedy="update partner-tools, or name another ledger with --ledger",
            rule="ledger-newer",
        )


def _back_up(path: Path, version: str) -> Path:
    copy = _free_name(path, version)
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        target.execute("PRAGMA synchronous=FULL")
        source.backup(target)
    finally:
        source.close()
        target.close()
    return copy


def _free_name(path: Path, version: str) -> Path:
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.version-{version}.{number}.bak")
        try:
            os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            number += 1
        else:
            return copy
