"""Appends events to the chains of their runs, and brings the projections up to them.

Everything here happens within one transaction that the caller opened and that excludes other
writers of the same runs. Events are folded before anything is written, so that a call whose
events cannot follow fails alone, and the calls that share its transaction do not notice.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from partner_tools.events import (
    RUN_STATES,
    Event,
    History,
    IllegalEventError,
    Kind,
    State,
    advance,
)
from partner_tools.ledger import chain, codec
from partner_tools.ledger.database import insert_new
from partner_tools.ledger.records import UnknownRunError
from partner_tools.ledger.tables import devices, events, run_customers, runs
from partner_tools.model import Outcome, RunId, RunState

_IN_FLIGHT = frozenset({State.SENT, State.RESENT})
_LOADED_AT_ONCE = 500
_TALLIED = ("state", "started_at", "finished_at", "counts", "head_n", "head_hash")
_FOUND = ("target", "found", "serial_number", "product_key_id")

_LOCK_RUNS = (
    select(runs.c.run, *(runs.c[name] for name in _TALLIED))
    .where(runs.c.run.in_(bindparam("wanted", expanding=True)))
    .order_by(runs.c.run)  # one order for all writers, so that none waits for another in a ring
    .with_for_update()
)
_MOVE_RUN = (
    update(runs)
    .where(runs.c.run == bindparam("of"))
    .values({name: bindparam(name) for name in _TALLIED})
)
_LOAD_DEVICES = select(
    devices.c.idx, devices.c.device, *(devices.c[name] for name in codec.HISTORY_COLUMNS)
).where(devices.c.run == bindparam("of"), devices.c.idx.in_(bindparam("wanted", expanding=True)))
_MOVE_DEVICE = (
    update(devices)
    .where(devices.c.run == bindparam("of"), devices.c.idx == bindparam("at"))
    .values({name: bindparam(name) for name in codec.HISTORY_COLUMNS})
)
_RESOLVE_DEVICE = _MOVE_DEVICE.values({name: bindparam(name) for name in _FOUND})

Place = tuple[RunId, int]
"""A device of a run."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event as it will be stored: without hardware hashes, in UTC, its payload as text."""

    event: Event
    at: str
    text: str
    digest: str


@dataclass(slots=True)
class RunTally:
    """The columns of a run that its events move."""

    state: str
    started_at: str | None
    finished_at: str | None
    counts: Counter[str]
    head_n: int
    head_hash: str


@dataclass(slots=True)
class _InFlight:
    """The devices of a run whose request may be out right now, as of the run's head."""

    head: str = ""
    histories: dict[int, History] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """What is known of the runs and devices that a transaction touches."""

    runs: dict[RunId, RunTally]
    histories: dict[Place, History] = field(default_factory=dict)
    named: dict[Place, str] = field(default_factory=dict)
    """The column `device`, which only resolving needs: not there for devices in flight."""


def make_draft(event: Event) -> Draft:
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
    return Draft(event, at, text, chain.payload_digest(text))


def move_run(tally: RunTally, kind: Kind, at: str) -> None:
    """Let a run's own event move its state, its beginning and its end."""
    state = RUN_STATES[kind]
    tally.state = state.value
    if state is RunState.RUNNING:
        tally.started_at = tally.started_at or at
        tally.finished_at = None
    elif state in {RunState.FINISHED, RunState.CANCELLED}:
        tally.finished_at = at


