"""Appends events to the chains of their runs, and keeps the projections in step.

Nothing here decides: every row of `runs` and `devices` is written from the folded events. One
thread writes: what several threads record at a time is committed together, so that durability is
paid for once.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Dialect, Table, bindparam, insert, select, update

from partner_tools.errors import DamagedRunError, LedgerError, UnknownRunError
from partner_tools.events import RUN_STATES, Event, History, IllegalEventError, Kind, State, advance
from partner_tools.json_forms import camel, json_form, stated
from partner_tools.ledger import chain, codec
from partner_tools.ledger.database import Prepared, insert_new
from partner_tools.ledger.postgresql import insert_devices
from partner_tools.ledger.records import RunStart
from partner_tools.ledger.tables import devices, events, run_customers, runs
from partner_tools.model import ENDED, Device, Outcome, RunId, RunState

T = TypeVar("T")

_TALLIED = ("state", "started_at", "finished_at", "counts", "head_n", "head_hash")
_LOADED = ("idx", "device", *codec.HISTORY_COLUMNS)
_FOUND = ("target", "found", "serial_number", "product_key_id")
_WIDEST_GAP = 8
"""The most unneeded rows to read rather than sending another query."""
_AT_ONCE = 2000
"""How many devices or events of a long list are inserted together."""

Place = tuple[RunId, int]
"""A device of a run."""


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event with its texts, made before the turn to write comes."""

    event: Event
    at: str
    text: str
    digest: str


def pending_event(event: Event) -> PendingEvent:
    """Make an event ready to be stored.

    Raises ValueError or TypeError for a moment without a time zone or a payload that is not JSON.
    """
    at = codec.moment_text(event.at)
    text = codec.json_text(event.payload)
    if '"hardwareHash"' in text:
        event = replace(event, payload=codec.without_hashes(event.payload))
        text = codec.json_text(event.payload)
    if event.at.tzinfo is not UTC:
        event = replace(event, at=event.at.astimezone(UTC))
    return PendingEvent(event, at, text, chain.payload_digest(text))


@dataclass(slots=True)
class RunTally:
    """The columns of a run that its events move."""

    state: str
    started_at: str | None
    finished_at: str | None
    counts: Counter[str]
    head_n: int
    head_hash: str

    def move(self, kind: Kind, at: str) -> None:
        """Let a run's own event move its state, its beginning and its end.

        Nothing moves a cancelled run: who worked on it may note its end a moment later.
        """
        state = RUN_STATES[kind]
        if state is None or self.state == RunState.CANCELLED:
            return
        self.state = state.value
        if state is RunState.RUNNING:
            self.started_at = self.started_at or at
            self.finished_at = None
        elif state in {*ENDED, RunState.CANCELLED}:
            self.finished_at = at


@dataclass(slots=True)
class _Group:
    """The state of the runs and devices that a transaction touches."""

    runs: dict[RunId, RunTally] = field(default_factory=dict)
    histories: dict[Place, History] = field(default_factory=dict)
    damaged: dict[RunId, DamagedRunError] = field(default_factory=dict)
    named: dict[Place, str] = field(default_factory=dict)
    """The column `device`, which only resolving needs: not there for devices in flight."""

    def fold(self, call: Sequence[PendingEvent]) -> Exception | None:
        """Move the devices by the events of a call; or why these cannot follow, and move none."""
        ahead: dict[Place, History] = {}
        for pending in call:
            event = pending.event
            if event.run in self.damaged:
                return self.damaged[event.run]
            if event.run not in self.runs:
                return UnknownRunError(f"the ledger has no run '{event.run}'")
            if event.device is None:
                again = event.kind is Kind.CREATED and self.runs[event.run].head_n > 0
                if again or event.kind not in RUN_STATES:
                    return IllegalEventError(f"'{event.kind}' cannot happen to run {event.run}")
                continue
            place = event.run, event.device
            history = ahead.get(place) or self.histories.get(place)
            if history is None:
                return IllegalEventError(f"run {event.run} has no device {event.device}")
            try:
                ahead[place] = advance(history, event)
            except (LookupError, TypeError, ValueError) as error:
                return IllegalEventError(f"run {event.run}, device {event.device}: {error}")
        self.histories.update(ahead)
        return None

    def count(self, before: Mapping[Place, Outcome]) -> None:
        """Count the outcomes that are others than before."""
        for place, outcome in before.items():
            counts, now = self.runs[place[0]].counts, self.histories[place].outcome
            if now is not outcome:
                counts[outcome.value] -= 1
                counts[now.value] += 1


