"""Writes the partner's own page over many runs."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from partner_tools.report.mail import name_of
from partner_tools.report.summary import Left, SummaryFacts, write_summary
from partner_tools.runs.totals import AGES, Summary, summarize

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger

AGE_NAMES = (
    f"up to {AGES[0]} days",
    *(f"{low + 1} to {high} days" for low, high in pairwise(AGES)),
    f"more than {AGES[-1]} days",
)


def write(
    ledger: Ledger,
    folder: Path,
    at: datetime,
    *,
    since: datetime | None,
    until: datetime | None,
    customer: str | None,
) -> Path:
    """Write `summary-<day>.html` into the folder, private to the user; where it is."""
    from partner_tools.files import writing

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
            Left(name=name_of(each.chase.customer), devices=each.chase.devices, by_age=each.by_age)
            for each in summary.open
            if any(each.by_age)
        ],
    )


def _period(summary: Summary) -> str:
    since = f" since {summary.since:%Y-%m-%d}" if summary.since else ""
    until = f" until {summary.until:%Y-%m-%d}" if summary.until else ""
    return f"Runs{since}{until}" if since or until else "All runs"
