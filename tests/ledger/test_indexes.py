"""Questions are answered by index: no answer takes longer because the ledger grew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import ChannelName, RunId, RunState

AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
RUN = RunId("20260417-101530-4f2a9c")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(sqlite_url(tmp_path_factory.mktemp("index") / "ledger.db")) as ledger:
        yield ledger


QUESTIONS = {
    "all runs": lambda ledger: ledger.runs(limit=20),
    "by customer": lambda ledger: ledger.runs(customer="c", limit=20),
    "by state": lambda ledger: ledger.runs(state=RunState.FINISHED, limit=20),
    "by batch": lambda ledger: ledger.runs(batch_id="b", channel=ChannelName.OEM_DIRECT),
    "by time": lambda ledger: ledger.runs(since=AT, until=AT),
    "by serial": lambda ledger: ledger.runs(serial="S1"),
    "one device": lambda ledger: list(ledger.devices(RUN)),
    "trace": lambda ledger: ledger.trace("S1"),
    "removed": lambda ledger: ledger.removed_since("c", AT),
    "events": lambda ledger: list(ledger.events(RUN)),
    "plan": lambda ledger: ledger.plan(RUN),
    "customers": lambda ledger: ledger.planned_customers([RUN]),
    "rate": lambda ledger: ledger.remembered_rate("s", "s"),
}


def steps(ledger: Ledger, question: Any) -> list[str]:
    """How SQLite goes about the statements that a question becomes."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    engine = ledger._database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        question(ledger)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with ledger._database.read() as connection:
        return [
            row[3]
            for statement, parameters in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(opened: Ledger, question: str) -> None:
    taken = steps(opened, QUESTIONS[question])
    assert taken
    whole = [step for step in taken if step.startswith("SCAN") and "USING" not in step]
    assert whole == []
    assert [step for step in taken if "TEMP B-TREE" in step and question == "all runs"] == []


def test_the_events_of_a_device_are_found_without_those_of_its_run(opened: Ledger) -> None:
    taken = steps(opened, QUESTIONS["trace"])
    assert "SEARCH events USING INDEX ix_events_run_device_n (run=? AND device=?)" in taken


def test_a_step_that_reads_a_whole_table_would_be_seen(opened: Ledger) -> None:
    with opened._database.read() as connection:
        row = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT file FROM runs").one()
    assert row[3].startswith("SCAN runs")
