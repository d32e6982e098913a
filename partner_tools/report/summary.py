"""The partner's own page over many runs: numbers, three charts, and the tables behind them.

Self-contained: no network, no script. The template draws the bars as inline SVG in percentages of
the space that there is, and a table below each chart holds its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, BinaryIO

from partner_tools.model import Outcome
from partner_tools.report.page import rendered

CUSTOMERS_DRAWN = 12
RUNS_LISTED = 500
"""The newest ones; `partner-tools runs` lists all."""
SPANS = ((92, 1, "day"), (730, 7, "week"), (36_500, 30, "30 days"))
"""The longest time in days that is drawn with bars of this many days each, and their name."""
LEAST_COLUMNS = 9
"""A chart of fewer days leaves room beside them: one day is a bar, not a wall."""
LABELLED_COLUMNS = 5
"""Dates written below the bars: more would touch on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """One customer's remaining work: steps by age, newest first, and the number of devices."""

    name: str
    devices: int
    by_age: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryFacts:
    """The content of the page. `ages` names the ages; `period` says over which runs, in words."""

    at: datetime
    period: str
    runs: int
    devices: int
    customers: int
    removed: Mapping[date, int]
    outcomes: Mapping[Outcome, int]
    ages: Sequence[str]
    left: Sequence[Left]
    listed: Sequence[Mapping[str, str | int]]
    """The runs, newest first: what the page shows of each, under the name of its column."""


def write_summary(facts: SummaryFacts, stream: BinaryIO) -> None:
    """The page, in UTF-8."""
    unit, removed = spans(facts.removed)
    content = rendered(
        "summary",
        facts=facts,
        unit=unit,
        removed=removed,
        outcomes=[
            (outcome.value, facts.outcomes.get(outcome, 0))
            for outcome in Outcome
            if facts.outcomes.get(outcome)
        ],
        steps=sum(sum(each.by_age) for each in facts.left),
        oldest=_oldest(facts),
        columns=_columns(unit, removed),
        most=max(facts.outcomes.values(), default=0),
        most_left=max((sum(each.by_age) for each in facts.left), default=0),
        drawn=facts.left[:CUSTOMERS_DRAWN],
        listed=facts.listed[:RUNS_LISTED],
    )
    stream.write(content)


def spans(removed: Mapping[date, int]) -> tuple[str, list[tuple[date, int]]]:
    """Days without a gap, or weeks or longer where that would be too many; and what one is."""
    if not removed:
        return "day", []
    first, last = min(removed), max(removed)
    apart = (last - first).days + 1
    length, unit = next((days, unit) for limit, days, unit in SPANS if apart <= limit)
    starts = [first + timedelta(days=offset) for offset in range(0, apart, length)]
    counted = [
        (start, sum(number for day, number in removed.items() if 0 <= (day - start).days < length))
        for start in starts
    ]
    return unit, counted


def _columns(unit: str, removed: Sequence[tuple[date, int]]) -> list[dict[str, Any]]:
    """Where each bar of the days is drawn, in percent of the chart; some carry their date."""
    width = 100 / max(LEAST_COLUMNS, len(removed))
    aside = (100 - width * len(removed)) / 2
    highest = max((number for _, number in removed), default=1)
    step = -(-len(removed) // LABELLED_COLUMNS)
    return [
        {
            "x": aside + place * width,
            "width": width,
            "height": 100 * number / highest,
            "number": number if number == highest or len(removed) <= LEAST_COLUMNS else None,
            "label": (f"{day:%d %b}" if unit == "day" else f"{day:%d %b %y}")
            if place % step == 0
            else None,
        }
        for place, (day, number) in enumerate(removed)
    ]


def _oldest(facts: SummaryFacts) -> str | None:
    """The oldest age in which anything is left."""
    present = [
        age
        for place, age in enumerate(facts.ages)
        if any(each.by_age[place] for each in facts.left)
    ]
    return present[-1] if present else None
