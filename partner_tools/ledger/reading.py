"""The questions that are put to the ledger, each answered by index.

Long answers come page by page, each page in a transaction of its own: a reader that is slow
because a service is slow must not keep SQLite from folding its write-ahead log.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    or_,
    select,
    tuple_,
)

from partner_tools.errors import DamagedRunError, UnknownRunError
from partner_tools.events import Event, Kind, RunDevice, State
from partner_tools.json_forms import read_customer
from partner_tools.ledger import chain, codec
from partner_tools.ledger.database import Database
from partner_tools.ledger.integrity import export_line, find_edits, run_heads
from partner_tools.ledger.records import (
    DeviceTrace,
    IntegrityFinding,
    RememberedRate,
    RunFilter,
    RunHead,
    RunRecord,
    StoredEvent,
)
from partner_tools.ledger.run_lock import run_is_held
from partner_tools.ledger.tables import (
    devices,
    events,
    is_in_doubt,
    plans,
    rates,
    run_customers,
    runs,
)
from partner_tools.model import ENDED, ChannelName, Customer, Outcome, RunId, RunState, TenantId

_PAGE = 1000
_NAMED_AT_MOST = 5
_READ = frozenset({RunState.RUNNING, RunState.INTERRUPTED, RunState.PLANNED, RunState.DRY_RUN})
"""States that the stored one does not tell apart: reading a run decides."""
_OPEN = (RunState.PLANNING, RunState.PLANNED, RunState.QUEUED, RunState.RUNNING)


class LedgerReader:
    """Everything that can be asked of a ledger; nothing here changes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_held(self, run: RunId) -> bool:
        """Whether a process, this one included, executes the run right now."""
        return run_is_held(self._database, run)

    def run(self, name: str) -> RunRecord:
        """The run with this id, or the only one whose id begins so. Raises UnknownRunError."""
        query = select(runs).where(runs.c.run >= name, runs.c.run < name + "\x7f")
        query = query.order_by(runs.c.run).limit(_NAMED_AT_MOST)
        with self._database.read() as connection:
            found = connection.execute(query).mappings().all()
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
            customers = _customers_of(connection, [found[0]["run"]])
        return self._record(found[0], customers)

    def runs(self, **wanted: Unpack[RunFilter]) -> list[RunRecord]:
        """The runs that match, newest first, answered by index."""
        state, limit = wanted.get("state"), wanted.get("limit")
        query = select(runs).order_by(runs.c.created_at.desc(), runs.c.run.desc())
        if (customer := wanted.get("customer")) is not None:
            query = query.where(runs.c.run.in_(_runs_of(customer)))
        if (serial := wanted.get("serial")) is not None:
            query = query.where(runs.c.run.in_(select(devices.c.run).where(_named(serial))))
        if state is RunState.INTERRUPTED:  # a run whose process died is stored as running
            query = query.where(runs.c.state.in_([state.value, RunState.RUNNING.value]))
        elif state is not None:
            stored = RunState.PLANNED if state is RunState.DRY_RUN else state
            query = query.where(runs.c.state == stored.value)
        for column in (runs.c.channel, runs.c.depot, runs.c.batch_id):
            if (named := wanted.get(column.name)) is not None:
                query = query.where(column == codec.index_text(str(named)))
        query = _between(query, runs.c.created_at, wanted.get("since"), wanted.get("until"))
        with self._database.read() as connection:
            found = connection.execute(query.limit(None if state in _READ else limit)).mappings()
            rows = found.all()
            customers = _customers_of(connection, [row["run"] for row in rows])
        records = [self._listed(row, customers) for row in rows]
        return [record for record in records if state in {None, record.state}][:limit]

    def planned_customers(self, wanted: Collection[RunId]) -> Mapping[RunId, tuple[Customer, ...]]:
        """The customers that each run's last plan names, in its order, answered by index.

        Without runs that have no plan, and empty where it was purged.
        """
        found: dict[RunId, tuple[Customer, ...]] = {}
        for part in _parts(tuple(wanted)):
            query = _of_runs(Kind.PLANNED).where(events.c.run.in_(part))
            for row in self._rows(query.order_by(events.c.run, events.c.n)):
                named = codec.event_from(row).event.payload.get("customers", ())
                found[RunId(row["run"])] = tuple(map(read_customer, named))
        return found

    def is_cancelled(self, run: RunId) -> bool:
        """Whether the run was cancelled: no further request of it may leave."""
        state = self._scalar(select(runs.c.state).where(runs.c.run == run))
        return bool(state == RunState.CANCELLED)

    def submitted_unfinished(self) -> list[RunRecord]:
        """The runs that were handed to the fleet and are not over: each should have a job."""
        query = select(runs).where(
            runs.c.state.in_([state.value for state in _OPEN]), runs.c.depot.is_not(None)
        )
        return [self._listed(row, {}) for row in self._rows(query)]

    def in_doubt(self) -> int:
        """How many devices have a request whose answer is not known, and no process awaits.

        Requests in flight in a run that a process holds are not counted.
        """
        query = select(devices.c.run, func.count().label("devices")).where(is_in_doubt)
        counted = self._rows(query.group_by(devices.c.run))
        return sum(row["devices"] for row in counted if not self.is_held(row["run"]))

    def devices(
        self,
        run: RunId,
        *,
        states: Collection[State] | None = None,
        outcomes: Collection[Outcome] | None = None,
        after: int = -1,
        limit: int | None = None,
    ) -> Iterator[RunDevice]:
        """The devices of the run in the order of the batch, a page at a time; at most `limit`.

        Each page is as it is when it is reached: what `record` did before shows. `states` (for
        example `events.IN_DOUBT`) and `outcomes` leave out the others, `after`
        those up to this index.
        """
        query = select(devices).where(devices.c.run == run, devices.c.idx > after)
        if states is not None:
            query = query.where(devices.c.state.in_([state.value for state in states]))
        if outcomes is not None:
            query = query.where(devices.c.outcome.in_([outcome.value for outcome in outcomes]))
        if limit is not None:
            return map(
                codec.run_device_from, self._rows(query.order_by(devices.c.idx).limit(limit))
            )
        return map(codec.run_device_from, self._in_pages(query, devices.c.idx))

    def plan(self, run: RunId) -> str | None:
        """The text of the run's plan, as it was saved; None before that, and after a purge."""
        text: str | None = self._scalar(select(plans.c.text).where(plans.c.run == run))
        return text

    def planned_digest(self, run: RunId) -> str | None:
        """The digest of the plan that the run's chain of events names; None without a plan."""
        last = _of_runs(Kind.PLANNED).where(events.c.run == run).order_by(events.c.n.desc())
        payload = self._scalar(last.with_only_columns(events.c.payload).limit(1))
        return None if payload is None else str(json.loads(payload)["digest"])

    def events(self, run: RunId | None = None) -> Iterator[StoredEvent]:
        """The events of one run or of all, run by run, each run's in their order."""
        query = select(events) if run is None else select(events).where(events.c.run == run)
        return map(codec.event_from, self._in_pages(query, events.c.run, events.c.n))

    def last_stop(self, run: RunId) -> Mapping[str, Any]:
        """Return the run's last `stopped` or `refused` event; empty without one, or if purged."""
        return self._last_payload(run, Kind.STOPPED, Kind.REFUSED)

    def dismissals(self, wanted: Collection[RunId]) -> Mapping[RunId, Event]:
        """The last events that closed the outstanding steps of these runs."""
        found: dict[RunId, Event] = {}
        for part in _parts(tuple(wanted)):
            query = _of_runs(Kind.DISMISSED).where(events.c.run.in_(part))
            for row in self._rows(query.order_by(events.c.run, events.c.n)):
                found[RunId(row["run"])] = codec.event_from(row).event
        return found

    def handed_over(self, run: RunId) -> list[Mapping[str, Any]]:
        """The handoffs that were written of the run: `customer`, `digest` and `generatedAt`."""
        query = _of_runs(Kind.HANDED_OVER).where(events.c.run == run).order_by(events.c.n)
        found = map(codec.event_from, self._rows(query))
        return [each.event.payload for each in found if each.event.payload]  # others were purged

    def signed_in(self, run: RunId) -> str | None:
        """The account that the run was last executed with; None where that is not known."""
        return self._last_payload(run, Kind.STARTED).get("account")

    def last_setback(self, run: RunId) -> str | None:
        """Why a device of the run was put off the last time; None where none was, or no more."""
        return self._last_payload(run, Kind.WITHDRAWN, Kind.DEFERRED).get("detail")

    def last_event_at(self, run: RunId) -> datetime:
        """When the newest event of the run was recorded, by the clock of its writer."""
        query = select(events.c.at).where(events.c.run == run).order_by(events.c.n.desc())
        found = codec.moment(self._scalar(query.limit(1)))
        if found is None:
            raise LookupError(run)
        return found

    def remembered_rate(self, service: str, scope: str) -> RememberedRate | None:
        """Return the rate that the service last granted within this scope of its limit."""
        query = select(rates).where(rates.c.service == service, rates.c.scope == scope)
        for row in self._rows(query):
            return RememberedRate(
                per_second=row["per_second"],
                refused=row["refused"],
                learned_at=datetime.fromisoformat(row["learned_at"]),
            )
        return None

    def used_since(self, moment: datetime, *, other_than: RunId) -> Mapping[str, int]:
        """Return the daily limits' count for each customer of a run, without that run's own room.

        Devices removed since the moment, over all runs, and those that other runs have reserved.
        """
        with self._database.read() as connection:
            return used_since(connection, moment, other_than)

    def run_of_plan(self, digest: str, *, other_than: RunId) -> RunId | None:
        """Another run that began to execute the plan of this digest."""
        query = select(runs.c.run).where(
            runs.c.plan_digest == digest,
            runs.c.started_at.is_not(None),
            runs.c.run != other_than,
        )
        found = self._scalar(query.limit(1))
        return None if found is None else RunId(found)

    def removed_since(self, customer: str, moment: datetime) -> int:
        """How many devices of this customer were removed since the moment, over all runs."""
        return int(self._scalar(_count_removed(customer, moment)))

    def last_sync(self, customer: str) -> datetime | None:
        """When a sync of Autopilot was last about to be asked for in this tenant, over all runs."""
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
        return codec.moment(self._scalar(query))

    def identifiers(self) -> list[str]:
        """Every serial number and product key id of every run, once; reads all devices."""
        columns = (devices.c.serial_number, devices.c.product_key_id)
        with self._database.read() as connection:
            found = [
                connection.execute(select(each).distinct()).scalars().all() for each in columns
            ]
        return [name for names in found for name in names if name]

    def trace(self, *identifiers: str) -> tuple[DeviceTrace, ...]:
        """Every run's data on devices with exactly one of these serial numbers or product key ids.

        Newest run first.
        """
        found: dict[tuple[str, int], RunDevice] = {}
        passed: dict[tuple[str, int], list[StoredEvent]] = {}
        for part in _parts(identifiers):
            query = select(devices).where(_named(*part)).order_by(devices.c.idx)
            happened = select(events).join(devices, _of_device).where(_named(*part))
            with self._database.read() as connection:
                for row in connection.execute(query).mappings():
                    found[row["run"], row["idx"]] = codec.run_device_from(row)
                    passed[row["run"], row["idx"]] = []
                for row in connection.execute(happened.order_by(events.c.n)).mappings():
                    passed[row["run"], row["device"]].append(codec.event_from(row))
        records = {run: self.run(run) for run, _ in found}
        traces = (
            DeviceTrace(run=records[each.run], device=each, events=tuple(passed[place]))
            for place, each in found.items()
        )
        # Ids of runs begun within one second do not say which came first.
        return tuple(
            sorted(traces, key=lambda each: (each.run.created_at, each.run.run), reverse=True)
        )

    def verify(
        self, expected_head: str | None = None, heads: Iterable[RunHead] = ()
    ) -> list[IntegrityFinding]:
        """Everything in the ledger that is not as it was written; nothing is changed.

        `expected_head` is what `head` gave when nothing was recorded since; `heads` are what
        `heads` gave at any time before. Only they show that the end of a run was cut off, or that
        a run was removed or rewritten as a whole.
        """
        with self._database.read() as connection:
            return list(find_edits(connection, expected_head, heads))

    def head(self) -> str:
        """One digest (`sha256:`) over the heads of all runs."""
        return chain.digest_of_heads(self.heads())

    def heads(self) -> tuple[RunHead, ...]:
        """The last event of every run, sorted by run: what to keep elsewhere for `verify`."""
        with self._database.read() as connection:
            return tuple(run_heads(connection))

    def export(
        self,
        *,
        run: RunId | None = None,
        customer: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Mapping[str, Any]]:
        """The audit trail as JSON objects by `schemas/event.schema.json`, run by run.

        With a customer: the events of that tenant's devices, and of the runs that have any,
        without payloads that name other customers; their digests prove them all the same.
        `since` (inclusive) and `until` (exclusive) speak of the events.
        """
        query = select(
            events,
            runs.c.channel,
            runs.c.batch_id,
            runs.c.actor,
            devices.c.row,
            devices.c.serial_number,
            devices.c.product_key_id,
            devices.c.customer,
        ).select_from(
            events.join(runs, runs.c.run == events.c.run).outerjoin(devices, _of_device),
        )
        if customer is not None:
            query = query.where(
                events.c.run.in_(_runs_of(customer)),
                or_(events.c.device.is_(None), devices.c.customer == customer),
            )
        if run is not None:
            query = query.where(events.c.run == run)
        query = _between(query, events.c.at, since, until)
        found = self._in_pages(query, events.c.run, events.c.n)
        return (export_line(row, customer) for row in found)

    def _last_payload(self, run: RunId, *kinds: Kind) -> Mapping[str, Any]:
        """The payload of the run's last event of these kinds; empty where there is none."""
        query = select(events).where(
            events.c.run == run, events.c.kind.in_([kind.value for kind in kinds])
        )
        rows = self._rows(query.order_by(events.c.n.desc()).limit(1))
        return codec.event_from(rows[0]).event.payload if rows else {}

    def _record(self, row: RowMapping, customers: Mapping[str, tuple[TenantId, ...]]) -> RunRecord:
        record = codec.run_from(row, customers.get(row["run"], ()))
        if record.state is RunState.RUNNING and not self.is_held(record.run):
            return replace(record, state=RunState.INTERRUPTED)
        settings = record.settings
        if (
            record.state is RunState.PLANNED
            and settings.get("dryRun")
            and "planFile" not in settings
        ):
            return replace(record, state=RunState.DRY_RUN)
        return record

    def _listed(self, row: RowMapping, customers: Mapping[str, tuple[TenantId, ...]]) -> RunRecord:
        """A run of many: one that cannot be read is named, and hides no other."""
        try:
            return self._record(row, customers)
        except DamagedRunError:
            return codec.damaged_run(row)

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        with self._database.read() as connection:
            return connection.execute(query).mappings().all()

    def _scalar(self, query: Select[Any]) -> Any:
        """The first column of the only row; None where there is no row."""
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _in_pages(self, query: Select[Any], *key: ColumnElement[Any]) -> Iterator[RowMapping]:
        """The rows of the query in the order of its key, which has to be among its columns."""
        query = query.order_by(*key).limit(_PAGE)
        page = self._rows(query)
        while page:
            yield from page
            last = [page[-1][column] for column in key]
            page = self._rows(query.where(tuple_(*key) > tuple_(*last)))


