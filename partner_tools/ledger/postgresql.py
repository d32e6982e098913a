"""PostgreSQL only: roles with narrow rights, and a rate shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, delete, select, text

from partner_tools.ledger.database import insert_new
from partner_tools.ledger.tables import depot_logins

SUBMIT, WORKER, AUDITOR = "partner_tools_submit", "partner_tools_worker", "partner_tools_auditor"
ROLES = (SUBMIT, WORKER, AUDITOR)

_READ: Sequence[str] = (
    "ledger_version",
    "runs",
    "plans",
    "run_customers",
    "devices",
    "events",
    "rates",
    "paces",
    "depot_logins",
)
_MOVED = "state, started_at, finished_at, plan_digest, devices, counts, head_n, head_hash"
"""The columns of `runs` that events move."""

GRANTS: Mapping[str, Sequence[str]] = {
    SUBMIT: (
        *(f"SELECT ON {table}" for table in _READ),
        "INSERT ON runs",
        "INSERT ON events",  # which and of which runs, `_STATION` says
        f"UPDATE ({_MOVED}) ON runs",
        "EXECUTE ON FUNCTION ledger_hand_in",
    ),
    WORKER: (
        *(f"SELECT ON {table}" for table in _READ),
        "INSERT ON events",  # never more: what was recorded stays
        f"UPDATE ({_MOVED}) ON runs",
        "UPDATE ON devices",
        *(f"INSERT, UPDATE ON {table}" for table in ("plans", "run_customers", "rates", "paces")),
    ),
    AUDITOR: tuple(f"SELECT ON {table}" for table in _READ),
}

_MAKE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN RAISE NOTICE 'the role {role} cannot be made';
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        {grants}
    END IF;
END $$
"""
_LIMIT_STATIONS = """
DO $$ BEGIN
    IF 2 = (SELECT count(*) FROM pg_roles WHERE rolname IN ('{submit}', '{worker}')) THEN
        CREATE POLICY of_station ON {table} AS RESTRICTIVE {rule};
    END IF;
END $$
"""

_DEPOTS = """
CREATE OR REPLACE FUNCTION ledger_depots() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT array_agg(depot::text) FROM depot_logins WHERE login = session_user $$
"""
"""The depots that the login may see; NULL where it may see all. `SET ROLE` does not change it."""

_OWN = "(SELECT ledger_depots()) IS NULL OR depot = ANY ((SELECT ledger_depots())::text[])"
_OF_OWN = "(SELECT ledger_depots()) IS NULL OR run IN (SELECT run FROM runs)"
_POLICIES = {
    "runs": _OWN,
    **dict.fromkeys(("plans", "run_customers", "devices", "events"), _OF_OWN),
}


_IS_BEGUN = """
CREATE OR REPLACE FUNCTION ledger_is_begun(named text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT EXISTS (SELECT FROM events WHERE run = named
        AND kind NOT IN ('created', 'queued', 'cancelled')) $$
"""
"""Whether a worker has begun with a run. By its immutable events: the columns of
`runs` are written by stations too."""

_HAND_IN = """
CREATE OR REPLACE FUNCTION ledger_hand_in(
    named text, indexes int[], lines int[], serials text[], keys text[], texts text[]
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ BEGIN
        IF EXISTS (SELECT FROM events WHERE run = named) OR NOT EXISTS (
            SELECT FROM runs WHERE run = named
                AND (ledger_depots() IS NULL OR depot = ANY (ledger_depots()))
        ) THEN
            RAISE insufficient_privilege USING MESSAGE = 'devices are named with a new run only';
        END IF;
        INSERT INTO devices
            (run, idx, row, serial_number, product_key_id, device, state, outcome, history)
        SELECT named, one.*, 'new', 'pending', '{}'
        FROM unnest(indexes, lines, serials, keys, texts) AS one;
    END $$
"""
"""The only way of a station to the table `devices`: what it names has no target and no outcome,
and belongs to a run of which nothing is recorded yet."""

_STATION = f"pg_has_role('{WORKER}', 'MEMBER') OR"
_STATION_POLICIES = {
    "events": (
        f"FOR INSERT TO {SUBMIT} WITH CHECK ({_STATION} kind = 'cancelled'"
        " OR kind IN ('created', 'queued') AND NOT ledger_is_begun(run))"
    ),
    "runs": (
        f"FOR UPDATE TO {SUBMIT} USING (true) WITH CHECK ({_STATION} state = 'cancelled'"
        " OR NOT ledger_is_begun(run))"
    ),
}
"""A station writes a run until a worker has begun with it, and may call any off."""


def insert_devices(connection: Connection, run: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert devices of a run of which nothing is recorded yet, as every role may that submits."""
    names = ("idx", "row", "serial_number", "product_key_id", "device")
    columns = [[row[name] for row in rows] for name in names]
    connection.exec_driver_sql(
        "SELECT ledger_hand_in(%s, %s::int[], %s::int[], %s::text[], %s::text[], %s::text[])",
        (run, *columns),
    )


def statements(grants: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the statements that grant these privileges to existing roles; may be repeated."""
    return [
        _GRANT.format(role=role, grants=" ".join(f"GRANT {each} TO {role};" for each in granted))
        for role, granted in grants.items()
    ]


def set_up(connection: Connection) -> None:
    """Make the roles where that is allowed, grant, and keep depots apart; may be repeated."""
    if connection.dialect.name != "postgresql":
        return
    for role in ROLES:
        connection.exec_driver_sql(_MAKE.format(role=role))
    for function in (_DEPOTS, _IS_BEGUN, _HAND_IN):
        connection.exec_driver_sql(function)
    connection.exec_driver_sql("REVOKE EXECUTE ON FUNCTION ledger_hand_in FROM PUBLIC")
    for role in ROLES:  # what an earlier version granted goes, before what this one grants comes
        revoked = f"REVOKE ALL ON {', '.join(_READ)} FROM {role};"
        connection.exec_driver_sql(_GRANT.format(role=role, grants=revoked))
    for statement in statements(GRANTS):
        connection.exec_driver_sql(statement)
    for table, condition in _POLICIES.items():
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        connection.exec_driver_sql(f"DROP POLICY IF EXISTS by_depot ON {table}")
        connection.exec_driver_sql(f"CREATE POLICY by_depot ON {table} USING ({condition})")
    for table, rule in _STATION_POLICIES.items():
        connection.exec_driver_sql(f"DROP POLICY IF EXISTS of_station ON {table}")
        limit = _LIMIT_STATIONS.format(submit=SUBMIT, worker=WORKER, table=table, rule=rule)
        connection.exec_driver_sql(limit)


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
