"""Goodput against hidden limits, in virtual time: how much of what a service allows is used.

*Goodput* is the served requests as a share of min(limit, concurrency / latency). Compared, on the
same limits and seeds: one request at a time; five workers and 32 workers that each obey their own
Retry-After; the rate limiter, first cold and then with the rate that it had learned. The constants
of `partner_tools.pacing` were chosen on rates of 14, 45, 85 and 150/s, buckets of 0.02, 0.3, 0.8
and 2.5 seconds and latencies of 80 and 250 ms; none of these is in the tables. Those of the ramp
were chosen on the table of 1,500 requests itself.

*Bounds* are the most that a controller could reach which learns the limit from one refusal or from
two, then knows it exactly, and spends a full bucket at the start and after each lock-out. One
refusal is the minimum, because nothing else reveals the limit. Two are the minimum if the size of
the bucket is not known either, because the first one fits a small bucket and a high rate as well
as a large bucket and a low one.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Final

from partner_tools import pacing
from partner_tools.pacing import Learned, Permit, RateState, parse_retry_after
from partner_tools.sandbox.faults import Limit, LimitKind, RetryAfter, admit, full, rate_at
from tests.bench.figures import Figure, Goal, Part, Table

CONCURRENCY: Final = 32
JITTER: Final = 0.1
"""Each way takes half the latency, more or less by so much."""
HOPELESS: Final = 8.0
"""A run that takes so many times as long as the limit allows is broken off."""
LOCKOUT: Final = (2.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a service refuses. Hits `extend` a lock-out; `says_when` is about Retry-After."""

    lockout: bool = False
    extend: bool = False
    says_when: bool = True
    window: bool = False


