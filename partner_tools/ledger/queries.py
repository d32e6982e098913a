"""The questions that are put to the ledger, each answered by index.

Long answers come page by page, each page in a transaction of its own: a reader that is slow
because a service is slow must not keep SQLite from folding its write-ahead log.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    func,
    or_,
    select,
    tuple_,
)

from partner_tools.events import Event, Kind, State
from partner_tools.json_forms import read_customer
from partner_tools.ledger import codec
from partner_tools.ledger.database import Database
from partner_tools.ledger.records import (
    RememberedRate,
    RunDevice,
    RunHead,
    RunStart,
    StoredEvent,
    UnknownRunError,
)
from partner_tools.ledger.tables import (
    devices,
    events,
    is_in_doubt,
    rates,
    run_customers,
    runs,
)
from partner_tools.model import ChannelName, Customer, Outcome, RunId, RunState, TenantId

_PAGE = 1000
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """A filter for runs; None means any. `since` is inclusive, `until` is not."""

    customer: str | None = None
    states: tuple[RunState, ...] | None = None
    channel: ChannelName | None = None
    since: datetime | None = None
    until: datetime | None = None
    serial: str | None = None
    depot: str | None = None
    batch_id: str | None = None


def find_run(connection: Connection, name: str) -> RowMapping:
    """The row of the run with this id, or the only one whose id begins so."""
    query = select(runs).where(runs.c.run >= name, runs.c.run < name + "\x7f")
    found = connection.execute(query.order_by(runs.c.run).limit(_NAMED_AT_MOST)).mappings().all()
    if not found or not name:
        raise UnknownRunError(
            f"the ledger has no run '{name}'",
            remedy="see them with `partner-tools runs`; --ledger names another ledger",
        )
    if found[0]["run"] != name and len(found) > 1:
        named = ", ".join(row["run"] for row in found)
        raise UnknownRunError(
            f"'{name}' is the beginning of several runs: {named}",
            remedy="give more of the run's id",
        )
    return found[0]


def matching_runs(wanted: RunFilter) -> Select[Any]:
    """The query for runs, newest first."""
    query = select(runs).order_by(runs.c.created_at.desc(), runs.c.run.desc())
    if wanted.customer is not None:
        of_customer = select(run_customers.c.run).where(run_customers.c.customer == wanted.customer)
        query = query.where(runs.c.run.in_(of_customer))
    if wanted.serial is not None:
        query = query.where(runs.c.run.in_(select(devices.c.run).where(_named(wanted.serial))))
    if wanted.states is not None:
        query = query.where(runs.c.state.in_([state.value for state in wanted.states]))
    if wanted.channel is not None:
        query = query.where(runs.c.channel == wanted.channel.value)
    if wanted.depot is not None:
        query = query.where(runs.c.depot == codec.index_text(wanted.depot))
    if wanted.batch_id is not None:
        query = query.where(runs.c.batch_id == codec.index_text(wanted.batch_id))
    return between(query, runs.c.created_at, wanted.since, wanted.until)


def run_state(connection: Connection, run: RunId) -> str | None:
    """The state of the run as it is stored; None where there is no such run."""
    return connection.execute(select(runs.c.state).where(runs.c.run == run)).scalar()


def submitted_unfinished() -> Select[Any]:
    """The query for the runs that were handed to the fleet and are not over, by their state."""
    open_states = (RunState.PLANNING, RunState.PLANNED, RunState.QUEUED, RunState.RUNNING)
    return select(runs).where(
        runs.c.state.in_([state.value for state in open_states]), runs.c.depot.is_not(None)
    )


def count_in_doubt(connection: Connection) -> dict[RunId, int]:
    """How many devices of each run have a request whose answer is not known."""
    query = select(devices.c.run, func.count()).where(is_in_doubt).group_by(devices.c.run)
    return {RunId(run): count for run, count in connection.execute(query)}


def submitted_run(connection: Connection, start: RunStart) -> str | None:
    """The last run that was submitted with this batch id to this channel and not cancelled."""
    query = select(runs.c.run).where(
        runs.c.batch_id == codec.index_text(start.batch_id),
        runs.c.channel == start.channel.value,
        runs.c.depot.is_not(None),
        runs.c.state != RunState.CANCELLED.value,
    )
    return connection.execute(query.order_by(runs.c.created_at.desc()).limit(1)).scalar()


def customers_of(connection: Connection, wanted: Sequence[str]) -> dict[str, tuple[TenantId, ...]]:
    """The tenants of each of the runs, sorted."""
    found: defaultdict[str, list[TenantId]] = defaultdict(list)
    for start in range(0, len(wanted), _PAGE):
        query = select(run_customers).where(run_customers.c.run.in_(wanted[start : start + _PAGE]))
        for run, customer in connection.execute(
            query.with_only_columns(run_customers.c.run, run_customers.c.customer)
        ):
            found[run].append(TenantId(customer))
    return {run: tuple(sorted(tenants)) for run, tenants in found.items()}


def planned_customers(
    connection: Connection, wanted: Sequence[RunId]
) -> dict[RunId, tuple[Customer, ...]]:
    """The customers that the last plan of each run names, in its order."""
    found: dict[RunId, tuple[Customer, ...]] = {}
    for start in range(0, len(wanted), _PAGE):
        query = select(events).where(
            events.c.run.in_(wanted[start : start + _PAGE]),
            events.c.device.is_(None),
            events.c.kind == Kind.PLANNED.value,
        )
        for row in connection.execute(query.order_by(events.c.run, events.c.n)).mappings():
            payload = codec.event_from(row).event.payload or {}
            named = payload.get("customers", ())
            found[RunId(row["run"])] = tuple(map(read_customer, named))
    return found


def dismissals(connection: Connection, wanted: Sequence[RunId]) -> dict[RunId, Event]:
    """The last `dismissed` event of each run that has one."""
    found: dict[RunId, Event] = {}
    for start in range(0, len(wanted), _PAGE):
        query = select(events).where(
            events.c.run.in_(wanted[start : start + _PAGE]),
            events.c.device.is_(None),
            events.c.kind == Kind.DISMISSED.value,
        )
        for row in connection.execute(query.order_by(events.c.run, events.c.n)).mappings():
            found[RunId(row["run"])] = codec.event_from(row).event
    return found


def run_devices(
    database: Database,
    run: RunId,
    states: Collection[State] | None = None,
    outcomes: Collection[Outcome] | None = None,
    after: int = -1,
) -> Iterator[RunDevice]:
    """The devices of a run in the order of the batch, in these states and with these outcomes."""
    query = select(devices).where(devices.c.run == run, devices.c.idx > after)
    if states is not None:
        query = query.where(devices.c.state.in_([state.value for state in states]))
    if outcomes is not None:
        query = query.where(devices.c.outcome.in_([outcome.value for outcome in outcomes]))
    return map(codec.run_device_from, in_pages(database, query, devices.c.idx))


def run_device(connection: Connection, run: RunId, index: int) -> RunDevice:
    """One device of a run. Raises LookupError where there is none."""
    query = select(devices).where(devices.c.run == run, devices.c.idx == index)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise LookupError(f"run {run} has no device {index}")
    return codec.run_device_from(row)


def stored_events(database: Database, run: RunId | None = None) -> Iterator[StoredEvent]:
    """The events, run by run, each run's in their order."""
    query = select(events)
    if run is not None:
        query = query.where(events.c.run == run)
    return map(codec.event_from, in_pages(database, query, events.c.run, events.c.n))


