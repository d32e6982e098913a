"""A run that was killed anywhere converges: nothing unlisted, nothing twice."""

from __future__ import annotations

import sys

import pytest

from tests.crash.crash_points import choose, count_points, run_trials

POINTS = 30


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
def test_a_run_killed_at_any_point_converges() -> None:
    trials = run_trials(choose(count_points(), POINTS, seed=7), seed=7)

    assert [trial for trial in trials if trial.faults] == []
