"""Exports, checks an export, purges and migrates the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from partner_tools.errors import LedgerError
from partner_tools.ledger import chain, codec
from partner_tools.ledger.database import Database
from partner_tools.ledger.queries import between, in_pages
from partner_tools.ledger.records import IntegrityFinding
from partner_tools.ledger.tables import devices, events, metadata, plans, run_customers, runs
from partner_tools.model import ENDED, ChannelName, Outcome, RunId, RunState
from partner_tools.strict_json import read_json

SCHEMA_VERSION = "1"


def exported_events(
    database: Database,
    *,
    run: RunId | None,
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Mapping[str, Any]]:
    """The events as JSON objects by `schemas/event.schema.json`, run by run, in their order.

    With a customer: the events of the customer's devices, and those of the runs that have any. A
    payload that names other customers is left out then; its digest proves it all the same.
    """
    query = _of_customer(customer) if customer is not None else _with_device()
    if run is not None:
        query = query.where(events.c.run == run)
    query = between(query, events.c.at, since, until)
    found = in_pages(database, query, events.c.run, events.c.n)
    return (_exported(row, _payload(row, customer)) for row in found)


def _with_device() -> Select[Any]:
    of_device = and_(devices.c.run == events.c.run, devices.c.idx == events.c.device)
    return select(
        events,
        runs.c.channel,
        runs.c.batch_id,
        runs.c.actor,
        devices.c.row,
        devices.c.serial_number,
        devices.c.product_key_id,
        devices.c.customer,
    ).select_from(
        events.join(runs, runs.c.run == events.c.run).outerjoin(devices, of_device),
    )


def _of_customer(customer: str) -> Select[Any]:
    theirs = select(run_customers.c.run).where(run_customers.c.customer == customer)
    return _with_device().where(
        events.c.run.in_(theirs),
        or_(events.c.device.is_(None), devices.c.customer == customer),
    )


def _payload(row: RowMapping, reader: str | None) -> Any:
    payload = None if row["payload"] is None else json.loads(row["payload"])
    named = {each["tenantId"] for each in (payload or {}).get("customers", ())}
    return None if reader is not None and named - {reader} else payload


def _exported(row: RowMapping, payload: Any) -> Mapping[str, Any]:
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
        return _finding(event, "foreign-property", "it has other properties than an event")
    if chain.rehash(event, event["payloadDigest"]) != event["hash"]:
        return _finding(event, "altered-event", "its hash is not that of its content")
    if payload is not None and _digest(payload) != event["payloadDigest"]:
        return _finding(event, "altered-payload", "its payload is not the one that was stored")
    if before is not None and n <= before[0]:
        return _finding(event, "out-of-order", f"it stands behind event {before[0]}")
    if before is not None and n == before[0] + 1 and event["previous"] != before[1]:
        return _finding(event, "broken-chain", "it does not follow the one before it")
    return None


def _contradiction(
    event: Any, said: dict[tuple[str, int | None, str], Any]
) -> IntegrityFinding | None:
    for place, value in (*_hashed_claims(event), *_copied_claims(event)):
        if said.setdefault(place, value) != value:
            return _finding(event, "altered-copy", f"its {place[2]} is not what others say of it")
    return None


def _copied_claims(event: Any) -> Iterator[Claim]:
    for name in _OF_THE_RUN:
        yield (event["run"], None, name), event[name]
    for name in _OF_THE_DEVICE:
        if event[name] is not None:  # an export of an unfinished run may not know it yet
            yield (event["run"], event["device"], name), _trimmed(event[name])


def _hashed_claims(event: Any) -> Iterator[Claim]:
    """Yield the payloads' own claims; none where they were purged."""
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


_OVER = (*sorted(ENDED), RunState.CANCELLED.value)
_RUNS_AT_ONCE = 100


def purge_runs(connection: Connection, before: datetime, at: datetime) -> int:
    """Purge the runs that were over before the moment, and count them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # freed pages are overwritten too
    over = select(runs.c.run).where(
        runs.c.state.in_(_OVER),
        runs.c.finished_at < codec.moment_text(before),
        runs.c.purged_at.is_(None),
    )
    old = list(connection.execute(over.order_by(runs.c.run)).scalars())
    for start in range(0, len(old), _RUNS_AT_ONCE):
        portion = old[start : start + _RUNS_AT_ONCE]
        connection.execute(update(events).where(events.c.run.in_(portion)), {"payload": None})
        connection.execute(delete(plans).where(plans.c.run.in_(portion)))
        connection.execute(
            update(runs).where(runs.c.run.in_(portion)), {"purged_at": codec.moment_text(at)}
        )
    return len(old)


_ROWS_AT_ONCE = 1000


def copy_tables(source: Connection, target: Connection, place: str) -> None:
    """Copy all rows of all tables. Raises LedgerError where the target has runs already."""
    if target.execute(select(func.count()).select_from(runs)).scalar_one():
        raise LedgerError(
            f"the ledger {place} has runs already",
            remedy="migrate into an empty ledger",
            rule="ledger-not-empty",
        )
    for table in metadata.sorted_tables:
        rows = source.execute(select(table), execution_options={"yield_per": _ROWS_AT_ONCE})
        for portion in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in portion])
