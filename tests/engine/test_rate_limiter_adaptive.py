"""One pace for all threads: turns, pauses and stopping; in virtual time, then with threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.rate_limiter import GLANCE_SECONDS, AdaptiveRateLimiter
from partner_tools.pacing import FIRST_RATE, Learned, cold, remembered


class VirtualTime:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, stop: CancellationToken, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return stop.is_set()


def limited(clock: VirtualTime, *, max_rate: float | None = None) -> AdaptiveRateLimiter:
    return AdaptiveRateLimiter(cold(clock.now, max_rate=max_rate), clock=clock, wait=clock.wait)


def started(known: Learned | None = None, **options: float) -> AdaptiveRateLimiter:
    return AdaptiveRateLimiter(remembered(known, time.monotonic(), **options))


def test_permits_are_evenly_spaced() -> None:
    clock, stop, times = VirtualTime(), CancellationToken(), []
    limiter = limited(clock, max_rate=4.0)
    for _ in range(8):
        assert limiter.acquire(stop)
        times.append(clock.now)
        limiter.succeeded()
    assert [0.25] * 7 == pytest.approx([later - earlier for earlier, later in pairwise(times)])


def test_a_throttled_request_pauses_everybody() -> None:
    clock, stop = VirtualTime(), CancellationToken()
    limiter = limited(clock)
    assert limiter.acquire(stop)
    limiter.succeeded()
    assert limiter.acquire(stop)
    refused_at = clock.now
    limiter.throttled(9.0)
    assert 9.0 == pytest.approx(limiter.snapshot().paused)
    assert limiter.acquire(stop)
    assert refused_at + 9.0 == pytest.approx(clock.now)
    assert max(clock.waits) <= GLANCE_SECONDS


def test_the_snapshot_says_how_things_stand() -> None:
    clock, stop = VirtualTime(), CancellationToken()
    limiter = limited(clock)
    before = limiter.snapshot()
    assert (FIRST_RATE, None, 0.0, 0, 0, 0, 0) == (
        before.rate,
        before.ceiling,
        before.paused,
        before.permits,
        before.answered,
        before.throttled,
        before.pauses,
    )
    for _ in range(4):
        limiter.acquire(stop)
        limiter.succeeded()
    limiter.acquire(stop)
    limiter.throttled(2.0)
    after = limiter.snapshot()
    assert (5, 4, 1, 1) == (after.permits, after.answered, after.throttled, after.pauses)
    assert after.ceiling is not None
    assert after.rate < after.ceiling <= FIRST_RATE
    assert limiter.learned() == Learned(per_second=after.ceiling)


def test_nothing_is_learned_from_nothing() -> None:
    assert started().learned() is None


def test_a_run_begins_with_what_is_known() -> None:
    assert (
        remembered(Learned(per_second=50.0), 0.0).rate
        == started(Learned(per_second=50.0)).snapshot().rate
    )
    assert 20.0 == started(Learned(per_second=50.0), max_rate=20.0).snapshot().rate
    assert FIRST_RATE == started(Learned(per_second=50.0), age=1e9).snapshot().rate
    assert 2.0 == started(max_rate=2.0).snapshot().rate


def test_a_stopped_run_gets_no_permit() -> None:
    clock, stop = VirtualTime(), CancellationToken()
    stop.set()
    limiter = limited(clock)
    assert not limiter.acquire(stop)
    assert 0 == limiter.snapshot().permits


def test_a_scout_that_never_left_lets_another_go() -> None:
    clock, stop = VirtualTime(), CancellationToken()
    limiter = limited(clock)
    limiter.acquire(stop)
    limiter.succeeded()
    limiter.acquire(stop)
    limiter.throttled(None)
    limiter.acquire(stop)
    limiter.withdrawn()
    went = clock.now
    limiter.acquire(stop)
    assert clock.now - went < 1.0


# --- With threads ------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60.0)
        assert not thread.is_alive()


def test_threads_share_one_rate() -> None:
    """Sixteen threads get no more than one rate's worth, and each its own outcome told."""
    limiter, stop, times = (
        started(Learned(per_second=300.0), max_rate=200.0),
        CancellationToken(),
        [],
    )

    def work() -> None:
        while limiter.acquire(stop):
            times.append(time.monotonic())
            limiter.succeeded()

    began = time.monotonic()
    threads = in_threads(16, work)
    stop.wait(0.5)
    stop.set()
    join(threads)
    assert len(times) <= 200 * (max(times) - began) + 8
    assert len(times) == limiter.snapshot().answered


def test_one_lock_out_seen_by_many_threads_is_one_pause() -> None:
    limiter, stop = (
        started(Learned(per_second=400.0)),
        CancellationToken(),
    )
    all_sent = threading.Barrier(8)
    limiter.acquire(stop)
    limiter.succeeded()

    def work() -> None:
        assert limiter.acquire(stop)
        all_sent.wait(60.0)
        limiter.throttled(60.0)

    join(in_threads(8, work))
    after = limiter.snapshot()
    assert (8, 1) == (after.throttled, after.pauses)
    assert after.ceiling is not None
    assert 30.0 < after.paused <= 60.0


def test_everybody_who_waits_is_freed_by_a_stop() -> None:
    limiter, stop, answers = started(), CancellationToken(), list[bool]()
    limiter.acquire(stop)
    limiter.throttled(60.0)
    threads = in_threads(8, lambda: answers.append(limiter.acquire(stop)))
    stop.wait(0.05)
    began = time.monotonic()
    stop.set()
    join(threads)
    assert [False] * 8 == answers
    assert time.monotonic() - began < 5.0
