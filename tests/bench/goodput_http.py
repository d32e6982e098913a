"""Goodput over real HTTP: the governor and 32 threads against a sandbox with a hidden limit.

    python tests/bench/goodput_http.py --rate 60 --requests 1500 --runs 3

The sandbox is a process of its own on loopback, anew for each run. Each run is made cold and then
again with what it learned. Prints goodput as a share of min(limit, threads / latency), the share
of 429s, the rate learned, and the client's seconds of CPU per 1,000 requests.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partner_tools.clients.partner_center import build_customers
from partner_tools.clients.transport import Request, Transport
from partner_tools.engine.governor import Governor
from partner_tools.pacing import parse_retry_after

THREADS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. Shares are of 1, rates per second."""

    goodput: float
    refusals: float
    learned: float | None
    cpu: float


@contextmanager
def sandbox(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """A sandbox behind a hidden limit: the address of Partner Center, and a token."""
    limit = {
        "rate": options.rate,
        "burst": max(1.0, options.rate * options.burst),
        **({"lockout": options.lockout} if options.lockout else {}),
        **({"retryAfter": "none"} if options.silent else {}),
    }
    faults = {
        "schemaVersion": "1",
        "limits": [limit],
        "latency": [{"seconds": options.latency}],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faults.json"
        path.write_text(json.dumps(faults), encoding="utf-8")
        command = [sys.executable, "-m", "partner_tools.sandbox", "--faults", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            said: dict[str, Any] = json.loads(process.stdout.readline())
            yield said["urls"]["partnerCenter"], said["tokens"]["app"]
        finally:
            process.terminate()
            process.wait(10.0)


class FixedToken:
    """A token that lasts as long as the run."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self) -> str:
        return self._text

    def renew(self, stale: str) -> None:
        """There is no other."""


def measure(options: argparse.Namespace, known: float | None) -> Result:
    """One run against a new sandbox."""
    with (
        sandbox(options) as (url, token),
        Transport(url, tokens=FixedToken(token), pool_size=THREADS) as transport,
    ):
        governor = Governor.started(known=known)
        work: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for _ in range(options.requests):
            work.put(build_customers())
        began, cpu = time.monotonic(), time.process_time()
        threads = [
            threading.Thread(target=carry_out, args=(governor, transport, work, options.requests))
            for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        after = governor.snapshot()
        return Result(
            goodput=options.requests / seconds / min(options.rate, THREADS / options.latency),
            refusals=after.throttled / after.permits,
            learned=governor.learned(),
            cpu=(time.process_time() - cpu) / options.requests * 1000,
        )


def carry_out(
    governor: Governor, transport: Transport, work: queue.SimpleQueue[Request], wanted: int
) -> None:
    """Send what is left, until all requests were served."""
    stop = threading.Event()
    while governor.snapshot().answered < wanted:
        try:
            request = work.get(timeout=0.1)
        except queue.Empty:
            continue
        governor.acquire(stop)
        reply = transport.send(request)
        if reply.status == 429:
            asked = parse_retry_after(reply.header("Retry-After"), datetime.now(UTC))
            governor.throttled(asked)
            work.put(request)
        else:
            assert reply.status == 200, reply.status
            governor.succeeded()


def row(name: str, results: Sequence[Result]) -> str:
    """Medians with the lowest and highest goodput."""
    shares = [100 * result.goodput for result in results]
    learned = [result.learned or 0.0 for result in results]
    return (
        f"| {name} | **{statistics.median(shares):.0f}** ({min(shares):.0f}-{max(shares):.0f}) "
        f"| {100 * statistics.median(result.refusals for result in results):.1f} "
        f"| {statistics.median(learned):.1f} "
        f"| {statistics.median(result.cpu for result in results):.2f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rate", type=float, default=60.0, help="hidden, requests per second")
    parser.add_argument("--burst", type=float, default=1.0, help="of the bucket, in seconds")
    parser.add_argument("--latency", type=float, default=0.1, help="in seconds")
    parser.add_argument("--lockout", type=float, nargs=2, help="range in seconds")
    parser.add_argument("--silent", action="store_true", help="429 without Retry-After")
    parser.add_argument("--requests", type=int, default=1_500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short run, for the mechanism")
    options = parser.parse_args(arguments)
    if options.quick:
        options.requests, options.runs = 200, 1
    cold, warm = [], []
    for _ in range(options.runs):
        cold.append(measure(options, None))
        warm.append(measure(options, cold[-1].learned))
    sys.stdout.write(
        f"{options.requests:,} requests, hidden rate {options.rate:g}/s, bucket {options.burst:g} "
        f"s, latency {options.latency:g} s, lock-out {options.lockout or 'none'}\n\n"
        "| run | goodput % (spread) | 429s % | learned /s | CPU s per 1,000 |\n"
        "|---|---|---|---|---|\n"
        f"{row('cold', cold)}\n{row('remembered', warm)}\n"
    )


if __name__ == "__main__":
    main()
