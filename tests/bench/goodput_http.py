"""Goodput over real HTTP: the rate limiter and 32 threads against a sandbox with a hidden limit.

The sandbox is a process of its own on loopback, anew for each run. Each run is made cold and then
again with what it learned, and the same world is simulated: what the grid of the simulator says is
worth as much as these points agree with it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partner_tools import pacing
from partner_tools.cancellation import CancellationToken
from partner_tools.clients.partner_center import build_customers
from partner_tools.clients.transport import Request, Transport
from partner_tools.engine.rate_limiter import AdaptiveRateLimiter
from partner_tools.pacing import Learned, parse_retry_after, remembered
from tests.bench.figures import Figure, Goal, Part
from tests.bench.goodput_simulated import CONCURRENCY, KINDS, LOCKOUT, World, paced


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. Shares are of 1, rates per second."""

    goodput: float
    refusals: float
    learned: Learned | None


@contextmanager
def sandbox(world: World) -> Iterator[tuple[str, str]]:
    """A sandbox behind a hidden limit: the address of Partner Center, and a token."""
    limit = {
        "rate": world.rate,
        "burst": world.limit.burst,
        **({"lockout": LOCKOUT} if KINDS[world.kind].lockout else {}),
    }
    faults = {
        "schemaVersion": "1",
        "limits": [limit],
        "latency": [{"seconds": world.latency}],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faults.json"
        path.write_text(json.dumps(faults), encoding="utf-8")
        command = [sys.executable, "-m", "partner_tools", "sandbox", "--faults", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                said: dict[str, Any] = json.loads(process.stdout.readline())
                yield said["urls"]["partnerCenter"], said["tokens"]["app"]
            finally:
                process.terminate()


class FixedToken:
    """A token that lasts as long as the run."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self) -> str:
        return self._text

    def renew(self, stale: str) -> None:
        """There is no other."""


def carried_out(world: World, known: Learned | None) -> Result:
    """One run against a new sandbox."""
    with (
        sandbox(world) as (url, token),
        Transport(url, tokens=FixedToken(token), pool_size=CONCURRENCY) as transport,
    ):
        limiter = AdaptiveRateLimiter(remembered(known, time.monotonic()))
        work: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for _ in range(world.requests):
            work.put(build_customers())
        began = time.monotonic()
        threads = [
            threading.Thread(target=carry_out, args=(limiter, transport, work, world.requests))
            for _ in range(CONCURRENCY)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        after = limiter.snapshot()
        return Result(
            goodput=world.requests / seconds / world.goal,
            refusals=after.throttled / after.permits,
            learned=limiter.learned(),
        )


def carry_out(
    limiter: AdaptiveRateLimiter,
    transport: Transport,
    work: queue.SimpleQueue[Request],
    wanted: int,
) -> None:
    """Send what is left, until all requests were served."""
    stop = CancellationToken()
    while limiter.snapshot().answered < wanted:
        try:
            request = work.get(timeout=0.1)
        except queue.Empty:
            continue
        limiter.acquire(stop)
        reply = transport.send(request)
        if reply.status == 429:
            asked = parse_retry_after(reply.header("Retry-After"), datetime.now(UTC))
            limiter.throttled(asked)
            work.put(request)
        else:
            assert reply.status == 200, reply.status
            limiter.succeeded()


WORLDS = (
    World(kind="lock-out", rate=60.0, burst=1.0, latency=0.1, requests=1_500),
    World(kind="no-lock-out", rate=200.0, burst=1.0, latency=0.1, requests=1_500),
)
ROUNDS = 2
SIMULATED = 9
"""Runs in virtual time for each point, as they cost little."""


def measure(*, quick: bool) -> Iterator[Part]:
    """A few points of the grid, carried out and simulated."""
    worlds = [replace(WORLDS[1], requests=150)] if quick else WORLDS
    figures = [figure for world in worlds for figure in _point(world, 1 if quick else ROUNDS)]
    yield Part(
        title="Goodput, over real HTTP",
        how=f"{CONCURRENCY} threads, the rate limiter and the transport against the sandbox in a "
        "separate process. The ratio compares it with the simulator's median for the same limit.",
        figures=figures,
    )


def _point(world: World, rounds: int) -> Iterator[Figure]:
    cold, warm = [], []
    for _ in range(rounds):
        cold.append(carried_out(world, None))
        warm.append(carried_out(world, cold[-1].learned))
    forms = {"first run": (cold, 88.0), "remembered": (warm, 93.0)}
    simulated = dict(zip(forms, _simulated(world), strict=True))
    where = f"{world.requests:,} requests, {world.kind}, {world.rate:g}/s, {world.latency:g} s"
    for name, (results, bound) in forms.items():
        yield Figure(
            what=f"{where}, {name}",
            unit="%",
            values=[100 * each.goodput for each in results],
            baseline="the simulator",
            against=simulated[name],
            goal=Goal(
                bound=bound if world.kind != "no-lock-out" or bound > 90 else 85.0,
                of_ratio=False,
                why=f"after two refusals at most {100 * world.bound(2):.0f} % is possible",
            ),
        )
        yield Figure(
            what=f"{where}, {name}, 429s among the requests",
            unit="%",
            values=[100 * each.refusals for each in results],
            goal=Goal(
                bound=1.5,
                at_most=True,
                of_ratio=False,
                why="each overshoot has all requests in flight refused, "
                f"{world.rate * world.latency:.0f} or more each time",
            ),
        )


def _simulated(world: World) -> tuple[list[float], list[float]]:
    cold, warm = [], []
    for seed in map(str, range(SIMULATED)):
        first = paced(world, pacing.cold(0.0), seed)
        cold.append(100 * first.goodput)
        known = pacing.remembered(first.learned, 0.0)
        warm.append(100 * paced(world, known, f"{seed} again").goodput)
    return cold, warm