class Appender:
    """Appends drafts, and remembers the devices in flight between two transactions.

    What it remembers of a run holds exactly as long as the run's head is the one that it wrote:
    another process that writes moves the head, and a rolled-back transaction does not reach it.
    Not thread-safe: the caller holds the database's write transaction.
    """

    def __init__(self) -> None:
        self._in_flight: dict[RunId, _InFlight] = {}

    def append(
        self, connection: Connection, calls: Sequence[Sequence[Draft]]
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
            _write(connection, group, accepted)
            self._remember(group, accepted)
        return refusals

    def _load(self, connection: Connection, wanted: Sequence[Event]) -> _Group:
        group = _Group(_load_runs(connection, {event.run for event in wanted}))
        self._forget_overtaken(group)
        missing: defaultdict[RunId, set[int]] = defaultdict(set)
        for event in wanted:
            if event.device is None or event.run not in group.runs:
                continue
            known = self._in_flight.get(event.run)
            history = known.histories.get(event.device) if known else None
            if history is None:
                missing[event.run].add(event.device)
            else:
                group.histories[event.run, event.device] = history
        for run, indexes in missing.items():
            _load_devices(connection, group, run, sorted(indexes))
        return group

    def _forget_overtaken(self, group: _Group) -> None:
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.head != tally.head_hash:
                del self._in_flight[run]

    def _remember(self, group: _Group, drafts: Iterable[Draft]) -> None:
        for run, index in _places(drafts):
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


def _fold(group: _Group, call: Sequence[Draft]) -> Exception | None:
    ahead: dict[Place, History] = {}
    for draft in call:
        event = draft.event
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


def _begins_again(group: _Group, event: Event) -> bool:
    return event.kind is Kind.CREATED and group.runs[event.run].head_n > 0


def _count(group: _Group, before: Mapping[Place, Outcome]) -> None:
    for place, outcome in before.items():
        counts, now = group.runs[place[0]].counts, group.histories[place].outcome
        if now is not outcome:
            counts[outcome.value] -= 1
            counts[now.value] += 1


def _places(drafts: Iterable[Draft]) -> Iterable[Place]:
    """The devices that the events happen to, each once, in their order."""
    places = ((draft.event.run, draft.event.device) for draft in drafts)
    return dict.fromkeys((run, index) for run, index in places if index is not None)


def _load_runs(connection: Connection, wanted: set[RunId]) -> dict[RunId, RunTally]:
    rows = connection.execute(_LOCK_RUNS, {"wanted": sorted(wanted)}).mappings()
    return {
        row["run"]: RunTally(
            state=row["state"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            counts=Counter(json.loads(row["counts"])),
            head_n=row["head_n"],
            head_hash=row["head_hash"],
        )
        for row in rows
    }


def _load_devices(
    connection: Connection, group: _Group, run: RunId, indexes: Sequence[int]
) -> None:
    for start in range(0, len(indexes), _LOADED_AT_ONCE):
        wanted = indexes[start : start + _LOADED_AT_ONCE]
        for row in connection.execute(_LOAD_DEVICES, {"of": run, "wanted": wanted}).mappings():
            group.histories[run, row["idx"]] = codec.history_from(row)
            group.named[run, row["idx"]] = row["device"]


def _write(connection: Connection, group: _Group, drafts: Sequence[Draft]) -> None:
    connection.execute(insert(events), [_link(group, draft) for draft in drafts])
    _write_devices(connection, group, drafts)
    _write_customers(connection, drafts)
    _write_runs(connection, group, drafts)


def _link(group: _Group, draft: Draft) -> dict[str, Any]:
    event, tally = draft.event, group.runs[draft.event.run]
    previous, n = tally.head_hash, tally.head_n + 1
    tally.head_n = n
    tally.head_hash = chain.link(
        previous=previous,
        run=event.run,
        n=n,
        at=draft.at,
        kind=event.kind.value,
        device=event.device,
        payload=draft.digest,
    )
    return {
        "run": event.run,
        "n": n,
        "at": draft.at,
        "kind": event.kind.value,
        "device": event.device,
        "payload": draft.text,
        "payload_digest": draft.digest,
        "previous": previous,
        "hash": tally.head_hash,
    }


def _write_devices(connection: Connection, group: _Group, drafts: Sequence[Draft]) -> None:
    resolved = {
        (draft.event.run, draft.event.device): draft.event.payload
        for draft in drafts
        if draft.event.kind is Kind.RESOLVED
    }
    moved: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for place in _places(drafts):
        row = {"of": place[0], "at": place[1], **codec.history_columns(group.histories[place])}
        if place in resolved:
            row |= codec.found_columns(group.named[place], resolved[place])
            found.append(row)
        else:
            moved.append(row)
    if moved:
        connection.execute(_MOVE_DEVICE, moved)
    if found:
        connection.execute(_RESOLVE_DEVICE, found)


def _write_customers(connection: Connection, drafts: Sequence[Draft]) -> None:
    resolved = {
        (codec.index_text(draft.event.payload.get("customer")), draft.event.run)
        for draft in drafts
        if draft.event.kind is Kind.RESOLVED
    }
    rows = [{"customer": customer, "run": run} for customer, run in resolved if customer]
    if rows:
        insert_new(connection, run_customers, rows, replace=False)


def _write_runs(connection: Connection, group: _Group, drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        if draft.event.device is None:
            move_run(group.runs[draft.event.run], draft.event.kind, draft.at)
    touched = dict.fromkeys(draft.event.run for draft in drafts)
    connection.execute(_MOVE_RUN, [{"of": run, **_columns(group.runs[run])} for run in touched])


def _columns(tally: RunTally) -> dict[str, Any]:
    return {
        "state": tally.state,
        "started_at": tally.started_at,
        "finished_at": tally.finished_at,
        "counts": codec.json_text(+tally.counts),
        "head_n": tally.head_n,
        "head_hash": tally.head_hash,
    }
