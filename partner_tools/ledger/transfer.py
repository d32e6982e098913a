"""Copies every table into another database byte for byte, so that the chains go along."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select

from partner_tools.errors import LedgerError
from partner_tools.ledger.tables import metadata, runs

_AT_ONCE = 1000


def copy_tables(source: Connection, target: Connection, place: str) -> None:
    """Copy all rows of all tables. Raises LedgerError where the target has runs already."""
    if target.execute(select(func.count()).select_from(runs)).scalar_one():
        raise LedgerError(
            f"the ledger {place} has runs already",
            remedy="migrate into an empty ledger",
            rule="ledger-not-empty",
        )
    for table in metadata.sorted_tables:
        rows = source.execute(select(table), execution_options={"yield_per": _AT_ONCE})
        for portion in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in portion])
