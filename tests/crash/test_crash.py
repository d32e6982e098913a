"""A command that was killed anywhere converges: nothing unlisted, nothing twice, nothing lost."""

from __future__ import annotations

import random
import sys

import pytest

from tests.crash.crash_points import choose, points_of, try_point
from tests.crash.ledgers import TRIALS
from tests.crash.scenarios import SCENARIOS

pytestmark = pytest.mark.slow

KILLS = 4

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")


@posix_only
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_command_killed_at_any_point_converges(scenario: str) -> None:
    total = len(points_of(scenario))
    generator = random.Random(7)  # noqa: S311 - chooses test cases
    trials = [
        try_point(scenario, point, again_at=generator.choice([None, generator.randint(1, total)]))
        for point in choose(total, -(-total // KILLS), generator)
    ]

    assert [trial for trial in trials if trial.wrong] == []


@posix_only
@pytest.mark.parametrize("name", TRIALS)
def test_every_damage_to_a_ledger_converges_or_is_reported(name: str) -> None:
    generator = random.Random(7)  # noqa: S311 - chooses test cases

    assert list(TRIALS[name](generator)) == []
