"""Proves that the ledger is as it was written, or says at which run, event and device it is not.

Within the database: every event's hash, every payload's digest, every gap, and every projection
against the fold of its events. The database alone can't show a cut-off end or a chain that
was rewritten as a whole: comparing with heads exported earlier does.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, select

from partner_tools.events import Kind, fold
from partner_tools.json_forms import digest
from partner_tools.ledger import chain, codec
from partner_tools.ledger.append import created_columns
from partner_tools.ledger.projections import RunTally, move_run
from partner_tools.ledger.queries import run_heads
from partner_tools.ledger.records import IntegrityFinding, RunHead
from partner_tools.ledger.tables import devices, events, plans, run_customers, runs
from partner_tools.model import RunId

_STREAMED = {"yield_per": 1000}
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""The exceptions that reading an edited value can raise."""


@dataclass(slots=True)
class _Walk:
    """The state accumulated over a run's events."""

    tally: RunTally
    began_at: str | None = None
    created: Mapping[str, Any] | None = None
    plan_digest: str | None = None
    customers: set[str | None] = field(default_factory=set)
    purged: bool = False


def find_edits(
    connection: Connection, expected_head: str | None, expected: Iterable[RunHead]
) -> Iterator[IntegrityFinding]:
    """Everything in the database that is not as it was written, within one snapshot."""
    yield from _damage(connection)
    for table in (events, devices, plans, run_customers):
        yield from _orphans(connection, table)
    for row in _stream(connection, select(runs).order_by(runs.c.run)):
        yield from _run_edits(connection, row)
    yield from _head_differences(connection, expected_head, expected)


def _damage(connection: Connection) -> Iterator[IntegrityFinding]:
    if connection.dialect.name == "sqlite":
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if said != "ok":
                yield IntegrityFinding(rule="damaged-file", message=f"SQLite finds: {said}")


def _orphans(connection: Connection, table: Table) -> Iterator[IntegrityFinding]:
    query = select(table.c.run).distinct().where(table.c.run.not_in(select(runs.c.run)))
    for (run,) in connection.execute(query):
        message = f"the table '{table.name}' speaks of run {run}, which is missing"
        yield IntegrityFinding(rule="missing-run", run=RunId(run), message=message)


def _run_edits(connection: Connection, row: RowMapping) -> Iterator[IntegrityFinding]:
    walk = _Walk(RunTally("", None, None, Counter(), 0, chain.GENESIS))
    try:
        yield from _chain_edits(connection, row, walk)
        yield from _device_edits(connection, row["run"], walk)
        yield from _column_edits(connection, row, walk)
    except _UNREADABLE as error:
        message = f"run {row['run']} cannot be read as it was written ({error})"
        yield IntegrityFinding(rule="unreadable-run", run=row["run"], message=message)


def _chain_edits(
    connection: Connection, row: RowMapping, walk: _Walk
) -> Iterator[IntegrityFinding]:
    query = select(events).where(events.c.run == row["run"]).order_by(events.c.n)
    for event in _stream(connection, query):
        for rule, what in _link_edits(event, walk.tally, row["purged_at"]):
            message = f"run {row['run']}, event {event['n']}: {what}"
            yield IntegrityFinding(
                rule=rule, run=row["run"], n=event["n"], device=event["device"], message=message
            )
        _walk_over(walk, event)
    if (walk.tally.head_n, walk.tally.head_hash) != (row["head_n"], row["head_hash"]):
        message = (
            f"run {row['run']} ends with event {walk.tally.head_n}, "
            f"not with event {row['head_n']} as it did ({row['head_hash']})"
        )
        yield IntegrityFinding(
            rule="truncated", run=row["run"], n=walk.tally.head_n, message=message
        )


def _link_edits(
    event: RowMapping, before: RunTally, purged_at: str | None
) -> Iterator[tuple[str, str]]:
    if event["n"] != before.head_n + 1:
        yield "missing-event", f"the one before it is {before.head_n}"
    elif event["previous"] != before.head_hash:
        yield "broken-chain", "it does not follow the one before it"
    if not _agrees(lambda: chain.rehash(event, event["payload_digest"]), event["hash"]):
        yield "altered-event", "its hash is not that of its content"
    if event["payload"] is None:
        if purged_at is None:
            yield "missing-payload", "its payload is gone, and was not purged"
    elif not _agrees(lambda: chain.payload_digest(event["payload"]), event["payload_digest"]):
        yield "altered-payload", "its payload is not the one that was stored"


def _agrees(compute: Callable[[], str], stored: object) -> bool:
    try:
        return compute() == stored
    except _UNREADABLE:
        return False


def _walk_over(walk: _Walk, event: RowMapping) -> None:
    walk.tally.head_n, walk.tally.head_hash = event["n"], event["hash"]
    walk.began_at = walk.began_at or event["at"]
    walk.purged = walk.purged or event["payload"] is None
    if event["device"] is None:
        move_run(walk.tally, Kind(event["kind"]), event["at"])
    if event["payload"] is None or event["kind"] not in _KEPT:
        return
    payload = json.loads(event["payload"])
    if event["kind"] == Kind.CREATED:
        walk.created = payload
    elif event["kind"] == Kind.PLANNED:
        walk.plan_digest = payload["digest"]
    elif payload.get("customer"):
        walk.customers.add(codec.index_text(payload["customer"]))


_KEPT = frozenset({Kind.CREATED, Kind.PLANNED, Kind.RESOLVED})


