"""Time that passes at once where it is waited for, for the program and its sandbox alike.

A back-off of two minutes takes no time, and an outage of a second ends for whoever waits that
long. What really takes time (a socket, the database) does so here too.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from partner_tools.cancellation import CancellationToken


class Hurry:
    """One clock for all. Thread-safe."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def clock(self) -> float:
        """Monotonic seconds."""
        return time.monotonic() + self._skipped

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let so many seconds pass, and do what became due."""
        with self._lock:
            self._skipped += seconds
            due = [heapq.heappop(self._due)[2] for _ in self._due_now()]
        for deed in due:
            deed()

    def later(self, seconds: float, deed: Callable[[], object]) -> Callable[[], object]:
        """Have something done in so many seconds: a `partner_tools.sandbox.listener.Later`."""
        with self._lock:
            heapq.heappush(self._due, (self.clock() + seconds, next(self._numbers), deed))
        return self._due.clear

    def make_token(self) -> CancellationToken:
        """What a command waits with."""
        return _HurriedStopSign(self)

    def _due_now(self) -> range:
        now = self.clock()
        return range(sum(at <= now for at, _, _ in self._due))


class _HurriedStopSign(CancellationToken):
    def __init__(self, hurry: Hurry) -> None:
        super().__init__()
        self._hurry = hurry

    def clock(self) -> float:
        return self._hurry.clock()

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        if timeout is None:
            return event.wait()
        self._hurry.skip(timeout)
        return event.is_set()
