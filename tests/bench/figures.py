"""What every benchmark gives: figures as values, each with its baseline, its goal and its spread.

A benchmark is a module with `measure(quick)`, which yields `Part`s. `python -m tests.bench` runs
them and writes `docs/benchmarks.json`, of which `docs/benchmarks.md` is made. `quick` is for the
mechanism: small, and of no meaning in time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a value, or its ratio to the baseline, has to reach; `why` says what forbids more."""

    bound: float
    at_most: bool = False
    of_ratio: bool = True
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing measured in this run: the values of all rounds, and those of what it is held to.

    `ratios` are of rounds that were measured in turns, else empty.
    """

    what: str
    unit: str
    values: Sequence[float]
    baseline: str | None = None
    against: Sequence[float] = ()
    ratios: Sequence[float] = ()
    goal: Goal | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median of the pairs, else the quotient of the medians."""
        if self.ratios:
            return statistics.median(self.ratios)
        return self.value / statistics.median(self.against) if self.against else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        reached = self.ratio if self.goal.of_ratio else self.value
        if reached is None:
            raise ValueError(f"{self.what}: a goal for a ratio, and no baseline")
        return reached <= self.goal.bound if self.goal.at_most else reached >= self.goal.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Details beneath the figures."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What belongs together: a title, how it was measured, the figures and the details."""

    title: str
    how: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = field(default=())


def document(part: Part) -> dict[str, Any]:
    """A part as JSON."""
    content = asdict(part)
    for told, figure in zip(content["figures"], part.figures, strict=True):
        told |= {"value": figure.value, "ratio": figure.ratio, "holds": figure.holds}
    return content


def seconds(action: Callable[[], object]) -> float:
    """How long it takes, in wall time."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(forms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every form measured once in each round, so that a busy minute falls on all of them."""
    found: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, take in forms.items():
            found[name].append(take())
    return found


def pairs(values: Sequence[float], against: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [value / other for value, other in zip(values, against, strict=True)]


def run_python(*arguments: str) -> str:
    """What a process of its own prints, with this interpreter. Raises where it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout
