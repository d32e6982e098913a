"""The audit trail as rows: who did what to which device, when, and the chain that proves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, and_, or_, select

from partner_tools.ledger.database import Database
from partner_tools.ledger.reading import between, in_pages
from partner_tools.ledger.tables import devices, events, run_customers, runs
from partner_tools.model import RunId

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