def last_payload(connection: Connection, run: RunId, *kinds: Kind) -> Mapping[str, Any]:
    """The payload of the run's last event of these kinds; empty where there is none any more."""
    named = [kind.value for kind in kinds]
    query = select(events).where(events.c.run == run, events.c.kind.in_(named))
    row = connection.execute(query.order_by(events.c.n.desc()).limit(1)).mappings().first()
    return {} if row is None else codec.event_from(row).event.payload or {}


def payloads(connection: Connection, run: RunId, kind: Kind) -> list[Mapping[str, Any]]:
    """The payloads of the run's own events of one kind, in their order; none that were purged."""
    query = select(events).where(events.c.run == run, events.c.kind == kind.value)
    rows = connection.execute(query.order_by(events.c.n)).mappings()
    return [event.payload for row in rows if (event := codec.event_from(row).event).payload]


def in_pages(
    database: Database, query: Select[Any], *key: ColumnElement[Any]
) -> Iterator[RowMapping]:
    """The rows of the query in the order of its key, which has to be among its columns."""
    query = query.order_by(*key).limit(_PAGE)
    page = _rows(database, query)
    while page:
        yield from page
        last = [page[-1][column] for column in key]
        page = _rows(database, query.where(tuple_(*key) > tuple_(*last)))


def device_events(connection: Connection, run: RunId, index: int) -> tuple[StoredEvent, ...]:
    """The events of one device, in their order."""
    query = select(events).where(events.c.run == run, events.c.device == index)
    rows = connection.execute(query.order_by(events.c.n)).mappings()
    return tuple(map(codec.event_from, rows))


def identifiers(connection: Connection) -> list[str]:
    """Every serial number and product key id of every run, once; reads all devices."""
    columns = (devices.c.serial_number, devices.c.product_key_id)
    found = (connection.execute(select(each).distinct()).scalars() for each in columns)
    return [name for names in found for name in names if name]


def devices_named(connection: Connection, *identifiers: str) -> list[RunDevice]:
    """The devices of all runs with exactly one of these serial numbers or product key ids.

    The newest run comes first.
    """
    query = select(devices).where(or_(*map(_named, identifiers)))
    query = query.order_by(devices.c.run.desc(), devices.c.idx)
    return [codec.run_device_from(row) for row in connection.execute(query).mappings()]


