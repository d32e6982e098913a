"""A ledger with many runs, as a partner has it after some months."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger, RunStart, new_run_id
from partner_tools.model import ChannelName, Device, Identity, RunId

TENANT = "00000000-0000-4000-8000-{:012}"


def fill(ledger: Ledger, until: datetime, *, names: Sequence[str], days: int, a_day: int) -> None:
    """A run on every weekday up to `until`, of one customer after the other."""
    for back in range(days, 0, -1):
        at = until - timedelta(days=back)
        if at.weekday() < 5:
            number = back % len(names)
            outcomes = [
                ["removed", "removed", "removed", "removed", "not-found", "refused"][place % 6]
                for place in range(1 + (back * 7) % a_day)
            ]
            run(ledger, at, TENANT.format(number), names[number], outcomes, batch=back)


def run(
    ledger: Ledger,
    at: datetime,
    tenant: str,
    name: str,
    outcomes: Sequence[str],
    *,
    batch: int,
    is_preview: bool = False,
) -> RunId:
    """A finished run whose devices have these outcomes, or one that only looked."""
    named = new_run_id(at, batch.to_bytes(3, "big"))
    devices = [
        Device(row=row, identity=Identity(serial_number=f"S-{batch}-{row}"))
        for row in range(2, len(outcomes) + 2)
    ]
    ledger.create_run(
        RunStart(
            run=named,
            channel=ChannelName.PARTNER_CENTER,
            batch_id=f"batch-{batch}",
            batch_digest=f"sha256:{batch:064x}",
            file="retired.csv",
            at=at,
            settings={"dryRun": is_preview},
        ),
        devices,
    )
    known = {"tenantId": tenant, "domain": f"t{tenant[-3:]}.example", "name": name}
    digest = f"sha256:{batch:064x}"
    planned = [
        _event(
            named,
            Kind.RESOLVED,
            at,
            index,
            customer=tenant,
            outcome="pending" if each == "removed" else each,
        )
        for index, each in enumerate(outcomes)
    ]
    ledger.save_plan(
        named,
        json.dumps({"customers": [known], "digest": digest}),
        digest,
        [*planned, _event(named, Kind.PLANNED, at, None, digest=digest, counts={})],
    )
    if not is_preview:
        ledger.record(list(_removals(named, at, outcomes)))
    return named


def _removals(named: RunId, at: datetime, outcomes: Sequence[str]) -> Iterator[Event]:
    yield _event(named, Kind.CONFIRMED, at, None, removals=len(outcomes), asked=False)
    yield _event(named, Kind.STARTED, at, None)
    for index, each in enumerate(outcomes):
        if each == "removed":
            ids = {"requestId": f"r-{index}", "correlationId": "c"}
            yield _event(named, Kind.INTENDED, at, index, **ids)
            yield _event(named, Kind.ANSWERED, at, index, outcome="removed", status=204, **ids)
    yield _event(named, Kind.FINISHED, at, None)


def _event(named: RunId, kind: Kind, at: datetime, device: int | None, **payload: Any) -> Event:
    return Event(run=named, kind=kind, at=at, device=device, payload=payload)
