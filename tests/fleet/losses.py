"""What a fleet lost of a limit, by cause, from what the service saw and what the ledger granted.

In each second a limit allows so many requests. What was not answered of them was not allowed by
the pace (it paused after a 429, or its rate was lower), not asked for by any worker, granted to
somebody who did not use it (a killed worker's, voided by a pause, or too late), or answered 429.
The causes add up to what was lost.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

SAMPLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How the shared pace stood: `wished` is how many permits workers waited for."""

    at: float
    rate: float
    paused_until: float
    issued: int
    wished: int
    starting: int
    """Workers that had been started less than so long ago that they have not worked yet."""


class Answer(NamedTuple):
    """One request that the service saw."""

    at: float
    throttled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Requests: what the limit allowed, what was answered, and what the rest was lost to."""

    allowed: float
    answered: int
    causes: dict[str, float]

    @property
    def goodput(self) -> float:
        """The share of the limit that was answered."""
        return self.answered / self.allowed if self.allowed else 0.0

    @property
    def of_asked(self) -> float:
        """The share of what was both allowed by the limit and asked for by workers."""
        asked = self.allowed - sum(
            lost for cause, lost in self.causes.items() if cause.startswith("nobody asked")
        )
        return self.answered / asked if asked else 0.0


def losses(
    limit: float,
    answers: Iterable[Answer],
    samples: Sequence[Sample],
    spans: Sequence[tuple[float, float]],
) -> Losses:
    """Account for each stretch between two samples that lies in one of the spans of time."""
    causes: defaultdict[str, float] = defaultdict(float)
    seen = sorted(answers)
    times = [each.at for each in seen]
    allowed, answered = 0.0, 0
    for one, two in itertools.pairwise(samples):
        if not any(first <= one.at and two.at <= last for first, last in spans):
            continue
        here = seen[bisect_right(times, one.at) : bisect_right(times, two.at)]
        throttled = sum(each.throttled for each in here)
        allowed += limit * (two.at - one.at)
        answered += len(here) - throttled
        for cause, lost in _causes(limit, one, two, len(here)):
            causes[cause] += lost
        causes["answered 429"] += throttled
    return Losses(allowed=allowed, answered=answered, causes=dict(causes))


def _causes(limit: float, one: Sample, two: Sample, arrived: int) -> Iterator[tuple[str, float]]:
    seconds = two.at - one.at
    paused = min(max(0.0, two.paused_until - one.at), seconds)
    rate = (one.rate + two.rate) / 2
    offered = rate * (seconds - paused)
    issued = two.issued - one.issued
    yield "paused after a 429", limit * paused
    yield "the rate was not the limit", (limit - rate) * (seconds - paused)
    if one.wished or two.wished:
        yield "asked for, not granted in time", offered - issued
    elif one.starting or two.starting:
        yield "nobody asked, workers were starting", offered - issued
    else:
        yield "nobody asked", offered - issued
    yield "granted, not used", issued - arrived


@contextmanager
def sampled(url: str, starting: Any, into: list[Sample]) -> Iterator[None]:
    """Read the shared pace all the while; `starting` says how many workers are not ready."""
    over = threading.Event()
    thread = threading.Thread(target=_sample, args=(url, starting, into, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sample(url: str, starting: Any, into: list[Sample], over: threading.Event) -> None:
    import psycopg

    while not over.is_set():
        with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(SAMPLE_SECONDS):
                row = connection.execute("SELECT text FROM paces WHERE text <> ''").fetchone()
                if row is not None:
                    into.append(_read(row[0], starting()))
        over.wait(SAMPLE_SECONDS)


def _read(text: str | bytes, starting: int) -> Sample:
    shared, at = json.loads(text), time.time()
    pace = shared["pace"]
    wishes = [
        count
        for *_, by_process in shared["turns"]
        for count, asked in by_process.values()
        if asked > at - 1.0
    ]
    return Sample(
        at=at,
        rate=pace["rate"],
        paused_until=pace["paused_until"],
        issued=pace["issued"],
        wished=sum(wishes),
        starting=starting,
    )
