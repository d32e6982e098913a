"""The one row through which all processes on a PostgreSQL ledger share a pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

T = TypeVar("T")

_LOCK = (
    "SELECT text, set_config('synchronous_commit', 'off', true) FROM paces"
    " WHERE service = %s AND scope = %s FOR UPDATE"
)
_CHANGE = (
    "UPDATE paces SET text = %s WHERE service = %s AND scope = %s"
    " RETURNING CAST(extract(epoch FROM clock_timestamp()) AS float)"
)
_BEGIN = "INSERT INTO paces (service, scope, text) VALUES (%s, %s, '') ON CONFLICT DO NOTHING"


def exchange(
    connection: Connection,
    service: str,
    scope: str,
    change: Callable[[str | None], tuple[str, T]],
) -> tuple[T, float]:
    """Change the row while nobody else can; the answer of `change`, and the server's clock."""
    row = connection.exec_driver_sql(_LOCK, (service, scope)).one_or_none()
    if row is None:
        connection.exec_driver_sql(_BEGIN, (service, scope))
        row = connection.exec_driver_sql(_LOCK, (service, scope)).one()
    text, answer = change(row[0] or None)
    clock = connection.exec_driver_sql(_CHANGE, (text, service, scope)).scalar_one()
    return answer, float(clock)
