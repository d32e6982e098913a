"""What work is stopped by, and waits with."""

from __future__ import annotations

import _thread
import threading
import time


class StopSign:
    """Set from anywhere: no further request leaves then, and the work ends resumably.

    A `threading.Event` that is a sense of time too: what `clock` says, in seconds, and how `nap`
    passes it.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._event = threading.Event()

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep for `timeout` seconds, or less when it is set meanwhile; whether it is set."""
        return self.nap(self._event, timeout) or self._is_set

    def clock(self) -> float:
        """Seconds of one monotonic clock."""
        return time.monotonic()

    def nap(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait for an event, at most `timeout` seconds; whether it is set."""
        return event.wait(timeout)

    def set(self) -> None:
        """Ask for a stop. Takes no lock, so that the handler of a signal may.

        `Event.set` takes one, which the thread that the signal interrupted may hold because it
        begins to wait just then, and would never give back.
        """
        self._is_set = True
        _thread.start_new_thread(self._event.set, ())
