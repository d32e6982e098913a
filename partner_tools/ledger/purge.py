"""Takes the payloads of old runs out of the ledger, and leaves the chain that covers them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from partner_tools.ledger import codec
from partner_tools.ledger.tables import events, plans, runs
from partner_tools.model import RunState

_OVER = (RunState.FINISHED.value, RunState.CANCELLED.value)
_AT_ONCE = 100


def purge_runs(connection: Connection, before: datetime, at: datetime) -> int:
    """Purge the runs that were over before the moment, and count them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # freed pages are overwritten too
    over = select(runs.c.run).where(
        runs.c.state.in_(_OVER),
        runs.c.finished_at < codec.moment_text(before),
        runs.c.purged_at.is_(None),
    )
    old = list(connection.execute(over.order_by(runs.c.run)).scalars())
    for start in range(0, len(old), _AT_ONCE):
        portion = old[start : start + _AT_ONCE]
        connection.execute(update(events).where(events.c.run.in_(portion)), {"payload": None})
        connection.execute(delete(plans).where(plans.c.run.in_(portion)))
        connection.execute(
            update(runs).where(runs.c.run.in_(portion)), {"purged_at": codec.moment_text(at)}
        )
    return len(old)
