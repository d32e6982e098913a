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
from partner_tools.ledger.append import RunTally, created_columns
from partner_tools.ledger.records import IntegrityFinding, RunHead
from partner_tools.ledger.tables import devices, events, plans, run_customers, runs
from partner_tools.model import ChannelName, Outcome, RunId
from partner_tools.strict_json import read_json

_STREAMED = {"yield_per": 1000}


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
    if connection.dialect.name == "sqlite":
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if said != "ok":
                yield IntegrityFinding(rule="damaged-file", message=f"SQLite finds: {said}")
    for table in (events, devices, plans, run_customers):
        yield from _orphans(connection, table)
    for row in _stream(connection, select(runs).order_by(runs.c.run)):
        yield from _run_edits(connection, row)
    yield from _head_differences(connection, expected_head, expected)


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
    except codec.UNREADABLE as error:
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
    if not _agrees(lambda: chain.link(event, event["payload_digest"]), event["hash"]):
        yield "altered-event", "its hash is not that of its content"
    if event["payload"] is None:
        if purged_at is None:
            yield "missing-payload", "its payload is gone, and was not purged"
    elif not _agrees(lambda: chain.payload_digest(event["payload"]), event["payload_digest"]):
        yield "altered-payload", "its payload is not the one that was stored"


def _agrees(compute: Callable[[], str], stored: object) -> bool:
    try:
        return compute() == stored
    except codec.UNREADABLE:
        return False