def _device_edits(connection: Connection, run: RunId, walk: _Walk) -> Iterator[IntegrityFinding]:
    listed = hashlib.sha256()
    for row, happened in _devices_with_events(connection, run):
        if row is None:
            index = happened[0]["device"]
            message = f"run {run} has events of device {index}, which is missing"
            yield IntegrityFinding(rule="missing-device", run=run, device=index, message=message)
            continue
        listed.update(chain.line(row["device"]))
        walk.tally.counts[row["outcome"]] += 1
        if not walk.purged:
            yield from _projection_edits(run, row, happened)
    if walk.created and walk.created["devicesDigest"] != f"sha256:{listed.hexdigest()}":
        message = f"the devices of run {run} are not those of its batch"
        yield IntegrityFinding(rule="altered-devices", run=run, message=message)


def _devices_with_events(
    connection: Connection, run: RunId
) -> Iterator[tuple[RowMapping | None, Sequence[RowMapping]]]:
    """Each device of the run with its events, by walking both in step."""
    named = select(devices).where(devices.c.run == run).order_by(devices.c.idx)
    of_run = select(events).where(events.c.run == run, events.c.device.is_not(None))
    happened = _stream(connection, of_run.order_by(events.c.device, events.c.n))
    groups = groupby(happened, key=lambda event: event["device"])
    index, group = next(groups, (None, ()))
    for row in _stream(connection, named):
        while index is not None and index < row["idx"]:
            yield None, list(group)
            index, group = next(groups, (None, ()))
        if index == row["idx"]:
            yield row, list(group)
            index, group = next(groups, (None, ()))
        else:
            yield row, []
    while index is not None:
        yield None, list(group)
        index, group = next(groups, (None, ()))


def _projection_edits(
    run: RunId, row: RowMapping, happened: Sequence[RowMapping]
) -> Iterator[IntegrityFinding]:
    try:
        wrong = _differences(row, _projected(row, happened))
    except _UNREADABLE as error:
        wrong = [str(error)]
    if wrong:
        message = (
            f"run {run}, device {row['idx']}: what is stored of it is not what its events "
            f"amount to ({', '.join(wrong)})"
        )
        yield IntegrityFinding(rule="altered-device", run=run, device=row["idx"], message=message)


def _projected(row: RowMapping, happened: Sequence[RowMapping]) -> dict[str, Any]:
    device = row["device"]
    past = [codec.event_from(row).event for row in happened]
    resolved = [event.payload for event in past if event.kind is Kind.RESOLVED]
    history = fold(past)
    if '"looked_before"' not in row["history"]:  # written by an older version
        history = replace(history, looked_before=None)
    return {
        "row": json.loads(device)["row"],
        **codec.found_columns(device, resolved[-1] if resolved else {}),
        **codec.history_columns(history),
    }


def _column_edits(
    connection: Connection, row: RowMapping, walk: _Walk
) -> Iterator[IntegrityFinding]:
    tally = walk.tally
    expected: dict[str, Any] = {
        "state": tally.state,
        "started_at": tally.started_at,
        "finished_at": tally.finished_at,
        "created_at": walk.began_at,
        "counts": codec.json_text(tally.counts),
    }
    if walk.created:
        expected |= created_columns(walk.created)
    if not walk.purged:
        expected["plan_digest"] = walk.plan_digest
    wrong = _differences(row, expected)
    if not walk.purged and _customers(connection, row["run"]) != walk.customers:
        wrong.append("customers")
    if not walk.purged and not _plan_agrees(connection, row["run"], walk.plan_digest):
        wrong.append("plan")
    if wrong:
        message = f"run {row['run']}: not what its events amount to: {', '.join(wrong)}"
        yield IntegrityFinding(rule="altered-run", run=row["run"], message=message)


def _differences(row: RowMapping, expected: Mapping[str, Any]) -> list[str]:
    return [name for name, value in expected.items() if row[name] != value]


def _customers(connection: Connection, run: RunId) -> set[str | None]:
    query = select(run_customers.c.customer).where(run_customers.c.run == run)
    return set(connection.execute(query).scalars())


def _plan_agrees(connection: Connection, run: RunId, expected: str | None) -> bool:
    text = connection.execute(select(plans.c.text).where(plans.c.run == run)).scalar_one_or_none()
    if text is None or expected is None:
        return text is None and expected is None
    content = json.loads(text)
    return digest({key: value for key, value in content.items() if key != "digest"}) == expected


def _head_differences(
    connection: Connection, expected_head: str | None, expected: Iterable[RunHead]
) -> Iterator[IntegrityFinding]:
    head = chain.digest_of_heads(run_heads(connection))
    if expected_head is not None and expected_head != head:
        message = f"the head of the ledger is {head}, and {expected_head} was expected"
        yield IntegrityFinding(rule="head-differs", message=message)
    for wanted in expected:
        query = select(events.c.hash).where(events.c.run == wanted.run, events.c.n == wanted.n)
        if connection.execute(query).scalar_one_or_none() != wanted.hash:
            message = (
                f"run {wanted.run} no longer has the event {wanted.n} that was its last when its "
                f"head was exported ({wanted.hash})"
            )
            yield IntegrityFinding(rule="head-differs", run=wanted.run, n=wanted.n, message=message)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[RowMapping]:
    with connection.execute(query, execution_options=_STREAMED) as result:
        yield from result.mappings()