KINDS: Final = {
    "lock-out": Kind(lockout=True),
    "extended": Kind(lockout=True, extend=True),
    "no-lock-out": Kind(),
    "silent-lock-out": Kind(lockout=True, says_when=False),
    "silent": Kind(says_when=False),
    "window": Kind(window=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A service behind a hidden limit. `burst` is in seconds of the rate, `latency` in seconds.

    `change` is (seconds since the start, new rate).
    """

    kind: str
    rate: float
    burst: float
    latency: float
    requests: int
    change: tuple[float, float] | None = None

    @property
    def limit(self) -> Limit:
        """The same for the sandbox's limiter."""
        kind = KINDS[self.kind]
        return Limit(
            service="simulated",
            rate=self.rate,
            kind=LimitKind.FIXED_WINDOW if kind.window else LimitKind.TOKEN_BUCKET,
            burst=max(1.0, self.rate * self.burst),
            lockout=LOCKOUT if kind.lockout else None,
            extend=kind.extend,
            retry_after=RetryAfter.SECONDS if kind.says_when else RetryAfter.NONE,
            changes=() if self.change is None else (self.change,),
        )

    @property
    def goal(self) -> float:
        """The requests per second that limit and concurrency allow."""
        return min(self.rate, CONCURRENCY / self.latency)

    def bound(self, refusals: int) -> float:
        """The goodput that so many refusals leave, for a control that needs no more of them."""
        kind = KINDS[self.kind]
        if self.goal < self.rate or kind.window:
            return 1.0
        shortest = 1.0 if kind.says_when else 0.0
        lost = statistics.mean(LOCKOUT) + 0.5 if kind.lockout else shortest
        spare = self.burst + refusals * min(self.burst, lost)
        least = max(self.requests / self.rate - spare, 0.0) + refusals * lost
        return self.requests / least / self.goal


class Service:
    """The hidden limit at work."""

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._limit = world.limit
        self._bucket = full(self._limit, 0.0)

    def header(self, now: float) -> str | None:
        """None where the request is served, else the 429's Retry-After; "" without one."""
        self._bucket, wait = admit(
            self._limit,
            self._bucket,
            now,
            rate=rate_at(self._limit, now),
            draw=self.random.random(),
        )
        if wait is None:
            return None
        return str(math.ceil(wait)) if KINDS[self.world.kind].says_when else ""

    def way(self) -> float:
        """How long a request or an answer travels."""
        return self.world.latency / 2 * (1 + JITTER * self.random.uniform(-1, 1))


@dataclass(slots=True)
class Run:
    """What came of one run, in virtual seconds."""

    world: World
    served_at: list[float] = field(default_factory=list)
    ended_at: float = 0.0
    sent: int = 0
    refused: int = 0
    learned: Learned | None = None

    @property
    def goodput(self) -> float:
        return len(self.served_at) / self.ended_at / self.world.goal

    @property
    def refusals(self) -> float:
        return self.refused / max(self.sent, 1)

    def good_after(self, since: float, rate: float, window: float) -> float:
        """Seconds from `since` until a window was served within 10 % of a rate."""
        for at in self.served_at:
            if at >= since and 0.9 * rate <= self._served(at, window) <= 1.1 * rate:
                return max(at - since, 0.0)
        return math.inf

    def _served(self, at: float, window: float) -> float:
        return (bisect_left(self.served_at, at + window) - bisect_left(self.served_at, at)) / window


EVER: Final = datetime(2026, 1, 1, tzinfo=UTC)


def _asked(header: str) -> float | None:
    return parse_retry_after(header, EVER)


def _arrivals(
    service: Service, run: Run, heap: list[tuple[float, int, bool, int, str | None]], now: float
) -> tuple[float, int, str | None] | None:
    """Take the next event: None for a request that reached the service, else an answer."""
    at, order, answered, who, header = heapq.heappop(heap)
    if answered:
        return at, who, header
    heapq.heappush(heap, (at + service.way(), order, True, who, service.header(at)))
    return None


def paced(world: World, pace: RateState, seed: str) -> Run:
    """All requests by 32 workers under one pace."""
    service, run = Service(world, seed), Run(world)
    heap: list[tuple[float, int, bool, int, str | None]] = []
    permits: dict[int, Permit] = {}
    now, left = 0.0, world.requests
    while len(run.served_at) < world.requests and now < HOPELESS * world.requests / world.goal:
        free = left > 0 and len(permits) < CONCURRENCY
        next_at = pacing.due(pace, now) if free else math.inf
        if not heap or next_at < heap[0][0]:
            pace, permit = pacing.reserve(pace, next_at)
            now, left, run.sent = permit.at, left - 1, run.sent + 1
            permits[permit.number] = permit
            heapq.heappush(heap, (now + service.way(), permit.number, False, permit.number, None))
            continue
        now = heap[0][0]
        answer = _arrivals(service, run, heap, now)
        if answer is None:
            continue
        _, number, header = answer
        if header is None:
            run.served_at.append(now)
            pace = pacing.succeeded(pace, permits.pop(number), now)
        else:
            run.refused, left = run.refused + 1, left + 1
            pace = pacing.throttled(pace, permits.pop(number), now, _asked(header))
    run.ended_at, run.learned = now, pacing.learned(pace)
    return run


def alone(world: World, workers: int, seed: str) -> Run:
    """All requests by workers who know nothing of each other and obey their own Retry-After."""
    service, run = Service(world, seed), Run(world)
    heap: list[tuple[float, int, bool, int, str | None]] = []
    tries = [0] * workers
    now, left = 0.0, world.requests
    for worker in range(min(workers, left)):
        left, run.sent = left - 1, run.sent + 1
        heapq.heappush(heap, (service.way(), worker, False, worker, None))
    while heap and now < HOPELESS * world.requests / world.goal:
        now = heap[0][0]
        answer = _arrivals(service, run, heap, now)
        if answer is None:
            continue
        _, worker, header = answer
        rest = 0.0
        if header is None:
            run.served_at.append(now)
            tries[worker] = 0
            if left == 0:
                continue
            left -= 1
        else:
            run.refused += 1
            backed_off = 2.0 ** min(tries[worker], 6) * service.random.uniform(0.5, 1.0)
            rest, tries[worker] = _asked(header) or backed_off, tries[worker] + 1
        run.sent += 1
        heapq.heappush(heap, (now + rest + service.way(), worker, False, worker, None))
    run.ended_at = now
    return run


# --- What is compared --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Medians over the seeds of one world, with the lowest and highest cold goodput."""

    world: World
    cold: float
    lowest: float
    highest: float
    refusals: float
    first_good: float
    warm: float
    warm_refusals: float
    one: float
    five: float
    each: float


def compare(job: tuple[World, int]) -> Cell:
    """One world by all controls, over its seeds."""
    world, seeds = job
    cold, warm, one, five, each = [], [], [], [], []
    for number in range(seeds):
        seed = f"{world}{number}"
        first = paced(world, pacing.cold(0.0), seed)
        cold.append(first)
        known = pacing.remembered(first.learned, 0.0)
        warm.append(paced(world, known, seed + "again"))
        one.append(alone(world, 1, seed).goodput)
        five.append(alone(world, 5, seed).goodput)
        each.append(alone(world, CONCURRENCY, seed).goodput)
    return Cell(
        world=world,
        cold=statistics.median(run.goodput for run in cold),
        lowest=min(run.goodput for run in cold),
        highest=max(run.goodput for run in cold),
        refusals=statistics.median(run.refusals for run in cold),
        first_good=statistics.median(run.good_after(0.0, world.goal, 5.0) for run in cold),
        warm=statistics.median(run.goodput for run in warm),
        warm_refusals=statistics.median(run.refusals for run in warm),
        one=statistics.median(one),
        five=statistics.median(five),
        each=statistics.median(each),
    )


def worlds(
    kinds: Iterable[str],
    rates: Sequence[float],
    bursts: Sequence[float],
    latencies: Sequence[float],
    requests: int,
) -> Iterator[World]:
    """Every combination; a window has no burst."""
    for kind, rate, latency in product(kinds, rates, latencies):
        for burst in (0.0,) if KINDS[kind].window else bursts:
            yield World(kind=kind, rate=rate, burst=burst, latency=latency, requests=requests)


def settling(job: tuple[str, float, float, float, int]) -> tuple[float, ...]:
    """Seconds after a change of the hidden rate until it is used within 10 %, by seed."""
    kind, before, after, burst, seeds = job
    found = []
    for number in range(seeds):
        seed = f"{job}{number}"
        at = random.Random(seed).uniform(60.0, 120.0)  # noqa: S311 - repeatable
        world = World(
            kind=kind,
            rate=before,
            burst=burst,
            latency=0.1,
            change=(at, after),
            requests=int(before * at + after * 500),
        )
        run = paced(world, pacing.cold(0.0), seed)
        found.append(run.good_after(at, after, 10.0))
    return tuple(found)


# --- What is told -----------------------------------------------------------------------------

RATES: Final = (10.0, 60.0, 200.0)
BURSTS: Final = (0.2, 1.0, 5.0)
LATENCIES: Final = (0.05, 0.3, 2.0)
SEEDS: Final = 3
LONG_LATENCIES: Final = (0.3,)
CHANGES: Final = ((60.0, 30.0), (200.0, 60.0), (30.0, 45.0), (30.0, 60.0))
PROCESSES: Final = 2


def measure(*, quick: bool) -> Iterator[Part]:
    """The whole grid at 1,500 requests, a part of it at 3,000 and 30,000; changes of the rate."""
    with ProcessPoolExecutor(1 if quick else PROCESSES) as pool:
        if quick:
            chosen = worlds(("lock-out", "no-lock-out"), (30.0,), (1.0,), (0.1,), 300)
            yield _grid(list(pool.map(compare, [(world, 1) for world in chosen])), 300)
            return
        for requests in (1_500, 3_000, 30_000):
            latencies = LATENCIES if requests == 1_500 else LONG_LATENCIES
            seeds = 1 if requests == 30_000 else SEEDS
            chosen = worlds(KINDS, RATES, BURSTS, latencies, requests)
            jobs = [(world, seeds) for world in chosen]
            yield _grid(list(pool.map(compare, jobs)), requests)
        kinds = ("lock-out", "no-lock-out", "silent-lock-out")
        changes = [
            (kind, before, after, burst, SEEDS)
            for kind in kinds
            for before, after in CHANGES
            for burst in BURSTS
        ]
        yield _changes(changes, list(pool.map(settling, changes)))


HOW: Final = (
    "The real `pacing` in virtual time, with at most 32 requests in flight and lock-outs of 2 to "
    "10 s. *Goodput* is the number of served requests as a share of min(limit, concurrency / "
    "latency); medians over the seeds, then over the cells, with the lowest and the highest cell. "
    "*Bounds* are the most that a controller can reach which learns the limit from one refusal, or "
    "from two, and then knows it exactly. The constants of `pacing` were chosen on other limits, "
    "except for those of the ramp, which were chosen on these at 1,500 requests."
)


def _grid(cells: Sequence[Cell], requests: int) -> Part:
    locked = [cell for cell in cells if KINDS[cell.world.kind].lockout]
    free = [cell for cell in cells if not KINDS[cell.world.kind].lockout]
    cold = 0.92 if requests >= 30_000 else 0.88
    in_flight = statistics.median(cell.world.goal * cell.world.latency for cell in cells)
    figures = [
        *_goodput("a lock-out", locked, cold),
        *_goodput("no lock-out", free, 0.85),
        *_refusals(cells, 1.0 if requests >= 3_000 else 1.5, 100 * in_flight / requests),
    ]
    return Part(
        title=f"Goodput, simulated, {requests:,} requests",
        how=HOW,
        figures=figures,
        tables=[_reached(locked, free, cold), Table(title="Cells", heads=HEADS, rows=_rows(cells))],
    )


def _goodput(where: str, cells: Sequence[Cell], goal: float) -> Iterator[Figure]:
    peers = [100 * max(cell.one, cell.five, cell.each) for cell in cells]
    cold = [100 * cell.cold for cell in cells]
    warm = [100 * cell.warm for cell in cells]
    best = "the best of the three peers in the same cell"
    two = statistics.median(100 * min(cell.world.bound(2), 1.0) for cell in cells)
    why = f"after two refusals at most {two:.0f} % is possible"
    for name, values, bound in (("first run", cold, goal), ("remembered", warm, 0.93)):
        yield Figure(
            what=f"{where}, {name}",
            unit="%",
            values=values,
            baseline=best,
            against=peers,
            goal=Goal(bound=100 * bound, of_ratio=False, why=why),
        )


def _refusals(cells: Sequence[Cell], bound: float, least: float) -> Iterator[Figure]:
    """`least` is the share that is in flight when the first refusal is answered."""
    why = f"one overshoot costs what is in flight until it is answered, {least:.1f} % or more"
    for name, values in (
        ("first run", [100 * cell.refusals for cell in cells]),
        ("remembered", [100 * cell.warm_refusals for cell in cells]),
    ):
        yield Figure(
            what=f"429s among the requests, {name}",
            unit="%",
            values=values,
            goal=Goal(bound=bound, at_most=True, of_ratio=False, why=why),
        )


def _reached(locked: Sequence[Cell], free: Sequence[Cell], cold: float) -> Table:
    """How many cells reach what is aimed at, one by one, and how many could."""
    every = [*locked, *free]

    def count(cells: Sequence[Cell], reaches: Callable[[Cell], bool]) -> str:
        return f"{sum(map(reaches, cells))} of {len(cells)}"

    def beats(reached: float, cell: Cell) -> bool:
        return reached > max(cell.one, cell.five, cell.each)

    return Table(
        title="How many cells reach it",
        heads=("aim", "cells", "possible with one refusal", "with two"),
        rows=[
            (
                f"first run ≥ {percent(cold)} % where there is a lock-out",
                count(locked, lambda cell: cell.cold >= cold),
                count(locked, lambda cell: cell.world.bound(1) >= cold),
                count(locked, lambda cell: cell.world.bound(2) >= cold),
            ),
            ("first run ≥ 85 % elsewhere", count(free, lambda cell: cell.cold >= 0.85), "", ""),
            ("remembered ≥ 93 %", count(every, lambda cell: cell.warm >= 0.93), "", ""),
            (
                "first run better than all three peers where there is a lock-out",
                count(locked, lambda cell: beats(cell.cold, cell)),
                "",
                "",
            ),
            (
                "remembered better than all three peers where there is a lock-out",
                count(locked, lambda cell: beats(cell.warm, cell)),
                "",
                "",
            ),
        ],
    )


HEADS: Final = (
    "limit",
    "rate /s",
    "bucket s",
    "latency s",
    "bounds %",
    "first run % (spread)",
    "429s %",
    "seconds to a good rate",
    "remembered %",
    "429s %",
    "one at a time %",
    "five workers %",
    "32 workers %",
)


def _rows(cells: Iterable[Cell]) -> list[tuple[str, ...]]:
    return [_row(cell) for cell in cells]


def _row(cell: Cell) -> tuple[str, ...]:
    world = cell.world
    window = KINDS[world.kind].window
    return (
        world.kind,
        f"{world.rate:g}",
        "-" if window else f"{world.burst:g}",
        f"{world.latency:g}",
        "-" if window else f"{percent(world.bound(1))}, {percent(world.bound(2))}",
        f"**{percent(cell.cold)}** ({percent(cell.lowest)}-{percent(cell.highest)})",
        percent(cell.refusals, 1),
        seconds(cell.first_good),
        f"**{percent(cell.warm)}**",
        percent(cell.warm_refusals, 1),
        percent(cell.one),
        percent(cell.five),
        percent(cell.each),
    )


LOOKS: Final = (
    "a rate that fell shows at once; one that rose shows only by an overshoot, which costs 6 s of "
    "everything where it locks out: looking every minute would cost a tenth of every run"
)


def _changes(
    jobs: Sequence[tuple[str, float, float, float, int]], found: Sequence[tuple[float, ...]]
) -> Part:
    """How soon a new rate is used within 10 %."""
    worst = [min(max(times), 500.0) for times in found]
    return Part(
        title="Goodput, simulated, where the hidden rate changes during the run",
        how="Latency 0.1 s; the rate changes between the first and the second minute; seconds "
        "until ten seconds are served within 10 % of the new rate, the worst seed of each cell.",
        figures=[
            Figure(
                what="seconds after a change until within 10 %",
                unit="s",
                values=worst,
                goal=Goal(bound=60.0, at_most=True, of_ratio=False, why=LOOKS),
            ),
            Figure(
                what="cells in which the worst seed needs under 60 s",
                unit="%",
                values=[100 * sum(each < 60.0 for each in worst) / len(worst)],
            ),
        ],
        tables=[
            Table(
                title="Cells",
                heads=("limit", "from /s", "to /s", "bucket s", "seconds, by seed"),
                rows=[
                    (
                        kind,
                        f"{before:g}",
                        f"{after:g}",
                        f"{burst:g}",
                        ", ".join(seconds(value) for value in sorted(times)),
                    )
                    for (kind, before, after, burst, _), times in zip(jobs, found, strict=True)
                ],
            )
        ],
    )


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}"


def seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"
