"""Sums up many runs on a page for the partner: removals, other outcomes, steps that are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

from partner_tools.errors import DamagedRunError
from partner_tools.files import writing
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import PARTNER_CHANNELS, Outcome, RunState
from partner_tools.outstanding import Status
from partner_tools.report.summary import Left, SummaryFacts, write_summary
from partner_tools.report.texts import name_of
from partner_tools.runs.follow_up import FollowUp, OpenDevice, follow_ups, open_devices

AGES = (7, 30, 90)
"""Up to how many days steps are open, by which they are put together; older ones come last."""
AGE_NAMES = (
    f"up to {AGES[0]} days",
    *(f"{low + 1} to {high} days" for low, high in pairwise(AGES)),
    f"more than {AGES[-1]} days",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAt:
    """One customer's open steps: the number in each age."""

    follow_up: FollowUp
    by_age: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Runs of a stretch of time. `removed` counts by UTC day; `outcomes` has those that occur."""

    at: datetime
    since: datetime | None
    until: datetime | None
    runs: int
    devices: int
    customers: int
    removed: Mapping[date, int]
    outcomes: Mapping[Outcome, int]
    open: tuple[OpenAt, ...]


def summarize(
    ledger: Ledger,
    at: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    customer: str | None = None,
) -> Summary:
    """Sum up the runs that began from `since` until before `until`, of one customer or of all."""
    records, devices = [], []
    for record in ledger.runs(since=since, until=until, customer=customer):
        if record.channel not in PARTNER_CHANNELS or record.state is RunState.DAMAGED:
            continue
        with suppress(DamagedRunError):  # `runs` and `verify --outstanding` name it
            devices += [
                each.history
                for each in ledger.devices(record.run)
                if customer in (None, each.history.customer)
            ]
            records.append(record)
    wanted = {record.run for record in records}
    left = [
        each
        for each in open_devices(ledger, at, since=since, customer=customer)
        if each.run.run in wanted
    ]
    return Summary(
        at=at,
        since=since,
        until=until,
        runs=len(records),
        devices=len(devices),
        customers=_customers(records) if customer is None else 1,
        removed=Counter(
            each.settled_at.date()
            for each in devices
            if each.outcome is Outcome.REMOVED and each.settled_at is not None
        ),
        outcomes=Counter(each.outcome for each in devices),
        open=_open(ledger, left, at),
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
    summary = summarize(ledger, at, since=since, until=until, customer=customer)
    path = folder / f"summary-{at:%Y%m%d}.html"
    with writing(path) as stream:
        write_summary(_facts(summary), stream)
    return path


def _facts(summary: Summary) -> SummaryFacts:
    return SummaryFacts(
        at=summary.at,
        period=_period(summary),
        runs=summary.runs,
        devices=summary.devices,
        customers=summary.customers,
        removed=summary.removed,
        outcomes=summary.outcomes,
        ages=AGE_NAMES,
        left=[
            Left(
                name=name_of(each.follow_up.customer),
                devices=each.follow_up.devices,
                by_age=each.by_age,
            )
            for each in summary.open
            if any(each.by_age)
        ],
    )


def _period(summary: Summary) -> str:
    since = f" since {summary.since:%Y-%m-%d}" if summary.since else ""
    until = f" until {summary.until:%Y-%m-%d}" if summary.until else ""
    return f"Runs{since}{until}" if since or until else "All runs"


def _customers(records: Iterable[RunRecord]) -> int:
    return len({tenant for record in records for tenant in record.customers})


def _open(ledger: Ledger, left: Iterable[OpenDevice], at: datetime) -> tuple[OpenAt, ...]:
    by_tenant: dict[str | None, list[OpenDevice]] = {}
    for each in left:
        by_tenant.setdefault(each.device.history.customer, []).append(each)
    found = [
        OpenAt(follow_up=follow_up, by_age=_by_age(group, at))
        for group in by_tenant.values()
        for follow_up in follow_ups(ledger, group)
    ]
    return tuple(sorted(found, key=lambda one: -sum(one.by_age)))


def _by_age(group: Iterable[OpenDevice], at: datetime) -> tuple[int, ...]:
    """Steps to do or to look at, by how long ago their device settled."""
    counts = [0] * (len(AGES) + 1)
    for each in group:
        days = (at - (each.device.history.settled_at or each.run.created_at)).days
        age = sum(days > limit for limit in AGES)
        counts[age] += sum(step.status is not Status.EXPECTED for step in each.steps)
    return tuple(counts)