def used_since(connection: Connection, moment: datetime, other_than: RunId) -> Mapping[str, int]:
    """Count for the daily limits of a run's customers, without what the run itself holds.

    A run that was started since the moment, or is running, holds room for every device that it has
    not settled.
    """
    started = select(runs.c.run).where(
        (runs.c.started_at >= codec.moment_text(moment)) | (runs.c.state == RunState.RUNNING.value),
        runs.c.state.not_in([*sorted(ENDED), RunState.CANCELLED.value]),
        runs.c.run != other_than,
    )
    held = (
        select(func.count())
        .select_from(devices)
        .where(devices.c.run.in_(started), devices.c.state != State.SETTLED.value)
    )
    query = select(run_customers.c.customer).where(run_customers.c.run == other_than)
    used: dict[str, int] = {}
    for tenant in connection.execute(query).scalars():
        removed = connection.execute(_count_removed(tenant, moment)).scalar_one()
        open_ = connection.execute(held.where(devices.c.customer == tenant)).scalar_one()
        used[tenant] = int(removed) + int(open_)
    return used


def submitted_run(connection: Connection, channel: ChannelName, batch_id: str) -> str | None:
    """The last run that was submitted with this batch id to this channel and not cancelled."""
    query = select(runs.c.run).where(
        runs.c.batch_id == codec.index_text(batch_id),
        runs.c.channel == channel.value,
        runs.c.depot.is_not(None),
        runs.c.state != RunState.CANCELLED.value,
    )
    return connection.execute(query.order_by(runs.c.created_at.desc()).limit(1)).scalar()


