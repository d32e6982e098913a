"""The indexes of a part of a table, beside `tables`: to name them loads every dialect.

Only who makes or compares tables has to know them, and takes `metadata` from here.
"""

from __future__ import annotations

from sqlalchemy import Index

from partner_tools.ledger.tables import devices, is_in_doubt, metadata

__all__ = ["metadata"]

Index(
    "ix_devices_removed",
    devices.c.customer,
    devices.c.settled_at,
    sqlite_where=devices.c.outcome == "removed",
    postgresql_where=devices.c.outcome == "removed",
)
Index("ix_devices_in_doubt", devices.c.run, sqlite_where=is_in_doubt, postgresql_where=is_in_doubt)
