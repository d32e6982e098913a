"""Threads of two processes under one pace; the text between them lies in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.rate_limiter import SharedRateLimiter
from partner_tools.pacing import Learned
from partner_tools.shared_pacing import Party, begin

PARTY = Party(depot="leipzig")


class Row:
    """A row that one at a time changes, with a clock of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text: str | None = None

    def exchange(self, change: Callable[[str | None], tuple[str, Any]]) -> tuple[Any, float]:
        with self._lock:
            self._text, answer = change(self._text)
        return answer, time.monotonic() + 1000.0


def limiters(rate: float) -> tuple[SharedRateLimiter, SharedRateLimiter]:
    row = Row()
    begun = partial(begin, known=Learned(per_second=rate), age=0.0, max_rate=rate)
    first, second = (
        SharedRateLimiter(row.exchange, process=name, begin=begun) for name in ("one", "other")
    )
    return first, second


def test_two_processes_together_keep_the_rate() -> None:
    left: list[float] = []
    stop = CancellationToken()

    def send(limiter: SharedRateLimiter) -> None:
        pace = limiter.of(PARTY)
        while pace.acquire(stop):
            left.append(time.monotonic())
            pace.succeeded()

    threads = [
        threading.Thread(target=send, args=(limiter,))
        for limiter in limiters(50.0)
        for _ in range(3)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    stop.wait(1.5)
    stop.set()
    for thread in threads:
        thread.join(10)
    elapsed = time.monotonic() - began
    assert 1 < len(left) <= 50.0 * elapsed + 3
    assert not any(thread.is_alive() for thread in threads)


def test_a_429_seen_by_one_process_pauses_the_other() -> None:
    one, other = limiters(100.0)
    stop = CancellationToken()
    for limiter in (one, other):
        assert limiter.of(PARTY).acquire(stop)
        limiter.succeeded()
    assert one.of(PARTY).acquire(stop)
    paused = time.monotonic()
    one.throttled(0.6)
    assert one.snapshot().throttled == 1
    while other.of(PARTY).acquire(stop) and time.monotonic() < paused + 0.3:
        other.succeeded()  # what was leased before, a tenth of a second at most
    assert time.monotonic() >= paused + 0.5
    other.withdrawn()
    other.close()
    assert other.learned() is not None


def test_who_stops_gets_no_permit() -> None:
    one, _ = limiters(1.0)
    stop = CancellationToken()
    assert one.of(PARTY).acquire(stop)
    threading.Timer(0.1, stop.set).start()
    assert not one.of(PARTY).acquire(stop)
