"""A stop that another process may ask for: what has not left stays, what has left is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from partner_tools.engine.request_executor import Stop

LOOK_SECONDS: Final = 1.0
"""So often the ledger is asked whether the run was cancelled."""
GLANCE_SECONDS: Final = 0.25


class Sign(Stop, Protocol):
    """What stops work, with the clock that the work goes by and a way to pass its time."""

    def clock(self) -> float:
        """Seconds of one monotonic clock."""

    def nap(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait for an event, at most `timeout` seconds; whether it is set."""


class CancelSign:
    """Set when the user stops, once the run was cancelled elsewhere, and when it has to give way.

    `cancelled` is asked by whoever looks at the sign, at most every `LOOK_SECONDS`; nothing is
    asked after `heed`, so that what has left can be settled.
    """

    def __init__(self, stop: Sign, cancelled: Callable[[], bool]) -> None:
        self._stop = stop
        self._ask = cancelled
        self._clock = stop.clock
        self._asking = threading.Lock()
        self._asked_at = stop.clock()
        self._heeded = False
        self._until: float | None = None
        self.cancelled = False

    def is_set(self) -> bool:
        """Whether to stop."""
        if self._until is not None and self._clock() >= self._until:
            return True
        return self._stop.is_set() or (self._is_cancelled() and not self._heeded)

    def clock(self) -> float:
        """Seconds of the clock of the stop that it adds to."""
        return self._clock()

    def nap(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait for an event as that stop does."""
        return self._stop.nap(event, timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep for `timeout` seconds, or less when it is set meanwhile; whether it is set."""
        until = None if timeout is None else self._clock() + timeout
        while not self.is_set():
            left = GLANCE_SECONDS if until is None else min(GLANCE_SECONDS, until - self._clock())
            if left <= 0.0:
                return False
            self._stop.wait(left)
        return True

    def give_way_after(self, seconds: float | None) -> None:
        """Be set after so many seconds, so that others have their turn; None: not any more."""
        self._until = None if seconds is None else self._clock() + seconds

    def heed(self) -> bool:
        """Whether the run was cancelled; from now on the sign is not set by that any more."""
        self._heeded = self.cancelled
        return self.cancelled

    def _is_cancelled(self) -> bool:
        if self.cancelled or not self._asking.acquire(blocking=False):
            return self.cancelled
        try:
            if self._clock() - self._asked_at >= LOOK_SECONDS:
                self.cancelled = self._ask()
                self._asked_at = self._clock()
        finally:
            self._asking.release()
        return self.cancelled


def heed(stop: Stop) -> bool:
    """Whether a stop came from cancelling: what follows then only settles what has left."""
    return isinstance(stop, CancelSign) and stop.heed()


@contextmanager
def giving_way(stop: Stop, seconds: float) -> Iterator[None]:
    """Let the block last no longer than so many seconds, where the stop can be set by time."""
    sign = stop if isinstance(stop, CancelSign) else None
    if sign is not None:
        sign.give_way_after(seconds)
    try:
        yield
    finally:
        if sign is not None:
            sign.give_way_after(None)