@dataclass(slots=True)
class _InFlight:
    """The devices of a run whose request may be out right now, as of the run's head."""

    head: str = ""
    histories: dict[int, History] = field(default_factory=dict)


class Appender:
    """Appends events, and remembers the devices in flight between two transactions.

    The memory of a run is valid exactly while the run's head is the one that it wrote:
    another process that writes moves the head, and a rolled-back transaction does not reach it.
    Not thread-safe: the caller holds the database's write transaction.
    """

    def __init__(self, dialect: Dialect) -> None:
        def prepared(statement: Any) -> Prepared:
            return Prepared(statement, dialect)

        of_run = runs.c.run == bindparam("of")
        of_device = (devices.c.run == bindparam("of"), devices.c.idx == bindparam("at"))
        span = devices.c.idx.between(bindparam("low"), bindparam("high"))
        move_device = update(devices).where(*of_device).values(_bound(codec.HISTORY_COLUMNS))
        self._lock_run = prepared(select(*_named(runs, _TALLIED)).where(of_run).with_for_update())
        self._move_run = prepared(update(runs).where(of_run).values(_bound(_TALLIED)))
        self._load_devices = prepared(select(*_named(devices, _LOADED)).where(of_device[0], span))
        self._move_device = prepared(move_device)
        self._resolve_device = prepared(move_device.values(_bound(_FOUND)))
        self._insert_event = prepared(insert(events).values(_bound(events.c.keys())))
        self._in_flight: dict[RunId, _InFlight] = {}

    def append(
        self, connection: Connection, calls: Sequence[Sequence[PendingEvent]]
    ) -> list[Exception | None]:
        """Append the events of each call, or none of a call whose events cannot follow.

        Gives for each call None, or why it was left out: UnknownRunError, IllegalEventError.
        """
        group = self._load(connection, [pending.event for call in calls for pending in call])
        before = {place: history.outcome for place, history in group.histories.items()}
        refusals = [group.fold(call) for call in calls]
        accepted = [
            pending
            for call, refusal in zip(calls, refusals, strict=True)
            if refusal is None
            for pending in call
        ]
        if accepted:
            group.count(before)
            self._write(connection, group, accepted)
            self._remember(group, accepted)
        return refusals

    def append_all(self, connection: Connection, happened: Iterable[Event]) -> None:
        """Append the events, or raise what forbids one of them."""
        for part in _parts(happened):
            for refusal in self.append(connection, [[pending_event(event) for event in part]]):
                if refusal is not None:
                    raise refusal

    def insert_run(self, connection: Connection, start: RunStart, named: Iterable[Device]) -> None:
        """Insert a run with its devices and the event that says so."""
        payload = {
            **json_form(start, whole=True),
            "settings": codec.without_hashes(start.settings),
            **stated(depot=start.depot),
            "devices": 0,
        }
        unborn = {
            "run": start.run,
            **created_columns(payload),
            "state": RunState.PLANNING.value,
            "counts": "{}",
            "created_at": codec.moment_text(start.at),
            "head_n": 0,
            "head_hash": chain.GENESIS,
        }
        connection.execute(insert(runs), unborn)
        payload |= _insert_devices(connection, start.run, named)
        counts = +Counter({Outcome.PENDING.value: payload["devices"]})
        connection.execute(
            update(runs).where(runs.c.run == start.run),
            {"devices": payload["devices"], "counts": codec.json_text(counts)},
        )
        created = Event(run=start.run, kind=Kind.CREATED, at=start.at, payload=payload)
        self.append_all(connection, [created])

    def _load(self, connection: Connection, wanted: Sequence[Event]) -> _Group:
        group = self._lock(connection, {event.run for event in wanted})
        missing: defaultdict[RunId, set[int]] = defaultdict(set)
        resolved = {(each.run, each.device) for each in wanted if each.kind is Kind.RESOLVED}
        for event in wanted:
            if event.device is None or event.run not in group.runs:
                continue
            known = self._in_flight.get(event.run)
            history = known.histories.get(event.device) if known else None
            if history is None or (event.run, event.device) in resolved:
                missing[event.run].add(event.device)
            else:
                group.histories[event.run, event.device] = history
        for run, indexes in missing.items():
            self._load_run(connection, group, run, sorted(indexes))
        return group

    def _lock(self, connection: Connection, wanted: Iterable[RunId]) -> _Group:
        """Read the state of the runs, and lock them until the transaction ends.

        In one order for all writers, so that none waits for another in a ring.
        """
        group = _Group()
        for run in sorted(wanted):
            try:
                for row in self._lock_run.rows(connection, {"of": run}):
                    columns = dict(zip(_TALLIED, row, strict=True))
                    counts = Counter(json.loads(columns["counts"]))
                    group.runs[run] = RunTally(**{**columns, "counts": counts})
            except codec.UNREADABLE:
                group.damaged[run] = DamagedRunError(run, "its row")
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.head != tally.head_hash:  # another process wrote meanwhile
                del self._in_flight[run]
        return group

    def _load_run(
        self, connection: Connection, group: _Group, run: RunId, indexes: Sequence[int]
    ) -> None:
        """Add the state of these devices to the group; the indexes have to be sorted."""
        for low, high in _spans(indexes):
            span = {"of": run, "low": low, "high": high}
            for row in self._load_devices.rows(connection, span):
                columns = dict(zip(_LOADED, row, strict=True))
                try:
                    history = codec.history_from(columns)
                except codec.UNREADABLE:  # of this run: calls of others share the transaction
                    group.damaged[run] = DamagedRunError(run, f"its device {columns['idx']}")
                    continue
                group.histories[run, columns["idx"]] = history
                group.named[run, columns["idx"]] = columns["device"]

    def _write(
        self, connection: Connection, group: _Group, accepted: Sequence[PendingEvent]
    ) -> None:
        """Write the events, each linked to the one before it, and where they lead."""
        self._insert_event.run(connection, [_linked(group, pending) for pending in accepted])
        resolved = {
            (each.event.run, each.event.device): each.event.payload
            for each in accepted
            if each.event.kind is Kind.RESOLVED
        }
        moved: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for place in _places(accepted):
            row = {"of": place[0], "at": place[1], **codec.history_columns(group.histories[place])}
            if place in resolved:
                row |= codec.found_columns(group.named[place], resolved[place])
                found.append(row)
            else:
                moved.append(row)
        self._move_device.run(connection, moved)
        self._resolve_device.run(connection, found)
        customers = {
            (codec.index_text(each.event.payload.get("customer")), each.event.run)
            for each in accepted
            if each.event.kind is Kind.RESOLVED
        }
        if rows := [{"customer": customer, "run": run} for customer, run in customers if customer]:
            insert_new(connection, run_customers, rows, replace=False)
        for pending in accepted:
            if pending.event.device is None:
                group.runs[pending.event.run].move(pending.event.kind, pending.at)
        touched = dict.fromkeys(pending.event.run for pending in accepted)
        self._move_run.run(connection, [_columns(run, group.runs[run]) for run in touched])

    def _remember(self, group: _Group, accepted: Iterable[PendingEvent]) -> None:
        for run, index in _places(accepted):
            history = group.histories[run, index]
            histories = self._in_flight.setdefault(run, _InFlight()).histories
            if history.state in {State.SENT, State.RESENT}:
                histories[index] = history
            else:
                histories.pop(index, None)
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.histories:
                known.head = tally.head_hash
            elif known:
                del self._in_flight[run]


