"""The tables of the ledger, the same on SQLite and PostgreSQL.

Moments are text in UTC with microseconds (`2026-04-17T10:15:30.000000Z`), which sorts by time,
hashes alike everywhere and survives a move between databases; JSON is text for the same reasons.
The migrations make these tables; a test holds both equal. The version of a database's tables is
in a table of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    column,
    inspect,
    select,
    table,
    true,
)

from partner_tools.errors import LedgerError
from partner_tools.ledger.database import failure

VERSION_TABLE = "ledger_version"
MIGRATIONS = Path(__file__).parent / "migrations"
_MODULE = re.compile(r"r([0-9]{4})_.*\.py")

BYTES = String().with_variant(String(collation="C"), "postgresql")
"""Text that is compared byte by byte on both databases, whatever the server's language is."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("run", BYTES, nullable=False),
    Column("channel", BYTES, nullable=False),
    Column("state", BYTES, nullable=False),
    Column("batch_id", BYTES, nullable=False),
    Column("batch_digest", BYTES, nullable=False),
    Column("file", Text, nullable=False),
    Column("reason", BYTES, nullable=False),
    Column("reference", Text),
    Column("customer", Text),
    Column("actor", Text),
    Column("settings", Text, nullable=False),
    Column("depot", BYTES),
    Column("devices", Integer, nullable=False),
    Column("counts", Text, nullable=False),
    Column("created_at", BYTES, nullable=False),
    Column("started_at", BYTES),
    Column("finished_at", BYTES),
    Column("plan_digest", BYTES),
    Column("purged_at", BYTES),
    Column("head_n", Integer, nullable=False),
    Column("head_hash", BYTES, nullable=False),
    PrimaryKeyConstraint("run"),
    Index(None, "created_at", "run"),
    Index(None, "state", "created_at"),
    Index(None, "batch_id", "channel"),
    Index(None, "depot", "created_at"),
)

plans = Table(
    "plans",
    metadata,
    Column("run", BYTES, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("run"),
    ForeignKeyConstraint(["run"], ["runs.run"]),
)
"""Apart from `runs`, whose rows are rewritten with every group of events: a plan may be large."""

run_customers = Table(
    "run_customers",
    metadata,
    Column("customer", BYTES, nullable=False),
    Column("run", BYTES, ForeignKey("runs.run"), nullable=False),
    PrimaryKeyConstraint("customer", "run"),
    Index(None, "run"),
)

devices = Table(
    "devices",
    metadata,
    Column("run", BYTES, nullable=False),
    Column("idx", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("serial_number", BYTES),
    Column("product_key_id", BYTES),
    Column("device", Text, nullable=False),
    Column("customer", BYTES),
    Column("target", Text),
    Column("found", Text),
    Column("state", BYTES, nullable=False),
    Column("outcome", BYTES, nullable=False),
    Column("settled_at", BYTES),
    Column("history", Text, nullable=False),
    PrimaryKeyConstraint("run", "idx"),
    ForeignKeyConstraint(["run"], ["runs.run"]),
    Index(None, "serial_number"),
    Index(None, "product_key_id"),
)
"""The folded events of each device, so that nothing has to be replayed to continue."""

is_in_doubt = devices.c.state.in_(["sent", "doubt", "resent"])

events = Table(
    "events",
    metadata,
    Column("run", BYTES, nullable=False),
    Column("n", Integer, nullable=False),
    Column("at", BYTES, nullable=False),
    Column("kind", BYTES, nullable=False),
    Column("device", Integer),
    Column("payload", Text),
    Column("payload_digest", BYTES, nullable=False),
    Column("previous", BYTES, nullable=False),
    Column("hash", BYTES, nullable=False),
    PrimaryKeyConstraint("run", "n"),
    ForeignKeyConstraint(["run"], ["runs.run"]),
    Index(None, "run", "device", "n"),
)
"""Append-only. A purge sets `payload` to NULL; nothing else ever changes a row."""

rates = Table(
    "rates",
    metadata,
    Column("service", BYTES, nullable=False),
    Column("scope", BYTES, nullable=False),
    Column("per_second", Float, nullable=False),
    Column("learned_at", BYTES, nullable=False),
    Column("refused", Boolean, nullable=False, server_default=true()),
    PrimaryKeyConstraint("service", "scope"),
)

paces = Table(
    "paces",
    metadata,
    Column("service", BYTES, nullable=False),
    Column("scope", BYTES, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("service", "scope"),
)
"""The pace that every process on one PostgreSQL ledger shares, as `sharing` writes it."""

depot_logins = Table(
    "depot_logins",
    metadata,
    Column("login", BYTES, nullable=False),
    Column("depot", BYTES, nullable=False),
    PrimaryKeyConstraint("login", "depot"),
)
"""PostgreSQL logins limited to these depots; a login that is not listed sees them all."""


def newest_version(migrations: Path) -> str:
    """The newest version, read from the names of the modules so that Alembic need not load."""
    names = (_MODULE.fullmatch(entry.name) for entry in (migrations / "versions").iterdir())
    return max(name.group(1) for name in names if name)


def read_version(connection: Connection, place: str) -> str | None:
    """The version of the tables in this database; None if there are none yet.

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
        raise failure("incomplete", place, f"its version in {VERSION_TABLE}")
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
        raise failure("incomplete", place, f"no {', '.join(sorted(missing))}")
