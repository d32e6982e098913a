"""Cancellation: asks work to stop at the next safe point, so that the run can be resumed."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOOK_SECONDS: Final = 1.0
"""How often a token asks whether its run was cancelled elsewhere."""
GLANCE_SECONDS: Final = 0.25
"""How soon a waiting token notices its parent, its deadline and a cancelled run."""


class CancellationToken:
    """Set to cancel work: no further request leaves then, and the run ends resumably.

    A token also has the clock of the work: `clock` in seconds, and `wait_for`, which lets time
    pass. A token with a `parent` is set when the parent is. `cancelled` asks whether the run was
    cancelled elsewhere; it is called at most every `LOOK_SECONDS`, and not after
    `acknowledge_cancel`, so that requests which have left can be settled.
    """

    def __init__(
        self,
        parent: CancellationToken | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._parent = parent
        self._is_set = False
        self._event = threading.Event()
        self._ask = cancelled
        self._asking = threading.Lock()
        self._asked_at = parent.clock() if parent else 0.0
        self._was_cancelled = False
        self._is_acknowledged = False
        self._deadline: float | None = None

    def is_set(self) -> bool:
        if self._is_set or (self._deadline is not None and self.clock() >= self._deadline):
            return True
        if self._parent is None:
            return False
        return self._parent.is_set() or (self._is_cancelled() and not self._is_acknowledged)

    def set(self) -> None:
        """Ask for a stop. Takes no lock, so a signal handler may call it.

        `Event.set` takes a lock, which the thread that the signal interrupted may hold because it
        is just beginning to wait, and would then never release.
        """
        if not self._is_set:
            self._is_set = True
            _thread.start_new_thread(self._event.set, ())

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep for `timeout` seconds, or less when it is set meanwhile; whether it is set."""
        if self._parent is None:
            return self.wait_for(self._event, timeout) or self.is_set()
        until = None if timeout is None else self.clock() + timeout
        while not self.is_set():
            left = GLANCE_SECONDS if until is None else min(GLANCE_SECONDS, until - self.clock())
            if left <= 0.0:
                return False
            self.wait_for(self._event, left)
        return True

    def clock(self) -> float:
        """Seconds of one monotonic clock."""
        return self._parent.clock() if self._parent else time.monotonic()

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait for an event, at most `timeout` seconds; whether it is set."""
        return self._parent.wait_for(event, timeout) if self._parent else event.wait(timeout)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Be set after this many seconds, while the block lasts, so that others get a turn."""
        self._deadline = self.clock() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def acknowledge_cancel(self) -> bool:
        """Whether the run was cancelled elsewhere; that does not keep the token set any longer."""
        self._is_acknowledged = self._was_cancelled
        return self._was_cancelled

    def _is_cancelled(self) -> bool:
        if self._was_cancelled or not self._asking.acquire(blocking=False):
            return self._was_cancelled
        try:
            if self.clock() - self._asked_at >= LOOK_SECONDS:
                self._was_cancelled = self._ask()
                self._asked_at = self.clock()
        finally:
            self._asking.release()
        return self._was_cancelled
