"""Sums up many runs on a page for the partner: removals, other outcomes, steps that are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from partner_tools.errors import DamagedRunError
from partner_tools.files import writing
from partner_tools.ledger import Ledger
from partner_tools.model import PARTNER_CHANNELS, Outcome, RunState
from partner_tools.outstanding.types import Status
from partner_tools.report.summary import Left, SummaryFacts, write_summary
from partner_tools.runs.follow_up import OpenDevice, follow_ups, open_devices
from partner_tools.runs.known_customers import customers_by_run

AGES = (7, 30, 90)
"""Up to how many days steps are open, by which they are put together; older ones come last."""
_NOT_COUNTED = (RunState.DAMAGED, RunState.PLANNED, RunState.DRY_RUN)
"""Nothing became of the devices of a preview; `runs` names the damaged ones."""
AGE_NAMES = (
    f"up to {AGES[0]} days",
    *(f"{low + 1} to {high} days" for low, high in pairwise(AGES)),
    f"more than {AGES[-1]} days",
)


def summarize(
    ledger: Ledger,
    at: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    customer: str | None = None,
) -> SummaryFacts:
    """Sum up the runs that began from `since` until before `until`, of one customer or of all."""
    records, devices = [], []
    for record in ledger.runs(since=since, until=until, customer=customer):
        if record.channel not in PARTNER_CHANNELS or record.state in _NOT_COUNTED:
            continue
        with suppress(DamagedRunError):  # `runs` and `verify --outstanding` name it
            devices += [
                each.history
                for each in ledger.devices(record.run)
                if customer in (None, each.history.customer)
            ]
            records.append(record)
    wanted = {record.run for record in records}
    by_tenant: dict[str | None, list[OpenDevice]] = {}
    for one in open_devices(ledger, at, since=since, customer=customer):
        if one.run.run in wanted:
            by_tenant.setdefault(one.device.history.customer, []).append(one)
    left = [
        Left(name=follow_up.name, devices=follow_up.devices, by_age=_by_age(group, at))
        for group in by_tenant.values()
        for follow_up in follow_ups(ledger, group)
    ]
    opened = Counter(one.run.run for group in by_tenant.values() for one in group)
    customers = customers_by_run(ledger, records)
    tenants = {tenant for record in records for tenant in record.customers}
    return SummaryFacts(
        at=at,
        period=_period(since, until),
        runs=len(records),
        devices=len(devices),
        customers=len(tenants) if customer is None else 1,
        removed=Counter(
            each.settled_at.date()
            for each in devices
            if each.outcome is Outcome.REMOVED and each.settled_at is not None
        ),
        outcomes=Counter(each.outcome for each in devices),
        ages=AGE_NAMES,
        left=sorted(
            (each for each in left if any(each.by_age)), key=lambda each: -sum(each.by_age)
        ),
        listed=[
            {
                "run": record.run,
                "started (UTC), account": f"{record.created_at:%F %H:%M} {record.actor or ''}",
                "customer": ", ".join(
                    each.domain or each.tenant_id for each in customers[record.run]
                ),
                "list, reference": f"{Path(record.file).name} {record.reference or ''}",
                "state, outcomes": ", ".join(
                    (record.state, *(f"{number} {name}" for name, number in record.counts.items()))
                ),
                "devices with open steps": opened[record.run],
            }
            for record in records
        ],
    )


def write_totals(
    ledger: Ledger,
    folder: Path,
    at: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    customer: str | None = None,
) -> Path:
    """Write `summary-<day>.html` into the folder, private to the user; where it is."""
    facts = summarize(ledger, at, since=since, until=until, customer=customer)
    path = folder / f"summary-{at:%Y%m%d}.html"
    with writing(path) as stream:
        write_summary(facts, stream)
    return path


def _period(since: datetime | None, until: datetime | None) -> str:
    first = f" since {since:%Y-%m-%d}" if since else ""
    last = f" until {until:%Y-%m-%d}" if until else ""
    return f"Runs{first}{last}" if first or last else "All runs"


def _by_age(group: Iterable[OpenDevice], at: datetime) -> tuple[int, ...]:
    """Steps to do or to look at, by how long ago their device settled."""
    counts = [0] * (len(AGES) + 1)
    for each in group:
        days = (at - (each.device.history.settled_at or each.run.created_at)).days
        age = sum(days > limit for limit in AGES)
        counts[age] += sum(step.status is not Status.EXPECTED for step in each.steps)
    return tuple(counts)
