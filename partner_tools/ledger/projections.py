"""The state of runs and devices: read before events are folded, written with them.

Every row is written from the folded events; nothing here decides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Table, bindparam, insert, select, update

from partner_tools.errors import DamagedRunError
from partner_tools.events import RUN_STATES, History, Kind
from partner_tools.ledger import chain, codec
from partner_tools.ledger.codec import PendingEvent
from partner_tools.ledger.database import Prepared, insert_new
from partner_tools.ledger.tables import devices, events, run_customers, runs
from partner_tools.model import ENDED, RunId, RunState

_TALLIED = ("state", "started_at", "finished_at", "counts", "head_n", "head_hash")
_LOADED = ("idx", "device", *codec.HISTORY_COLUMNS)
_FOUND = ("target", "found", "serial_number", "product_key_id")
_WIDEST_GAP = 8
"""The most unneeded rows to read rather than sending another query."""

Place = tuple[RunId, int]
"""A device of a run."""


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
class Group:
    """The state of the runs and devices that a transaction touches."""

    runs: dict[RunId, RunTally]
    histories: dict[Place, History] = field(default_factory=dict)
    damaged: dict[RunId, DamagedRunError] = field(default_factory=dict)
    named: dict[Place, str] = field(default_factory=dict)
    """The column `device`, which only resolving needs: not there for devices in flight."""


def move_run(tally: RunTally, kind: Kind, at: str) -> None:
    """Let a run's own event move its state, its beginning and its end.

    Nothing moves a cancelled run: who worked on it may note its end a moment later.
    """
    state = RUN_STATES[kind]
    if state is None or tally.state == RunState.CANCELLED:
        return
    tally.state = state.value
    if state is RunState.RUNNING:
        tally.started_at = tally.started_at or at
        tally.finished_at = None
    elif state in {*ENDED, RunState.CANCELLED}:
        tally.finished_at = at


def places(drafts: Iterable[PendingEvent]) -> Iterable[Place]:
    """The devices that the events happen to, each once, in their order."""
    named = ((draft.event.run, draft.event.device) for draft in drafts)
    return dict.fromkeys((run, index) for run, index in named if index is not None)


class Projections:
    """The rows of `runs`, `devices` and `events` that recording reads and writes."""

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

    def lock(self, connection: Connection, wanted: Iterable[RunId]) -> Group:
        """Read the state of the runs, and lock them until the transaction ends.

        In one order for all writers, so that none waits for another in a ring.
        """
        found = {run: self._lock_run.rows(connection, {"of": run}) for run in sorted(wanted)}
        group = Group({})
        for run, rows in found.items():
            try:
                for row in rows:
                    group.runs[run] = _tally(row)
            except codec.UNREADABLE:
                group.damaged[run] = DamagedRunError(run, "its row")
        return group

    def load(
        self, connection: Connection, group: Group, run: RunId, indexes: Sequence[int]
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

    def write(self, connection: Connection, group: Group, drafts: Sequence[PendingEvent]) -> None:
        """Write the events, each linked to the one before it, and where they lead."""
        self._insert_event.run(connection, [_linked(group, draft) for draft in drafts])
        self._write_devices(connection, group, drafts)
        _write_customers(connection, drafts)
        for draft in drafts:
            if draft.event.device is None:
                move_run(group.runs[draft.event.run], draft.event.kind, draft.at)
        touched = dict.fromkeys(draft.event.run for draft in drafts)
        self._move_run.run(connection, [_columns(run, group.runs[run]) for run in touched])

    def _write_devices(
        self, connection: Connection, group: Group, drafts: Sequence[PendingEvent]
    ) -> None:
        resolved = {
            (draft.event.run, draft.event.device): draft.event.payload
            for draft in drafts
            if draft.event.kind is Kind.RESOLVED
        }
        moved: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for place in places(drafts):
            row = {"of": place[0], "at": place[1], **codec.history_columns(group.histories[place])}
            if place in resolved:
                row |= codec.found_columns(group.named[place], resolved[place])
                found.append(row)
            else:
                moved.append(row)
        self._move_device.run(connection, moved)
        self._resolve_device.run(connection, found)


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


def _tally(row: tuple[Any, ...]) -> RunTally:
    columns = dict(zip(_TALLIED, row, strict=True))
    return RunTally(**columns | {"counts": Counter(json.loads(columns["counts"]))})


def _linked(group: Group, draft: PendingEvent) -> dict[str, Any]:
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


def _write_customers(connection: Connection, drafts: Sequence[PendingEvent]) -> None:
    resolved = {
        (codec.index_text(draft.event.payload.get("customer")), draft.event.run)
        for draft in drafts
        if draft.event.kind is Kind.RESOLVED
    }
    rows = [{"customer": customer, "run": run} for customer, run in resolved if customer]
    if rows:
        insert_new(connection, run_customers, rows, replace=False)


def _columns(run: RunId, tally: RunTally) -> dict[str, Any]:
    return {
        "of": run,
        "state": tally.state,
        "started_at": tally.started_at,
        "finished_at": tally.finished_at,
        "counts": codec.json_text(+tally.counts),
        "head_n": tally.head_n,
        "head_hash": tally.head_hash,
    }
