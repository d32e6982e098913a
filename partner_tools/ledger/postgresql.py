"""PostgreSQL only: roles with narrow rights, and a rate shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, delete, select, text

from partner_tools.ledger.database import insert_new
from partner_tools.ledger.tables import depot_logins

_ROLES = Path(__file__).with_name("roles.sql")


def insert_devices(connection: Connection, run: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert devices of a run of which nothing is recorded yet, as every role may that submits."""
    names = ("idx", "row", "serial_number", "product_key_id", "device")
    columns = [[row[name] for row in rows] for name in names]
    connection.exec_driver_sql(
        "SELECT ledger_hand_in(%s, %s::int[], %s::int[], %s::text[], %s::text[], %s::text[])",
        (run, *columns),
    )


def set_up(connection: Connection) -> None:
    """Make the roles where that is allowed, grant, and keep depots apart; may be repeated."""
    if connection.dialect.name == "postgresql":
        # Past SQLAlchemy, which always passes parameters: without any, a % is a %.
        connection.connection.cursor().execute(_ROLES.read_text(encoding="utf-8"))


def bind(connection: Connection, login: str, depots: Sequence[str]) -> None:
    """Let a login see these depots only; with none, all."""
    connection.execute(delete(depot_logins).where(depot_logins.c.login == login))
    if depots:
        rows = [{"login": login, "depot": depot} for depot in dict.fromkeys(depots)]
        insert_new(connection, depot_logins, rows, replace=False)


def bound(connection: Connection) -> list[tuple[str, str]]:
    """List the logins that are limited to depots, with each depot."""
    query = select(depot_logins.c.login, depot_logins.c.depot).order_by(
        depot_logins.c.login, depot_logins.c.depot
    )
    return [(login, depot) for login, depot in connection.execute(query)]


def strangers(connection: Connection) -> list[str]:
    """The bound logins that the server does not have: misspelt, or made later."""
    query = select(depot_logins.c.login).distinct().order_by(depot_logins.c.login)
    there = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    return [login for login in connection.execute(query).scalars() if login not in there]


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
    """Change the row exclusively; return the answer of `change`, and the server's clock."""
    row = connection.exec_driver_sql(_LOCK, (service, scope)).one_or_none()
    if row is None:
        connection.exec_driver_sql(_BEGIN, (service, scope))
        row = connection.exec_driver_sql(_LOCK, (service, scope)).one()
    text, answer = change(row[0] or None)
    clock = connection.exec_driver_sql(_CHANGE, (text, service, scope)).scalar_one()
    return answer, float(clock)
