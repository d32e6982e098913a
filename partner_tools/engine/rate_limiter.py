"""One rate limiter for all threads of a run: the only place where a thread waits for a permit.

The decisions are `pacing`'s; here are a lock, a clock and a way to wait. A thread holds at most
one permit, the one that its last `acquire` gave it; what became of that request is told from the
same thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from partner_tools import pacing
from partner_tools.cancellation import CancellationToken
from partner_tools.pacing import Learned, Permit, RateState

GLANCE_SECONDS: Final = 0.25
"""A long wait is cut into pieces: a pause may end early, a turn may come from another thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state to display. `rate` is in permits per second, `paused` in seconds left."""

    rate: float
    ceiling: float | None
    paused: float
    permits: int
    answered: int
    throttled: int
    pauses: int


class AdaptiveRateLimiter:
    """Hands out evenly spaced permits, and pauses everybody when one request is throttled.

    One thread at a time waits for the next permit, the others for their turn, so that a permit
    wakes one thread. `clock` is monotonic, in seconds; `wait` sleeps unless stopped.
    """

    def __init__(
        self,
        pace: RateState,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[CancellationToken, float], object] = lambda stop, seconds: stop.wait(
            seconds
        ),
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._wait = wait
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._mine = threading.local()
        self._answered = 0
        self._throttled = 0

    @classmethod
    def started(
        cls,
        *,
        known: Learned | None = None,
        age: float = 0.0,
        max_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """A governor for a run that begins now.

        `known` is what an earlier run learned, `age` seconds ago; `max_rate` the user's own bound
        in requests per second.
        """
        return cls(pacing.remembered(known, clock(), age=age, max_rate=max_rate), clock=clock)

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for the next permit; False when stopped instead."""
        while not self._turn.acquire(timeout=GLANCE_SECONDS):
            if stop.is_set():
                return False
        try:
            while not stop.is_set():
                seconds = self._take()
                if seconds is None:
                    return True
                self._wait(stop, min(seconds, GLANCE_SECONDS))
            return False
        finally:
            self._turn.release()

    def succeeded(self) -> None:
        """The service answered this thread's request, and not with 429."""
        with self._state:
            self._answered += 1
            self._pace = pacing.succeeded(self._pace, self._permit(), self._clock())

    def throttled(self, retry_after: float | None) -> None:
        """The service answered 429: give no permits for this number of seconds."""
        with self._state:
            self._throttled += 1
            self._pace = pacing.throttled(self._pace, self._permit(), self._clock(), retry_after)

    def withdrawn(self) -> None:
        """This thread's request never reached the service, or its answer never came."""
        with self._state:
            self._pace = pacing.withdrawn(self._pace, self._permit())

    def close(self) -> None:
        """Do nothing: no other process takes part."""

    def learned(self) -> Learned | None:
        """Return the rate worth remembering; None when nothing was learned."""
        with self._state:
            return pacing.learned(self._pace)

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        with self._state:
            return Snapshot(
                rate=self._pace.rate,
                ceiling=self._pace.ceiling,
                paused=max(0.0, self._pace.paused_until - self._clock()),
                permits=self._pace.issued,
                answered=self._answered,
                throttled=self._throttled,
                pauses=self._pace.pauses,
            )

    def _take(self) -> float | None:
        """Take the permit that is due, or say for how many seconds none is."""
        with self._state:
            now = self._clock()
            seconds = pacing.due(self._pace, now) - now
            if seconds > 0.0:
                return seconds
            self._pace, self._mine.permit = pacing.reserve(self._pace, now)
            return None

    def _permit(self) -> Permit:
        permit: Permit = self._mine.permit
        return permit


SLACK: Final = 1e-9
"""Rounding tolerance of a permit, so that no thread waits for less than a clock can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRate:
    """A published limit: at most `requests` in any `seconds`."""

    requests: int
    seconds: float


class FixedRateLimiter:
    """Hands out permits: a tenth of the limit at once, the rest evenly. Thread-safe.

    Together they are never more than the limit in any of its windows.
    """

    def __init__(self, limit: FixedRate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = limit.requests / 10
        self._rate = (limit.requests - self._burst) / limit.seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = self._burst, clock()

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for a permit; False when stopped instead."""
        while not stop.is_set():
            seconds = self._take()
            if seconds <= 0.0:
                return True
            stop.wait(min(seconds, GLANCE_SECONDS))
        return False

    def succeeded(self) -> None:
        """Nothing changes."""

    def throttled(self, retry_after: float | None) -> None:
        """Give no permits for this number of seconds."""
        with self._lock:
            self._refill()
            self._left = min(self._left, -self._rate * (retry_after or 0.0))

    def withdrawn(self) -> None:
        """Nothing changes: it may have counted."""

    def _take(self) -> float:
        """Take a permit and give 0, or say for how many seconds there is none."""
        with self._lock:
            self._refill()
            if self._left < 1.0 - SLACK:
                return (1.0 - self._left) / self._rate
            self._left -= 1.0
            return 0.0

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
