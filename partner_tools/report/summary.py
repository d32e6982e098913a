"""The partner's own page over many runs: numbers, three charts, and the tables behind them.

Self-contained: no network, no script. What the charts show stands in a table below each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import BinaryIO

from partner_tools.model import Outcome
from partner_tools.report.charts import SERIES, Bars, columns, rows
from partner_tools.report.page import environment, policy, text

CUSTOMERS_DRAWN = 12
SPANS = ((92, 1, "day"), (730, 7, "week"), (36_500, 30, "30 days"))
"""Up to so many days apart, so many days make one bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What one customer has left to do: steps by age, newest first, and in how many devices."""

    name: str
    devices: int
    by_age: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryFacts:
    """What the page shows. `ages` names the ages; `period` says over which runs, in words."""

    at: datetime
    period: str
    runs: int
    devices: int
    customers: int
    removed: Mapping[date, int]
    outcomes: Mapping[Outcome, int]
    ages: Sequence[str]
    left: Sequence[Left]


def write_summary(facts: SummaryFacts, stream: BinaryIO) -> None:
    """The page, in UTF-8. Raises InputError where matplotlib is not installed."""
    style = text("summary.css")
    unit, removed = spans(facts.removed)
    page = environment().get_template("summary.html")
    content = page.render(
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
        charts=_charts(facts, unit, removed),
        swatches=list(zip(SERIES, facts.ages, strict=True)),
        style=style,
        policy=policy(style),
    )
    stream.write(content.encode("utf-8", "replace"))


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


def _charts(
    facts: SummaryFacts, unit: str, removed: Sequence[tuple[date, int]]
) -> dict[str, str | None]:
    outcomes = [outcome for outcome in Outcome if facts.outcomes.get(outcome)]
    left = facts.left[:CUSTOMERS_DRAWN]
    return {
        "removed": columns(
            Bars(
                title=f"Devices removed per {unit}",
                labels=[
                    f"{day:%d %b}" if unit == "day" else f"{day:%d %b %y}" for day, _ in removed
                ],
                series=[[number for _, number in removed]],
            )
        )
        if removed
        else None,
        "outcomes": rows(
            Bars(
                title="Devices by outcome",
                labels=[outcome.value for outcome in outcomes],
                series=[[facts.outcomes[outcome] for outcome in outcomes]],
            )
        )
        if outcomes
        else None,
        "left": rows(
            Bars(
                title="Steps left to do, by customer and age",
                labels=[each.name for each in left],
                series=[[each.by_age[age] for each in left] for age in range(len(facts.ages))],
                names=list(facts.ages),
            )
        )
        if left
        else None,
    }


def _oldest(facts: SummaryFacts) -> str | None:
    """The oldest age in which anything is left."""
    present = [
        age
        for place, age in enumerate(facts.ages)
        if any(each.by_age[place] for each in facts.left)
    ]
    return present[-1] if present else None
