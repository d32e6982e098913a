"""Appends events to the chains of their runs, and keeps the projections in step.

One thread writes: what several threads record at a time is committed together, so that
durability is paid for once.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, insert, update

from partner_tools.errors import LedgerError
from partner_tools.events import RUN_STATES, Event, History, IllegalEventError, Kind, State, advance
from partner_tools.ledger import chain, codec
from partner_tools.ledger.codec import PendingEvent, pending_event
from partner_tools.ledger.database import insert_new
from partner_tools.ledger.postgresql import insert_devices
from partner_tools.ledger.projections import Group, Place, Projections, places
from partner_tools.ledger.records import RunStart, UnknownRunError
from partner_tools.ledger.tables import devices, plans, runs
from partner_tools.model import Device, Outcome, RunId, RunState

_IN_FLIGHT = frozenset({State.SENT, State.RESENT})


@dataclass(slots=True)
class _InFlight:
    """The devices of a run whose request may be out right now, as of the run's head."""

    head: str = ""
    histories: dict[int, History] = field(default_factory=dict)


class Appender:
    """Appends drafts, and remembers the devices in flight between two transactions.

    The memory of a run is valid exactly while the run's head is the one that it wrote:
    another process that writes moves the head, and a rolled-back transaction does not reach it.
    Not thread-safe: the caller holds the database's write transaction.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._standings = Projections(dialect)
        self._in_flight: dict[RunId, _InFlight] = {}

    def append(
        self, connection: Connection, calls: Sequence[Sequence[PendingEvent]]
    ) -> list[Exception | None]:
        """Append the events of each call, or none of a call whose events cannot follow.

        Gives for each call None, or why it was left out: UnknownRunError, IllegalEventError.
        """
        group = self._load(connection, [draft.event for call in calls for draft in call])
        before = {place: history.outcome for place, history in group.histories.items()}
        refusals = [_fold(group, call) for call in calls]
        accepted = [
            draft
            for call, refusal in zip(calls, refusals, strict=True)
            if refusal is None
            for draft in call
        ]
        if accepted:
            _count(group, before)
            self._standings.write(connection, group, accepted)
            self._remember(group, accepted)
        return refusals

    def _load(self, connection: Connection, wanted: Sequence[Event]) -> Group:
        group = self._standings.lock(connection, {event.run for event in wanted})
        self._forget_overtaken(group)
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
            self._standings.load(connection, group, run, sorted(indexes))
        return group

    def _forget_overtaken(self, group: Group) -> None:
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.head != tally.head_hash:
                del self._in_flight[run]

    def _remember(self, group: Group, drafts: Iterable[PendingEvent]) -> None:
        for run, index in places(drafts):
            history = group.histories[run, index]
            histories = self._in_flight.setdefault(run, _InFlight()).histories
            if history.state in _IN_FLIGHT:
                histories[index] = history
            else:
                histories.pop(index, None)
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.histories:
                known.head = tally.head_hash
            elif known:
                del self._in_flight[run]


def _fold(group: Group, call: Sequence[PendingEvent]) -> Exception | None:
    ahead: dict[Place, History] = {}
    for draft in call:
        event = draft.event
        if event.run in group.damaged:
            return group.damaged[event.run]
        if event.run not in group.runs:
            return UnknownRunError(f"the ledger has no run '{event.run}'")
        if event.device is None:
            if event.kind not in RUN_STATES or _begins_again(group, event):
                return IllegalEventError(f"'{event.kind}' cannot happen to run {event.run}")
            continue
        place = event.run, event.device
        history = ahead.get(place) or group.histories.get(place)
        if history is None:
            return IllegalEventError(f"run {event.run} has no device {event.device}")
        try:
            ahead[place] = advance(history, event)
        except (LookupError, TypeError, ValueError) as error:
            return IllegalEventError(f"run {event.run}, device {event.device}: {error}")
    group.histories.update(ahead)
    return None


def _begins_again(group: Group, event: Event) -> bool:
    return event.kind is Kind.CREATED and group.runs[event.run].head_n > 0


def _count(group: Group, before: Mapping[Place, Outcome]) -> None:
    for place, outcome in before.items():
        counts, now = group.runs[place[0]].counts, group.histories[place].outcome
        if now is not outcome:
            counts[outcome.value] -= 1
            counts[now.value] += 1


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

    def write(self, drafts: Sequence[PendingEvent]) -> None:
        """Return when the drafts are durable.

        Raises LedgerError where they are not, or cannot be known to be, and from then on for
        every call: what a failed commit left behind is only known after opening the ledger anew.
        """
        done: Future[None] = Future()
        self._put((drafts, done))
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
                refusals = self._commit([drafts for drafts, _ in calls])
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


_DEVICES_AT_ONCE = 2000

T = TypeVar("T")


def insert_run(
    connection: Connection, appender: Appender, start: RunStart, named: Iterable[Device]
) -> None:
    """Insert a run with its devices and the event that says so."""
    payload = _created_payload(start)
    connection.execute(insert(runs), {"run": start.run, **_unborn_columns(start, payload)})
    payload |= _insert_devices(connection, start.run, named)
    counts = +Counter({Outcome.PENDING.value: payload["devices"]})
    connection.execute(
        update(runs).where(runs.c.run == start.run),
        {"devices": payload["devices"], "counts": codec.json_text(counts)},
    )
    created = Event(run=start.run, kind=Kind.CREATED, at=start.at, payload=payload)
    append_all(connection, appender, [created])


def store_plan(
    connection: Connection,
    appender: Appender,
    run: RunId,
    text: str,
    digest: str,
    events: Sequence[Event],
) -> None:
    """Store the text of a run's plan and the events that it consists of."""
    append_all(connection, appender, events)
    insert_new(connection, plans, [{"run": run, "text": text}], replace=True)
    connection.execute(update(runs).where(runs.c.run == run), {"plan_digest": digest})