def created_columns(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a run that its `created` event settles for good."""
    return {
        **{name: codec.index_text(payload.get(camel(name))) for name in _SETTLED},
        "settings": codec.json_text(payload["settings"]),
        "devices": payload["devices"],
    }


_SETTLED = (
    *("channel", "batch_id", "batch_digest", "file", "reason"),
    *("reference", "customer", "actor", "depot"),
)


def _insert_devices(connection: Connection, run: RunId, named: Iterable[Device]) -> dict[str, Any]:
    count, listed = 0, hashlib.sha256()
    for part in _parts(named):
        rows = [
            {"run": run, **codec.new_device_columns(index, device)}
            for index, device in enumerate(part, start=count)
        ]
        if connection.dialect.name == "postgresql":
            insert_devices(connection, run, rows)
        else:
            connection.execute(insert(devices), rows)
        count += len(rows)
        for row in rows:
            listed.update(chain.line(row["device"]))
    return {"devices": count, "devicesDigest": f"sha256:{listed.hexdigest()}"}


def _places(accepted: Iterable[PendingEvent]) -> Iterable[Place]:
    """The devices that the events happen to, each once, in their order."""
    named = ((pending.event.run, pending.event.device) for pending in accepted)
    return dict.fromkeys((run, index) for run, index in named if index is not None)


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while part := list(islice(remaining, _AT_ONCE)):
        yield part


def _named(table: Table, names: Iterable[str]) -> Iterator[Column[Any]]:
    return (table.c[name] for name in names)


def _bound(names: Iterable[str]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


def _spans(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    low = high = indexes[0]
    for index in indexes:
        if index - high > _WIDEST_GAP:
            yield low, high
            low = index
        high = index
    yield low, high


def _linked(group: _Group, pending: PendingEvent) -> dict[str, Any]:
    tally = group.runs[pending.event.run]
    row = {
        "run": pending.event.run,
        "n": tally.head_n + 1,
        "at": pending.at,
        "kind": pending.event.kind.value,
        "device": pending.event.device,
        "payload": pending.text,
        "payload_digest": pending.digest,
        "previous": tally.head_hash,
    }
    tally.head_n += 1
    tally.head_hash = chain.link(row, pending.digest)
    return {**row, "hash": tally.head_hash}


def _columns(run: RunId, tally: RunTally) -> dict[str, Any]:
    named = {name: getattr(tally, name) for name in _TALLIED}
    return {**named, "of": run, "counts": codec.json_text(+tally.counts)}


Commit = Callable[[Sequence[Sequence[PendingEvent]]], Sequence[Exception | None]]
"""Makes the events of all calls durable, and says which calls it left out, and why."""

_Call = tuple[Sequence[PendingEvent], "Future[None]"]


class Writer:
    """Takes calls from any number of threads. After a failed commit it takes none any more."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._entry = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def write(self, pending: Sequence[PendingEvent]) -> None:
        """Return when the events are durable.

        Raises LedgerError where they are not, or cannot be known to be, and from then on for
        every call: what a failed commit left behind is only known after opening the ledger anew.
        """
        done: Future[None] = Future()
        self._put((pending, done))
        done.result()

    def close(self) -> None:
        """Finish what is waiting and end the thread."""
        with self._entry:
            self._closed = True
            self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _put(self, call: _Call) -> None:
        with self._entry:
            if self._closed:
                raise LedgerError("the ledger is closed", remedy="report this as a bug")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
                self._thread.start()
            self._waiting.put(call)

    def _work(self) -> None:
        going = True
        while going:
            calls = [self._waiting.get()]
            while not self._waiting.empty():
                calls.append(self._waiting.get())
            self._settle([call for call in calls if call is not None])
            going = None not in calls

    def _settle(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        if self._failure is None:
            try:
                refusals = self._commit([pending for pending, _ in calls])
            except Exception as failure:  # noqa: BLE001  # the waiting callers raise it
                self._failure = failure
        if self._failure is not None:
            refusals = [_copy(self._failure) for _ in calls]
        for (_, done), refusal in zip(calls, refusals, strict=True):
            if refusal is None:
                done.set_result(None)
            else:
                done.set_exception(refusal)


def _copy(failure: Exception) -> Exception:
    """An exception of each caller's own, since raising one writes its traceback."""
    if not isinstance(failure, LedgerError):
        return failure
    copy = LedgerError(failure.message, remedy=failure.remedy, rule=failure.rule)
    copy.__cause__ = failure.__cause__
    return copy
