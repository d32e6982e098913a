"""How long depots wait when so many devices a year share one rate: a simulation, a minute a step.

    python -m tests.bench.sizing --devices 10000000 --depots 30 --rates 2 3 5 10 30

Depots work in shifts of 250 days; devices come in batches of random size, more in the morning, and
before holidays twice as many. All share one rate as the fleet does: evenly between depots that
have something to do, first in first out within one. A call carries `--per-call` devices and costs
one request; planning and verifying cost a share of requests on top. Prints, for each rate, how
long batches take from handing in to the last device, and how busy the rate is. No device is sent:
what is simulated is waiting alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

DAYS, HOURS = 250, 10
MINUTES = HOURS * 60
MORNING = 2.0
"""So much more comes in the first two hours than later."""
BUSY_DAYS, BUSY = 10, 2.0


@dataclass(slots=True)
class Batch:
    """A batch in a depot's queue: what is left of it, and the minute when it was handed in."""

    left: float
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a year at one rate looked like; waits in minutes."""

    rate: float
    busy: float
    waits: Sequence[float]
    left_overnight: int

    def quantile(self, share: float) -> float:
        """The wait that this share of batches did not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def arrivals(per_day: float, size: float, chance: random.Random, factor: float) -> list[Batch]:
    """One depot's batches of one day."""
    batches, wanted = [], per_day * factor * chance.uniform(0.7, 1.3)
    while wanted > 0:
        devices = max(1.0, chance.lognormvariate(0.0, 0.8) * size)
        early = chance.random() < MORNING * 2 / (MORNING * 2 + HOURS - 2)
        minute = chance.randrange(0, 120) if early else chance.randrange(120, MINUTES)
        batches.append(Batch(min(devices, wanted), minute))
        wanted -= devices
    return sorted(batches, key=lambda batch: batch.at)


def year(options: argparse.Namespace, rate: float) -> Result:
    """A year at a rate of so many requests per second."""
    chance = random.Random(options.seed)  # noqa: S311 - a repeatable year
    capacity = rate * 60 * options.per_call / (1.0 + options.overhead)
    per_day = options.devices / (DAYS + BUSY_DAYS * (BUSY - 1.0)) / options.depots
    queues: list[deque[Batch]] = [deque() for _ in range(options.depots)]
    waits: list[float] = []
    used, overnight = 0.0, 0
    for day in range(DAYS):
        factor = BUSY if day < BUSY_DAYS else 1.0
        today = [arrivals(per_day, options.batch, chance, factor) for _ in queues]
        for minute in range(MINUTES):
            for queue, coming in zip(queues, today, strict=True):
                while coming and coming[0].at <= minute:
                    queue.append(coming.pop(0))
            used += _serve(queues, capacity, minute, waits)
        overnight += any(queues)
        for queue in queues:  # the night is long enough for what is left, and nobody waits then
            waits += [float(MINUTES - batch.at) for batch in queue]
            used += sum(batch.left for batch in queue)
            queue.clear()
    return Result(
        rate=rate,
        busy=used / (capacity * MINUTES * DAYS),
        waits=waits,
        left_overnight=overnight,
    )


def _serve(queues: list[deque[Batch]], capacity: float, minute: int, waits: list[float]) -> float:
    """Share a minute's capacity evenly between depots; how much of it was used."""
    used, waiting = 0.0, [queue for queue in queues if queue]
    while waiting and capacity - used > 1e-6:
        share = (capacity - used) / len(waiting)
        for queue in waiting:
            used += _take(queue, share, minute, waits)
        waiting = [queue for queue in waiting if queue]
    return used


def _take(queue: deque[Batch], share: float, minute: int, waits: list[float]) -> float:
    taken = 0.0
    while queue and share - taken > 1e-9:
        part = min(queue[0].left, share - taken)
        queue[0].left -= part
        taken += part
        if queue[0].left <= 1e-9:
            waits.append(minute + 1.0 - queue.popleft().at)
    return taken


def main() -> None:
    """Print a line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000_000)
    parser.add_argument("--depots", type=int, default=30)
    parser.add_argument("--batch", type=float, default=50.0)
    parser.add_argument("--per-call", type=int, default=1)
    parser.add_argument("--overhead", type=float, default=0.15)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.5, 2.0, 3.0, 5.0, 10.0])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.devices:,} devices a year, {options.depots} depots, batches of about "
        f"{options.batch:g}, {options.per_call} device(s) a call"
    )
    print("requests/s   busy   wait: median     95 %     99 %     most   days not done by evening")
    for rate in options.rates:
        result = year(options, rate)
        waits = [statistics.median(result.waits), *map(result.quantile, (0.95, 0.99, 1.0))]
        shown = "  ".join(f"{wait:5.0f} m" for wait in waits)
        print(
            f"{rate:10g}  {result.busy:5.0%}        {shown}   {result.left_overnight:4d} of {DAYS}"
        )


if __name__ == "__main__":
    main()