def append_all(connection: Connection, appender: Appender, events: Iterable[Event]) -> None:
    """Append the events, or raise what forbids one of them."""
    for portion in _portions(events):
        for refusal in appender.append(connection, [[pending_event(event) for event in portion]]):
            if refusal is not None:
                raise refusal


def created_columns(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a run that its `created` event settles for good."""
    return {
        "channel": payload["channel"],
        "batch_id": codec.index_text(payload["batchId"]),
        "batch_digest": payload["batchDigest"],
        "file": codec.index_text(payload["file"]),
        "reason": payload["reason"],
        "reference": codec.index_text(payload["reference"]),
        "customer": codec.index_text(payload["customer"]),
        "actor": codec.index_text(payload["actor"]),
        "settings": codec.json_text(payload["settings"]),
        "depot": codec.index_text(payload.get("depot")),
        "devices": payload["devices"],
    }


def _created_payload(start: RunStart) -> dict[str, Any]:
    return {
        "channel": start.channel.value,
        "batchId": start.batch_id,
        "batchDigest": start.batch_digest,
        "file": start.file,
        "reason": start.reason.value,
        "reference": start.reference,
        "customer": start.customer,
        "actor": start.actor,
        "settings": codec.without_hashes(start.settings),
        **({} if start.depot is None else {"depot": start.depot}),
        "devices": 0,
    }


def _unborn_columns(start: RunStart, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **created_columns(payload),
        "state": RunState.PLANNING.value,
        "counts": "{}",
        "created_at": codec.moment_text(start.at),
        "head_n": 0,
        "head_hash": chain.GENESIS,
    }


def _insert_devices(connection: Connection, run: RunId, named: Iterable[Device]) -> dict[str, Any]:
    count, listed = 0, hashlib.sha256()
    for portion in _portions(named):
        rows = [
            {"run": run, **codec.new_device_columns(index, device)}
            for index, device in enumerate(portion, start=count)
        ]
        if connection.dialect.name == "postgresql":
            insert_devices(connection, run, rows)
        else:
            connection.execute(insert(devices), rows)
        count += len(rows)
        for row in rows:
            listed.update(chain.line(row["device"]))
    return {"devices": count, "devicesDigest": f"sha256:{listed.hexdigest()}"}


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while portion := list(islice(remaining, _DEVICES_AT_ONCE)):
        yield portion