_of_device = and_(devices.c.run == events.c.run, devices.c.idx == events.c.device)


def _of_runs(kind: Kind) -> Select[Any]:
    """The query for events of this kind that concern a run as a whole."""
    return select(events).where(events.c.device.is_(None), events.c.kind == kind.value)


def _runs_of(customer: str) -> Select[Any]:
    return select(run_customers.c.run).where(run_customers.c.customer == customer)


def _customers_of(connection: Connection, wanted: Sequence[str]) -> dict[str, tuple[TenantId, ...]]:
    """The tenants of each of the runs, sorted."""
    found: defaultdict[str, list[TenantId]] = defaultdict(list)
    for part in _parts(wanted):
        query = select(run_customers.c.run, run_customers.c.customer)
        for run, customer in connection.execute(query.where(run_customers.c.run.in_(part))):
            found[run].append(TenantId(customer))
    return {run: tuple(sorted(tenants)) for run, tenants in found.items()}


def _parts(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    """The values in parts that one statement has room for."""
    return (wanted[start : start + _PAGE] for start in range(0, len(wanted), _PAGE))


def _count_removed(customer: str, since: datetime) -> Select[Any]:
    return (
        select(func.count())
        .select_from(devices)
        .where(
            devices.c.outcome == Outcome.REMOVED.value,
            devices.c.customer == customer,
            devices.c.settled_at >= codec.moment_text(since),
        )
    )


def _named(*identifiers: str) -> ColumnElement[bool]:
    plain = list(map(codec.index_text, identifiers))
    return or_(devices.c.serial_number.in_(plain), devices.c.product_key_id.in_(plain))


def _between(
    query: Select[Any], at: Column[Any], since: datetime | None, until: datetime | None
) -> Select[Any]:
    if since is not None:
        query = query.where(at >= codec.moment_text(since))
    if until is not None:
        query = query.where(at < codec.moment_text(until))
    return query
