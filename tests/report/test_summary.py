"""The partner's own page over many runs: the numbers, the drawings, and nothing that runs."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import Outcome, RunState
from partner_tools.outstanding.types import Status
from partner_tools.report.summary import spans
from partner_tools.runs.follow_up import follow_ups, open_devices
from partner_tools.runs.totals import summarize, write_totals
from tests.report.many_runs import TENANT, fill, run

AT = datetime(2026, 4, 17, 12, tzinfo=UTC)
NAMES = ("Contoso $a$", "Fabrikam <script>alert(1)</script>")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    opened = Ledger.open(sqlite_url(tmp_path_factory.mktemp("many") / "ledger.db"))
    fill(opened, AT, names=NAMES, days=20, a_day=8)
    return opened


def test_the_numbers_are_those_of_the_ledger(ledger: Ledger) -> None:
    summary = summarize(ledger, AT)
    histories = [one.history for each in ledger.runs() for one in ledger.devices(each.run)]

    assert summary.runs == len(ledger.runs())
    assert summary.customers == 2
    assert sum(summary.outcomes.values()) == summary.devices == len(histories)
    assert sum(summary.removed.values()) == summary.outcomes[Outcome.REMOVED]
    assert summary.outcomes[Outcome.REMOVED] == sum(
        each.outcome is Outcome.REMOVED for each in histories
    )
    waiting = {each.name: each.statuses for each in follow_ups(ledger, open_devices(ledger, AT))}
    for each in summary.left:
        assert sum(each.by_age) == sum(
            number for status, number in waiting[each.name].items() if status is not Status.EXPECTED
        )


def test_a_customer_and_a_time_can_be_chosen(ledger: Ledger) -> None:
    one = summarize(ledger, AT, customer=TENANT.format(0))
    late = summarize(ledger, AT, since=AT - timedelta(days=3))
    never = summarize(ledger, AT, until=AT - timedelta(days=300))

    assert (one.customers, len(one.left)) == (1, 1)
    assert 0 < late.runs < summarize(ledger, AT).runs
    assert (never.runs, never.devices, never.left) == (0, 0, [])


def test_steps_are_counted_by_age(tmp_path: Path) -> None:
    with Ledger.open(sqlite_url(tmp_path / "ledger.db")) as opened:
        for number, days in enumerate((1, 20, 60, 200)):
            run(opened, AT - timedelta(days=days), TENANT.format(0), "C", ["removed"], batch=number)

        (only,) = summarize(opened, AT).left

    assert len(set(only.by_age)) == 1
    assert only.by_age[0] > 0


def test_the_page_loads_nothing_and_runs_nothing(ledger: Ledger, tmp_path: Path) -> None:
    path = write_totals(ledger, tmp_path, AT)
    page = path.read_text(encoding="utf-8")
    ledger_outcomes = summarize(ledger, AT).outcomes

    assert path.name == "summary-20260417.html"
    assert "<script" not in page
    assert " style=" not in page  # the content security policy would drop it
    assert "@import" not in page and "url(http" not in page
    assert not re.findall(r'\b(?:src|href)="(?!#)', page)
    assert page.count('<svg class="columns" role="img"') == 1
    assert page.count('<div class="bar">') == len(ledger_outcomes) + len(NAMES)
    assert "Contoso $a$" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_an_empty_ledger_has_a_page_too(tmp_path: Path) -> None:
    with Ledger.open(sqlite_url(tmp_path / "ledger.db")) as opened:
        path = write_totals(opened, tmp_path, AT, since=AT)

    page = path.read_text(encoding="utf-8")
    assert "Nothing was removed in this time." in page
    assert "Runs since 2026-04-17" in page


def test_every_bar_is_as_long_as_its_number(ledger: Ledger, tmp_path: Path) -> None:
    page = write_totals(ledger, tmp_path, AT).read_text("utf-8")
    outcomes = summarize(ledger, AT).outcomes

    for outcome, number in outcomes.items():
        width = round(100 * number / max(outcomes.values()), 2)
        shown = page.split(f"<bdi>{outcome.value}</bdi>", 1)[1]
        assert f'x="0%" width="{width}%"' in shown.split("</svg>", 1)[0]
        assert f"<span>{number}</span>" in shown.split("</dd>", 1)[0]


@pytest.mark.parametrize(
    ("days", "unit", "bars"),
    [(1, "day", 1), (92, "day", 92), (93, "week", 14), (800, "30 days", 27)],
)
def test_long_times_are_put_together(days: int, unit: str, bars: int) -> None:
    first = date(2026, 1, 1)
    removed = {first: 2, first + timedelta(days=days - 1): 3} if days > 1 else {first: 5}

    said, counted = spans(removed)

    assert (said, len(counted), sum(number for _, number in counted)) == (unit, bars, 5)


def test_the_page_lists_each_run_with_its_source_and_what_is_open(
    ledger: Ledger, tmp_path: Path
) -> None:
    summary = summarize(ledger, AT)
    page = write_totals(ledger, tmp_path, AT).read_text(encoding="utf-8")

    assert [each["run"] for each in summary.listed] == [each.run for each in ledger.runs()]
    opened = sum(int(each["devices with open steps"]) for each in summary.listed)
    assert opened == len(open_devices(ledger, AT)) > 0
    newest = ledger.runs()[0]
    assert f"<bdi>{newest.run}</bdi>" in page
    assert f"<bdi>{newest.created_at:%Y-%m-%d %H:%M} " in page
    assert "<bdi>retired.csv" in page


def test_a_preview_is_no_run_of_the_summary(tmp_path: Path) -> None:
    with Ledger.open(sqlite_url(tmp_path / "ledger.db")) as opened:
        run(opened, AT, TENANT.format(0), "C", ["removed"], batch=1)
        run(opened, AT, TENANT.format(0), "C", ["removed"], batch=2, is_preview=True)

        assert {each.state for each in opened.runs()} == {RunState.FINISHED, RunState.DRY_RUN}
        summary = summarize(opened, AT)

    assert (summary.runs, summary.devices, dict(summary.outcomes)) == (1, 1, {Outcome.REMOVED: 1})
