"""Kills commands at points spread over their whole life, finishes them, and judges what became.

    python -m tests.crash.crash_points [--every N] [--only NAME …] [--seed N] [--workers N]

is a part of `make crash`; the tests run a seeded sample. Every trial has a fresh sandbox, so that
its log is the whole truth: which devices are gone, how often each was asked for, and that nothing
was that the batch did not list.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.crash.processes import Done
from tests.crash.scenarios import SCENARIOS, World, opened

ATTEMPTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kill, and maybe a second one while it was finished. `wrong` is empty if all is well."""

    scenario: str
    point: int
    again_at: int | None = None
    wrong: tuple[str, ...] = ()


def points_of(scenario: str) -> tuple[str, ...]:
    """The points that an undisturbed command passes, by what happens there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(SCENARIOS[scenario], Path(folder)) as world,
    ):
        done = world.program(*SCENARIOS[scenario].command(world), count=True)
        if done.exit_code != SCENARIOS[scenario].finished:
            raise RuntimeError(f"{scenario}: exit {done.exit_code}: {done.stderr}")
        return done.points


def try_point(scenario: str, point: int, *, again_at: int | None = None) -> Trial:
    """Kill a command at a point, finish it, and judge the outcome.

    With `again_at` the first command that is to finish it is killed as well.
    """
    try:
        wrong = tuple(_kill(scenario, point, again_at))
    except TimeoutError as error:
        wrong = (str(error),)
    return Trial(scenario=scenario, point=point, again_at=again_at, wrong=wrong)


def _kill(scenario: str, point: int, again_at: int | None) -> Iterator[str]:
    chosen = SCENARIOS[scenario]
    with tempfile.TemporaryDirectory() as folder, opened(chosen, Path(folder)) as world:
        done = world.program(*chosen.command(world), kill_at=point)
        kills = [again_at] if again_at else []
        for attempt in range(ATTEMPTS):
            if done.exit_code == chosen.finished:
                break
            kill_at = kills[attempt] if attempt < len(kills) else None
            done = world.program(*chosen.finish(world), kill_at=kill_at)
        yield from _wrong(scenario, world, done)


def _wrong(scenario: str, world: World, done: Done) -> Iterable[str]:
    chosen = SCENARIOS[scenario]
    if done.exit_code != chosen.finished:
        yield f"did not converge: exit {done.exit_code}: {done.stderr[-400:]}"
        return
    yield from chosen.wrong(world, done)


def choose(total: int, every: int, generator: random.Random) -> Sequence[int]:
    """One point out of each `every`, drawn evenly; all of them where `every` is 1."""
    starts = range(1, total + 1, every)
    return [min(total, start + generator.randrange(every)) for start in starts]


def run_trials(
    scenario: str, points: Iterable[int], total: int, seed: int, workers: int = 2
) -> Iterator[Trial]:
    """Every trial in order, a third of them with a second kill while it is finished."""
    generator = random.Random(seed)  # noqa: S311 - chooses test cases
    cases = [
        (point, generator.choice([None, None, generator.randint(1, total)])) for point in points
    ]
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda case: try_point(scenario, case[0], again_at=case[1]), cases)


def main() -> None:
    """Run the matrix and say what did not converge; exits with 1 where something did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="one point of so many")
    parser.add_argument("--only", nargs="*", choices=sorted(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="so many trials at a time")
    given = parser.parse_args()
    failed = sum(
        _run_scenario(scenario, given.every, given.seed, given.workers) for scenario in given.only
    )
    sys.exit(1 if failed else 0)


def _run_scenario(scenario: str, every: int, seed: int, workers: int) -> int:
    """Print what did not converge, as it is found, and the sum; the number of those."""
    began, total = time.monotonic(), len(points_of(scenario))
    points = choose(total, every, random.Random(seed))  # noqa: S311 - chooses test cases
    bad = 0
    for trial in run_trials(scenario, points, total, seed, workers):
        if trial.wrong:
            bad += 1
            wrong = "; ".join(trial.wrong)
            print(f"{scenario}, point {trial.point}, then {trial.again_at}: {wrong}", flush=True)
        if trial.point % 50 == 0:
            print(f"{scenario}: at point {trial.point} of {total}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{scenario}: {len(points)} kills among {total} points, {bad} did not converge "
        f"({seconds:.0f} s, {seconds / len(points):.2f} s a trial)",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    main()
