"""The version of a database's tables, and the newest version that this program knows."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from partner_tools.errors import LedgerError
from partner_tools.ledger.database import incomplete
from partner_tools.ledger.tables import VERSION_TABLE, metadata

MIGRATIONS = Path(__file__).parent / "migrations"

_MODULE = re.compile(r"r([0-9]{4})_.*\.py")


def newest_version(migrations: Path) -> str:
    """The newest version, read from the names of the modules so that Alembic need not load."""
    names = (_MODULE.fullmatch(entry.name) for entry in (migrations / "versions").iterdir())
    return max(name.group(1) for name in names if name)


def read_version(connection: Connection, place: str) -> str | None:
    """The version of the tables in this database; None where there are none yet.

    Raises LedgerError for a foreign database, such as a SQLite file with other tables or
    a server's with tables of the same names; and for a ledger that has lost its version.
    """
    present = set(inspect(connection).get_table_names())
    if VERSION_TABLE in present:
        versions = table(VERSION_TABLE, column("version_num"))
        version = connection.execute(select(versions.c.version_num)).scalar_one_or_none()
        if version is not None or not present & set(metadata.tables):
            return version
    if present >= set(metadata.tables):
        raise incomplete(place, f"its version in {VERSION_TABLE}")
    foreign = present if connection.dialect.name == "sqlite" else present & set(metadata.tables)
    if foreign:
        raise LedgerError(
            f"the database {place} is not a ledger: it has the table '{min(foreign)}' of another "
            "program",
            remedy="name another database with --ledger",
            rule="ledger-foreign",
        )
    return None


def require_tables(connection: Connection, place: str) -> None:
    """Raise LedgerError where a database of this program's version has lost a table."""
    missing = set(metadata.tables) - set(inspect(connection).get_table_names())
    if missing:
        raise incomplete(place, f"no {', '.join(sorted(missing))}")