def count_removed(connection: Connection, customer: str, since: datetime) -> int:
    """How many devices of the customer were removed since the moment, over all runs."""
    query = (
        select(func.count())
        .select_from(devices)
        .where(
            devices.c.outcome == Outcome.REMOVED.value,
            devices.c.customer == customer,
            devices.c.settled_at >= codec.moment_text(since),
        )
    )
    return int(connection.execute(query).scalar_one())


def count_used(connection: Connection, customer: str, since: datetime, other_than: RunId) -> int:
    """Count for a daily limit: devices removed since the moment, and those that other runs hold.

    A run that was started since then, or is running, holds room for every device that it has not
    settled.
    """
    started = select(runs.c.run).where(
        (runs.c.started_at >= codec.moment_text(since)) | (runs.c.state == RunState.RUNNING.value),
        runs.c.state.not_in([RunState.FINISHED.value, RunState.CANCELLED.value]),
        runs.c.run != other_than,
    )
    held = (
        select(func.count())
        .select_from(devices)
        .where(
            devices.c.run.in_(started),
            devices.c.customer == customer,
            devices.c.state != State.SETTLED.value,
        )
    )
    removed = count_removed(connection, customer, since)
    return removed + int(connection.execute(held).scalar_one())


def run_customers_of(connection: Connection, run: RunId) -> list[str]:
    """The tenants that the devices of a run were resolved to."""
    query = select(run_customers.c.customer).where(run_customers.c.run == run)
    return [str(row.customer) for row in connection.execute(query)]


def planned_digest(connection: Connection, run: RunId) -> str | None:
    """The digest of the plan that the run's own chain names last; None where it was purged."""
    query = (
        select(events.c.payload)
        .where(
            events.c.run == run,
            events.c.device.is_(None),
            events.c.kind == Kind.PLANNED.value,
        )
        .order_by(events.c.n.desc())
        .limit(1)
    )
    payload = connection.execute(query).scalar()
    return None if payload is None else str(json.loads(payload)["digest"])


def last_event_at(connection: Connection, run: RunId) -> datetime | None:
    """When the newest event of the run was recorded, by the clock of its writer."""
    query = select(events.c.at).where(events.c.run == run).order_by(events.c.n.desc()).limit(1)
    return codec.moment(connection.execute(query).scalar())


def started_run_of(connection: Connection, plan_digest: str, other_than: RunId) -> RunId | None:
    """Another run that began to execute the plan of this digest."""
    query = (
        select(runs.c.run)
        .where(
            runs.c.plan_digest == plan_digest,
            runs.c.started_at.is_not(None),
            runs.c.run != other_than,
        )
        .limit(1)
    )
    found = connection.execute(query).scalar()
    return None if found is None else RunId(found)


def last_sync(connection: Connection, customer: str) -> datetime | None:
    """When a sync was last about to be asked for in the tenant, by any run."""
    query = (
        select(func.max(events.c.at))
        .join(run_customers, run_customers.c.run == events.c.run)
        .join(runs, runs.c.run == events.c.run)
        .where(
            run_customers.c.customer == customer,
            runs.c.channel == ChannelName.MICROSOFT_GRAPH.value,
            events.c.kind == Kind.SYNCED.value,
        )
    )
    return codec.moment(connection.execute(query).scalar_one())


def run_heads(connection: Connection) -> Iterator[RunHead]:
    """The head of every run as the table `runs` has it, sorted by run."""
    query = select(runs.c.run, runs.c.head_n, runs.c.head_hash).order_by(runs.c.run)
    for run, n, hash_ in connection.execute(query):
        yield RunHead(run=RunId(run), n=n, hash=hash_)


def remembered_rate(connection: Connection, service: str, scope: str) -> RememberedRate | None:
    """Return the rate that the service last granted within this scope of its limit."""
    query = select(rates).where(rates.c.service == service, rates.c.scope == scope)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return RememberedRate(
        per_second=row["per_second"],
        refused=row["refused"],
        learned_at=datetime.fromisoformat(row["learned_at"]),
    )


def _named(identifier: str) -> ColumnElement[bool]:
    plain = codec.index_text(identifier)
    return or_(devices.c.serial_number == plain, devices.c.product_key_id == plain)


def between(
    query: Select[Any], at: Column[Any], since: datetime | None, until: datetime | None
) -> Select[Any]:
    if since is not None:
        query = query.where(at >= codec.moment_text(since))
    if until is not None:
        query = query.where(at < codec.moment_text(until))
    return query


def _rows(database: Database, query: Select[Any]) -> Sequence[RowMapping]:
    with database.read() as connection:
        return connection.execute(query).mappings().all()