def _walk_over(walk: _Walk, event: RowMapping) -> None:
    walk.tally.head_n, walk.tally.head_hash = event["n"], event["hash"]
    walk.began_at = walk.began_at or event["at"]
    walk.purged = walk.purged or event["payload"] is None
    if event["device"] is None:
        walk.tally.move(Kind(event["kind"]), event["at"])
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
    except codec.UNREADABLE as error:
        wrong = [str(error)]
    if wrong:
        message = (
            f"run {run}, device {row['idx']}: its stored state does not match its "
            f"events ({', '.join(wrong)})"
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
        message = f"run {row['run']}: its state does not match its events: {', '.join(wrong)}"
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


def run_heads(connection: Connection) -> Iterator[RunHead]:
    """The head of every run as the table `runs` has it, sorted by run."""
    query = select(runs.c.run, runs.c.head_n, runs.c.head_hash).order_by(runs.c.run)
    for run, n, hash_ in connection.execute(query):
        yield RunHead(run=RunId(run), n=n, hash=hash_)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[RowMapping]:
    with connection.execute(query, execution_options=_STREAMED) as result:
        yield from result.mappings()


SCHEMA_VERSION = "1"


def export_line(row: RowMapping, reader: str | None) -> Mapping[str, Any]:
    """An event by `schemas/event.schema.json`, for one customer or (None) for the partner itself.

    A payload that names other customers is not for a customer.
    """
    payload = None if row["payload"] is None else json.loads(row["payload"])
    named = {each["tenantId"] for each in (payload or {}).get("customers", ())}
    if reader is not None and named - {reader}:
        payload = None
    return {
        "schemaVersion": SCHEMA_VERSION,
        "run": row["run"],
        "n": row["n"],
        "at": row["at"],
        "kind": row["kind"],
        "device": row["device"],
        "channel": row["channel"],
        "batchId": row["batch_id"],
        "actor": row["actor"],
        "row": row["row"],
        "serialNumber": row["serial_number"],
        "productKeyId": row["product_key_id"],
        "customer": row["customer"],
        "payload": payload,
        "payloadDigest": row["payload_digest"],
        "previous": row["previous"],
        "hash": row["hash"],
    }


_HASHED = ("run", "n", "at", "kind", "device", "payload", "payloadDigest", "previous", "hash")
_OF_THE_RUN = ("channel", "batchId", "actor")
_OF_THE_DEVICE = ("row", "serialNumber", "productKeyId", "customer")
_PROPERTIES = {"schemaVersion", *_HASHED, *_OF_THE_RUN, *_OF_THE_DEVICE}

Claim = tuple[tuple[str, int | None, str], Any]
"""A statement of a line: run, device and property, and the value."""


def check_exported(lines: Iterable[bytes]) -> Iterator[IntegrityFinding | None]:
    """For each event of an export in JSON Lines, None, or what is wrong with it.

    Every event's hash covers its content, and names the event before it: where both are in the
    export, they have to fit. No hash covers the fields beside the content, copied from run and
    batch: they have to agree with the payloads that name them, and across lines. An export of
    one customer or period leaves events out, which is no fault; that it leaves out nothing else,
    only its signature says.
    """
    heads: dict[str, tuple[int, str]] = {}
    said: dict[tuple[str, int | None, str], Any] = {}
    for number, line in enumerate(lines, 1):
        try:
            event = read_json(line)
            yield _edit(event, heads) or _contradiction(event, said)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield IntegrityFinding(
                rule="unreadable-event", message=f"line {number} is no event ({error})"
            )


def _edit(event: Any, heads: dict[str, tuple[int, str]]) -> IntegrityFinding | None:
    run, n, payload = event["run"], event["n"], event["payload"]
    before, heads[run] = heads.get(run), (n, event["hash"])
    if set(event) != _PROPERTIES or event["schemaVersion"] != "1":
        return _finding(event, "foreign-property", "its properties are not those of an event")
    if chain.link(event, event["payloadDigest"]) != event["hash"]:
        return _finding(event, "altered-event", "its hash is not that of its content")
    if payload is not None and _digest(payload) != event["payloadDigest"]:
        return _finding(event, "altered-payload", "its payload is not the one that was stored")
    if before is not None and n <= before[0]:
        return _finding(event, "out-of-order", f"it comes after event {before[0]}")
    if before is not None and n == before[0] + 1 and event["previous"] != before[1]:
        return _finding(event, "broken-chain", "it does not follow the one before it")
    return None


def _contradiction(
    event: Any, said: dict[tuple[str, int | None, str], Any]
) -> IntegrityFinding | None:
    for place, value in (*_hashed_claims(event), *_copied_claims(event)):
        if said.setdefault(place, value) != value:
            return _finding(event, "altered-copy", f"its {place[2]} differs from other lines")
    return None


def _copied_claims(event: Any) -> Iterator[Claim]:
    for name in _OF_THE_RUN:
        yield (event["run"], None, name), event[name]
    for name in _OF_THE_DEVICE:
        if event[name] is not None:  # an export of an unfinished run may not know it yet
            yield (event["run"], event["device"], name), _trimmed(event[name])


def _hashed_claims(event: Any) -> Iterator[Claim]:
    """Yield the payloads' own claims; none if they were purged."""
    run, payload = event["run"], event["payload"]
    if payload is None:
        return
    if event["kind"] == "created":
        for name in _OF_THE_RUN:
            yield (run, None, name), codec.index_text(payload[name])
    if event["kind"] == "resolved" and payload["customer"] is not None:
        yield (run, event["device"], "customer"), codec.index_text(payload["customer"])
    if _is_matched(event, payload):
        for name in ("serialNumber", "productKeyId"):
            if payload["found"].get(name):
                yield (run, event["device"], name), _trimmed(payload["found"][name])


def _is_matched(event: Any, payload: Any) -> bool:
    """Whether a service showed the very device that the batch names."""
    is_removable = event["kind"] == "resolved" and payload["outcome"] == Outcome.PENDING.value
    return (
        is_removable
        and event["channel"] == ChannelName.PARTNER_CENTER.value
        and bool(payload.get("found"))
    )


def _trimmed(value: Any) -> Any:
    """As identifiers are compared."""
    return (codec.index_text(value) or "").strip() if isinstance(value, str) else value


def _finding(event: Any, rule: str, what: str) -> IntegrityFinding:
    run, n = event["run"], event["n"]
    return IntegrityFinding(rule=rule, run=RunId(run), n=n, message=f"run {run}, event {n}: {what}")


def _digest(payload: Any) -> str:
    return chain.payload_digest(codec.json_text(payload))
