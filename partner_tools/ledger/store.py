"""The ledger: what the rest of the program sees of it. Reading is in `reading`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import delete, func, insert, select, update

from partner_tools.errors import LedgerError
from partner_tools.events import Event, Kind
from partner_tools.ledger import codec
from partner_tools.ledger import postgresql as roles
from partner_tools.ledger.append import Appender, PendingEvent, Writer, pending_event
from partner_tools.ledger.database import Database, connect, in_unicode, insert_new, take_turns
from partner_tools.ledger.reading import LedgerReader, submitted_run, used_since
from partner_tools.ledger.records import RunRecord, RunStart
from partner_tools.ledger.run_lock import hold_run
from partner_tools.ledger.tables import (
    MIGRATIONS,
    events,
    metadata,
    newest_version,
    plans,
    rates,
    read_version,
    require_tables,
    runs,
)
from partner_tools.model import ENDED, Device, RunId, RunState

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long to wait for another process that is writing."""
_RUNS_AT_ONCE = 100
_ROWS_AT_ONCE = 1000


class Ledger(LedgerReader):
    """The durable record of every run, in a SQLite file or a PostgreSQL database.

    Safe to share between threads. Every write is durable when its call returns. Whatever goes
    wrong with the database is a LedgerError: locked, damaged, full, read-only, out of reach or of
    a newer version.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
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

    def __exit__(self, *_raised: object) -> None:
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
            return roles.exchange(connection, service, scope, change)

    def create_run(self, start: RunStart, devices: Iterable[Device]) -> None:
        """Begin a run with the devices of its batch, in their order, and its `created` event."""
        with self._database.write() as connection:
            self._appender.insert_run(connection, start, devices)

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
            earlier = None if again else submitted_run(connection, start.channel, start.batch_id)
            if earlier is None:
                self._appender.insert_run(connection, start, devices)
                queued = Event(run=start.run, kind=Kind.QUEUED, at=start.at, payload={})
                self._appender.append_all(connection, [queued])
                enqueue(connection.connection.driver_connection)
                return None
        return self.run(earlier)

    def save_plan(self, run: RunId, plan_json: str, digest: str, events: Sequence[Event]) -> None:
        """Store the plan of a run: its text, `resolved` events of its devices, one `planned`.

        `digest` is the plan's, which the payload of `planned` repeats as `digest`. All or nothing;
        a plan that is there already is replaced. Raises ValueError for a plan with full hardware
        hashes, IllegalEventError for events that cannot follow.
        """
        planned = [event.payload.get("digest") for event in events if event.kind is Kind.PLANNED]
        if planned != [digest]:
            raise ValueError("a plan is saved with one `planned` event that repeats its digest")
        if '"hardwareHash"' in plan_json:
            raise ValueError("a plan with full hardware hashes is not for the ledger")
        with self._database.write() as connection:
            self._appender.append_all(connection, events)
            insert_new(connection, plans, [{"run": run, "text": plan_json}], replace=True)
            connection.execute(update(runs).where(runs.c.run == run), {"plan_digest": digest})

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
        with self._database.write() as connection:
            take_turns(connection, "confirm")
            allow(used_since(connection, since, events[0].run))
            self._appender.append_all(connection, events)

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
        over = select(runs.c.run).where(
            runs.c.state.in_([*sorted(ENDED), RunState.CANCELLED.value]),
            runs.c.finished_at < codec.moment_text(before),
            runs.c.purged_at.is_(None),
        )
        with self._database.write() as connection:
            if connection.dialect.name == "sqlite":  # freed pages are overwritten too
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            old = list(connection.execute(over.order_by(runs.c.run)).scalars())
            for start in range(0, len(old), _RUNS_AT_ONCE):
                part = old[start : start + _RUNS_AT_ONCE]
                connection.execute(update(events).where(events.c.run.in_(part)), {"payload": None})
                connection.execute(delete(plans).where(plans.c.run.in_(part)))
                purged = {"purged_at": codec.moment_text(at)}
                connection.execute(update(runs).where(runs.c.run.in_(part)), purged)
        return len(old)

    def copy_to(self, target: Ledger) -> None:
        """Copy everything into an empty ledger, byte for byte: its chains verify as they are.

        Raises LedgerError where the target has runs.
        """
        with self._database.read() as source, target._database.write() as connection:
            if connection.execute(select(func.count()).select_from(runs)).scalar_one():
                raise LedgerError(
                    f"the ledger {target._database.place} has runs already",
                    remedy="migrate into an empty ledger",
                    rule="ledger-not-empty",
                )
            streamed = {"yield_per": _ROWS_AT_ONCE}
            for table in metadata.sorted_tables:
                rows = source.execute(select(table), execution_options=streamed)
                for part in rows.mappings().partitions():
                    connection.execute(insert(table), [dict(row) for row in part])

    def hold(self, run: RunId) -> AbstractContextManager[None]:
        """Be the only process that executes the run, until the block or the process ends.

        Raises LedgerError where another process holds it.
        """
        return hold_run(self._database, run)

    def _commit(self, calls: Sequence[Sequence[PendingEvent]]) -> Sequence[Exception | None]:
        with self._database.write() as connection:
            return self._appender.append(connection, calls)


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
