"""Begins a run and stores its plan: the two writes that are larger than a few events."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, update

from partner_tools.events import Event, Kind
from partner_tools.ledger import chain, codec
from partner_tools.ledger.append import Appender
from partner_tools.ledger.database import insert_new
from partner_tools.ledger.draft import make_draft
from partner_tools.ledger.records import RunStart
from partner_tools.ledger.tables import devices, plans, runs
from partner_tools.model import Device, Outcome, RunId, RunState

_AT_ONCE = 2000

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
        for refusal in appender.append(connection, [[make_draft(event) for event in portion]]):
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
        connection.execute(insert(devices), rows)
        count += len(rows)
        for row in rows:
            listed.update(chain.line(row["device"]))
    return {"devices": count, "devicesDigest": f"sha256:{listed.hexdigest()}"}


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while portion := list(islice(remaining, _AT_ONCE)):
        yield portion
