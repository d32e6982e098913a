"""The ledger: what the rest of the program sees of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, RowMapping, select

from partner_tools.errors import DamagedRunError, LedgerError
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import chain, codec
from partner_tools.ledger import postgresql as roles
from partner_tools.ledger import queries as reading
from partner_tools.ledger.append import Appender, Writer, append_all, insert_run, store_plan
from partner_tools.ledger.codec import PendingEvent, pending_event
from partner_tools.ledger.database import Database, connect, in_unicode, insert_new, take_turns
from partner_tools.ledger.integrity import find_edits
from partner_tools.ledger.maintenance import copy_tables, exported_events, purge_runs
from partner_tools.ledger.postgresql import exchange
from partner_tools.ledger.records import (
    DeviceTrace,
    IntegrityFinding,
    RememberedRate,
    RunDevice,
    RunHead,
    RunRecord,
    RunStart,
    StoredEvent,
)
from partner_tools.ledger.run_lock import hold_run, run_is_held
from partner_tools.ledger.tables import plans, rates
from partner_tools.ledger.version import MIGRATIONS, newest_version, read_version, require_tables
from partner_tools.model import ChannelName, Customer, Device, Outcome, RunId, RunState, TenantId

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long to wait for another process that is writing."""


class Ledger:
    """The durable record of every run, in a SQLite file or a PostgreSQL database.

    Safe to share between threads. Every write is durable when its call returns. Whatever goes
    wrong with the database is a LedgerError: locked, damaged, full, read-only, out of reach or of
    a newer version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appender = Appender(database.dialect)
        self._writer = Writer(self._commit)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        patience: float = PATIENCE_SECONDS,
        migrations: Path = MIGRATIONS,
        as_it_is: bool = False,
    ) -> Self:
        """Open the ledger at a SQLAlchemy URL, and bring its tables to this version.

        A SQLite file and its folder are created for this user alone where they do not exist; a
        file of an older version is copied beside itself before it is changed. `patience` is in
        seconds. `as_it_is` changes no table: another version is refused. Raises LedgerError, and
        InputError for a URL that cannot be a ledger.
        """
        database = connect(url, patience=patience)
        try:
            _bring_up_to_date(database, migrations, as_it_is=as_it_is)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written, and give the database back."""
        self._writer.close()
        self._database.close()

    @property
    def folder(self) -> Path | None:
        """The folder of the SQLite file; None on PostgreSQL."""
        path = self._database.path
        return None if path is None else path.parent

    @property
    def conninfo(self) -> str | None:
        """The server's address for other libraries, with its password; None beside a file."""
        if self._database.path is not None:
            return None
        url = in_unicode(self._database.url).set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    def set_up_roles(
        self, bindings: Mapping[str, Sequence[str]] | None = None
    ) -> list[tuple[str, str]]:
        """Grant the roles what they need, and let logins see only the depots named for them.

        A login without depots sees all again. Gives who is bound to which depot. For the owner of
        a PostgreSQL ledger; LedgerError for other users.
        """
        with self._database.write() as connection:
            roles.set_up(connection)
            for login, depots in (bindings or {}).items():
                roles.bind(connection, login, depots)
            return roles.bound(connection)

    def bound_strangers(self) -> list[str]:
        """The bound logins that the PostgreSQL server does not have."""
        with self._database.read() as connection:
            return roles.strangers(connection)

    def exchange(
        self, service: str, scope: str, change: Callable[[str | None], tuple[str, T]]
    ) -> tuple[T, float]:
        """Change the shared pace of a limit scope exclusively; PostgreSQL only.

        `change` gets its text, None the first time, and gives the new one and an answer. With the
        answer comes the server's clock, in seconds. A crash may lose what was exchanged in the
        last second: no pace is worth waiting for a disk.
        """
        with self._database.aside() as connection:
            return exchange(connection, service, scope, change)

    def create_run(self, start: RunStart, devices: Iterable[Device]) -> None:
        """Begin a run with the devices of its batch, in their order, and its `created` event."""
        with self._database.write() as connection:
            insert_run(connection, self._appender, start, devices)

    def submit_run(
        self,
        start: RunStart,
        devices: Iterable[Device],
        enqueue: Callable[[Any], None],
        *,
        again: bool = False,
    ) -> RunRecord | None:
        """Begin a run that waits for a worker, and enqueue it in the same transaction.

        None once that is durable; without `again` the run that was submitted with this batch id
        before, where there is one that was not cancelled, and then nothing was done. `enqueue` is
        called with the driver's own connection.
        """
        with self._database.write() as connection:
            take_turns(connection, f"submit {start.channel} {start.batch_id}")
            earlier = None if again else reading.submitted_run(connection, start)
            if earlier is None:
                insert_run(connection, self._appender, start, devices)
                queued = Event(run=start.run, kind=Kind.QUEUED, at=start.at, payload={})
                append_all(connection, self._appender, [queued])
                enqueue(connection.connection.driver_connection)
                return None
        return self.run(earlier)

    def save_plan(self, run: RunId, plan_json: str, digest: str, events: Sequence[Event]) -> None:
        """Store the plan of a run: its text, `resolved` events of its devices, one `planned`.

        `digest` is the plan's, which the payload of `planned` repeats as `digest`. All or nothing;
        a plan that is there already is replaced. Raises ValueError for a plan with full hardware
        hashes, IllegalEventError for events that cannot follow.
        """
        _check_plan(plan_json, digest, events)
        with self._database.write() as connection:
            store_plan(connection, self._appender, run, plan_json, digest, events)

    def record(self, events: Sequence[Event]) -> None:
        """Make the events durable, all or none of them, together with what they amount to.

        Called from many threads at once; calls that wait at the same time share a commit. Raises
        IllegalEventError or UnknownRunError where an event cannot follow: for this call alone.
        Raises LedgerError where the commit failed, from then on for every call of this object.
        """
        if events:
            self._writer.write([pending_event(event) for event in events])

    def remember_rate(
        self, service: str, scope: str, per_second: float, at: datetime, *, refused: bool = True
    ) -> None:
        """Remember what a service granted within this scope of its limit, and if it refused more.

        Durable on return.
        """
        row = {
            "service": service,
            "scope": scope,
            "per_second": per_second,
            "learned_at": codec.moment_text(at),
            "refused": refused,
        }
        with self._database.write() as connection:
            insert_new(connection, rates, [row], replace=True)

    def purge(self, before: datetime, at: datetime) -> int:
        """Replace the payloads and plans of old runs by their digests, and count the runs.

        Takes the runs that were finished or cancelled before the moment. Their chains still
        verify; what became of each device stays.
        """
        with self._database.write() as connection:
            return purge_runs(connection, before, at)

    def copy_to(self, target: Ledger) -> None:
        """Copy everything into an empty ledger, byte for byte: its chains verify as they are.

        Raises LedgerError where the target has runs.
        """
        with self._database.read() as source, target._database.write() as connection:
            copy_tables(source, connection, target._database.place)

    def hold(self, run: RunId) -> AbstractContextManager[None]:
        """Be the only process that executes the run, until the block or the process ends.

        Raises LedgerError where another process holds it.
        """
        return hold_run(self._database, run)

    def is_held(self, run: RunId) -> bool:
        """Whether a process, this one included, executes the run right now."""
        return run_is_held(self._database, run)

    def run(self, name: str) -> RunRecord:
        """The run with this id, or the only one whose id begins so. Raises UnknownRunError."""
        with self._database.read() as connection:
            row = reading.find_run(connection, name)
            customers = reading.customers_of(connection, [row["run"]])
        return self._record(row, customers)

    def runs(
        self,
        *,
        customer: str | None = None,
        state: RunState | None = None,
        channel: ChannelName | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        serial: str | None = None,
        depot: str | None = None,
        batch_id: str | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        """The runs that match, newest first, answered by index.

        `since` (inclusive) and `until` (exclusive) speak of when a run was created; `serial` is
        an exact serial number or product key id of one of its devices.
        """
        wanted = reading.RunFilter(
            customer=customer,
            states=_stored_states(state),
            channel=channel,
            since=since,
            until=until,
            serial=serial,
            depot=depot,
            batch_id=batch_id,
        )
        told_by_state = state in _TOLD_APART
        query = reading.matching_runs(wanted).limit(None if told_by_state else limit)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            customers = reading.customers_of(connection, [row["run"] for row in rows])
        found = [self._listed(row, customers) for row in rows]
        return [record for record in found if state in {None, record.state}][:limit]

    def planned_customers(self, runs: Collection[RunId]) -> Mapping[RunId, tuple[Customer, ...]]:
        """The customers that each run's plan names, in its order, answered by index.

        Without runs that have no plan, and empty where it was purged.
        """
        with self._database.read() as connection:
            return reading.planned_customers(connection, tuple(runs))

    def is_cancelled(self, run: RunId) -> bool:
        """Whether the run was cancelled: no further request of it may leave."""
        with self._database.read() as connection:
            return reading.run_state(connection, run) == RunState.CANCELLED

    def submitted_unfinished(self) -> list[RunRecord]:
        """The runs that were handed to the fleet and are not over: each should have a job."""
        with self._database.read() as connection:
            rows = connection.execute(reading.submitted_unfinished()).mappings().all()
        return [self._listed(row, {}) for row in rows]

    def in_doubt(self) -> int:
        """How many devices have a request whose answer is not known, and no process awaits.

        Requests in flight in a run that a process holds are not counted.
        """
        with self._database.read() as connection:
            counted = reading.count_in_doubt(connection)
        return sum(count for run, count in counted.items() if not self.is_held(run))

    def devices(
        self,
        run: RunId,
        *,
        states: Collection[State] | None = None,
        outcomes: Collection[Outcome] | None = None,
        after: int = -1,
    ) -> Iterator[RunDevice]:
        """The devices of the run in the order of the batch, a page at a time.

        Each page is as it is when it is reached: what `record` did before shows. `states` (for
        example `events.IN_DOUBT`) and `outcomes` leave out the others, `after`
        those up to this index.
        """
        return reading.run_devices(self._database, run, states, outcomes, after)

    def device(self, run: RunId, index: int) -> RunDevice:
        """One device of the run. Raises LookupError where the run has no such device."""
        with self._database.read() as connection:
            return reading.run_device(connection, run, index)

    def plan(self, run: RunId) -> str | None:
        """The text of the run's plan, as it was saved; None before that, and after a purge."""
        with self._database.read() as connection:
            return connection.execute(
                select(plans.c.text).where(plans.c.run == run)
            ).scalar_one_or_none()

    def events(self, run: RunId | None = None) -> Iterator[StoredEvent]:
        """The events of one run or of all, run by run, each run's in their order."""
        return reading.stored_events(self._database, run)

    def last_stop(self, run: RunId) -> Mapping[str, Any]:
        """Return the run's last `stopped` or `refused` event; empty without one, or if purged."""
        with self._database.read() as connection:
            return reading.last_payload(connection, run, Kind.STOPPED, Kind.REFUSED)

    def dismissals(self, runs: Collection[RunId]) -> Mapping[RunId, Event]:
        """The events that closed the outstanding steps of these runs."""
        with self._database.read() as connection:
            return reading.dismissals(connection, tuple(runs))

    def handed_over(self, run: RunId) -> list[Mapping[str, Any]]:
        """The handoffs that were written of the run: `customer`, `digest` and `generatedAt`."""
        with self._database.read() as connection:
            return reading.payloads(connection, run, Kind.HANDED_OVER)

    def last_setback(self, run: RunId) -> str | None:
        """Why a device of the run was put off the last time; None where none was, or no more."""
        with self._database.read() as connection:
            said = reading.last_payload(connection, run, Kind.WITHDRAWN, Kind.DEFERRED)
        return said.get("detail")

    def remembered_rate(self, service: str, scope: str) -> RememberedRate | None:
        """Return the rate that the service last granted within this scope of its limit."""
        with self._database.read() as connection:
            return reading.remembered_rate(connection, service, scope)

    def confirm(
        self,
        events: Sequence[Event],
        *,
        since: datetime,
        allow: Callable[[Mapping[str, int]], None],
    ) -> None:
        """Record the confirmation and the start of a run, which reserves its room of today.

        `allow` is given what is used of each of the run's customers since the moment, as
        `used_since` counts it, and raises what forbids the run: nothing is recorded then. Runs
        that are confirmed at the same time take turns, so that they cannot overdraw a limit
        together. Durable on return.
        """
        run = events[0].run
        with self._database.write() as connection:
            take_turns(connection, "confirm")
            allow(self._used(connection, run, since))
            append_all(connection, self._appender, events)

    def used_since(self, moment: datetime, *, other_than: RunId) -> Mapping[str, int]:
        """Return the daily limits' count for each customer of a run, without that run's own room.

        Devices removed since the moment, over all runs, and those that other runs have reserved.
        """
        with self._database.read() as connection:
            return self._used(connection, other_than, moment)

    def _used(self, connection: Connection, run: RunId, since: datetime) -> Mapping[str, int]:
        return {
            tenant: reading.count_used(connection, tenant, since, run)
            for tenant in reading.run_customers_of(connection, run)
        }

    def planned_digest(self, run: RunId) -> str | None:
        """The digest of the plan that the run's chain of events names; None without a plan."""
        with self._database.read() as connection:
            return reading.planned_digest(connection, run)

    def last_event_at(self, run: RunId) -> datetime:
        """When the newest event of the run was recorded, by the clock of its writer."""
        with self._database.read() as connection:
            found = reading.last_event_at(connection, run)
        if found is None:
            raise LookupError(run)
        return found

    def run_of_plan(self, digest: str, *, other_than: RunId) -> RunId | None:
        """Another run that began to execute the plan of this digest."""
        with self._database.read() as connection:
            return reading.started_run_of(connection, digest, other_than)

    def removed_since(self, customer: str, moment: datetime) -> int:
        """How many devices of this customer were removed since the moment, over all runs."""
        with self._database.read() as connection:
            return reading.count_removed(connection, customer, moment)

    def last_sync(self, customer: str) -> datetime | None:
        """When a sync of Autopilot was last about to be asked for in this tenant, over all runs."""
        with self._database.read() as connection:
            return reading.last_sync(connection, customer)

    def identifiers(self) -> list[str]:
        """Every serial number and product key id of every run, once; reads all devices."""
        with self._database.read() as connection:
            return reading.identifiers(connection)

    def trace(self, *identifiers: str) -> tuple[DeviceTrace, ...]:
        """Every run's data on devices with exactly one of these serial numbers or product key ids.

        Newest run first.
        """
        with self._database.read() as connection:
            found = reading.devices_named(connection, *identifiers)
            passed = [reading.device_events(connection, each.run, each.index) for each in found]
        return tuple(
            DeviceTrace(run=self.run(device.run), device=device, events=events)
            for device, events in zip(found, passed, strict=True)
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
            return tuple(reading.run_heads(connection))

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
        without payloads that name other customers.
        `since` (inclusive) and `until` (exclusive) speak of the events.
        """
        return exported_events(self._database, run=run, customer=customer, since=since, until=until)

    def _commit(self, calls: Sequence[Sequence[PendingEvent]]) -> Sequence[Exception | None]:
        with self._database.write() as connection:
            return self._appender.append(connection, calls)

    def _record(self, row: RowMapping, customers: Mapping[str, tuple[TenantId, ...]]) -> RunRecord:
        try:
            state = RunState(row["state"])
        except ValueError as error:
            raise DamagedRunError(row["run"], "its state") from error
        if state is RunState.RUNNING and not self.is_held(row["run"]):
            state = RunState.INTERRUPTED
        return codec.run_from(row, customers.get(row["run"], ()), state)

    def _listed(self, row: RowMapping, customers: Mapping[str, tuple[TenantId, ...]]) -> RunRecord:
        """A run of many: one that cannot be read is named, and hides no other."""
        try:
            return self._record(row, customers)
        except DamagedRunError:
            return codec.damaged_run(row)


def _bring_up_to_date(database: Database, migrations: Path, *, as_it_is: bool) -> None:
    newest = newest_version(migrations)
    with database.read() as connection:
        version = read_version(connection, database.place)
        if version == newest:
            require_tables(connection, database.place)
    if version != newest:
        if as_it_is:
            raise LedgerError(
                f"the ledger {database.place} is of another version",
                remedy="run any command that opens it, which brings it up to date",
                rule="ledger-version",
            )
        from partner_tools.ledger.migrate import upgrade

        upgrade(database, migrations)


def _stored_states(state: RunState | None) -> tuple[RunState, ...] | None:
    """The states as stored among which the runs with this state are: a dead one reads running."""
    if state is None:
        return None
    stored = {
        RunState.INTERRUPTED: (RunState.INTERRUPTED, RunState.RUNNING),
        RunState.DRY_RUN: (RunState.PLANNED,),
    }
    return stored.get(state, (state,))


_TOLD_APART = frozenset(
    {RunState.RUNNING, RunState.INTERRUPTED, RunState.PLANNED, RunState.DRY_RUN}
)
"""States that the stored one alone does not tell: reading a run decides."""


def _check_plan(plan_json: str, digest: str, events: Sequence[Event]) -> None:
    planned = [event for event in events if event.kind is Kind.PLANNED]
    if [event.payload.get("digest") for event in planned] != [digest]:
        raise ValueError("a plan is saved with one `planned` event that repeats its digest")
    if '"hardwareHash"' in plan_json:
        raise ValueError("a plan with full hardware hashes is not for the ledger")
