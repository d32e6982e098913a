"""A pace for a service that publishes its limit: so many requests in so many seconds, never more.

Nothing is learned here. A 429 only pauses everybody for as long as the service asks, because it
may come from what others send on the same limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from partner_tools.cancellation import CancellationToken

GLANCE_SECONDS: Final = 0.25
SLACK: Final = 1e-9
"""What rounding may lack of a permit, so that nobody waits for less than a clock can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A published limit: at most `requests` in any `seconds`."""

    requests: int
    seconds: float


class Allowance:
    """Hands out permits: a tenth of the limit at once, the rest evenly. Thread-safe.

    Together they are never more than the limit in any of its windows.
    """

    def __init__(self, limit: Limit, *, clock: Callable[[], float] = time.monotonic) -> None:
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
        """Nobody gets a permit for so many seconds."""
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
