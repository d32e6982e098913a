"""Progress on stderr: on a terminal one line that is written over, else a line now and then."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from partner_tools.cli.console import FORM, clean, counted, is_screen, tell
from partner_tools.model import Outcome

LINE_EVERY_SECONDS = 10.0
REFRESHES_PER_SECOND = 2.0
"""How often the line of a terminal is written again, so that pauses and the time left show."""


class StatusLine:
    """One line that shows how far something has come; nothing if quiet."""

    def __init__(self, line: Callable[[], str], *, quiet: bool, clock: Callable[[], float]) -> None:
        self._line = line
        self._quiet = quiet
        self._clock = clock
        self._told_at = clock()
        self._status: Any = None

    def show(self) -> None:
        """Begin to show the line on a terminal; elsewhere say it if the last time is long ago."""
        if self._quiet:
            return
        if is_screen():
            if self._status is None:
                self._start()
        elif self._clock() - self._told_at >= LINE_EVERY_SECONDS:
            self._told_at = self._clock()
            tell(self._line())

    def stop(self) -> None:
        if self._status is not None:
            FORM.above = None
            self._status.stop()
            self._status = None

    def _start(self) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._status = console.status(self, refresh_per_second=REFRESHES_PER_SECOND)
        self._status.start()
        # Above what is drawn there; click would write into the midst of that.
        FORM.above = partial(
            console.print, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def __rich__(self) -> str:
        return escaped(self._line())


class Progress:
    """How far a removal has come. `settled` is called once a device, by one thread at a time.

    `throttle` gives a short note on the rate limiter's state, empty when there is none.
    """

    def __init__(
        self,
        total: int,
        *,
        quiet: bool,
        throttle: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._throttle = throttle
        self._clock = clock
        self._started = clock()
        self._counts: Counter[Outcome] = Counter()
        self._shown = StatusLine(self.line, quiet=quiet, clock=clock)

    def __enter__(self) -> Self:
        if self._total and is_screen():
            self._shown.show()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._shown.stop()

    def settled(self, outcome: Outcome) -> None:
        self._counts[outcome] += 1
        self._shown.show()

    def line(self) -> str:
        done = self._counts.total()
        rate = done / max(self._clock() - self._started, 1e-6)
        parts = [
            f"{done} of {self._total}",
            " ".join(f"{number} {outcome}" for outcome, number in self._counts.items()),
            f"{rate:.1f}/s",
            f"about {_span((self._total - done) / rate)} left" if rate else "",
            self._throttle(),
        ]
        return ", ".join(filter(None, parts))


class Reading:
    """How much was read of what the services list, and what a read waits for. Thread-safe.

    Elsewhere than on a terminal each wait has a line of its own.
    """

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._customers: set[str] = set()
        self._pages = 0
        self._devices = 0
        self._wait = ""
        self._until = clock()
        self._shown = StatusLine(self.line, quiet=quiet, clock=clock)

    def listed(self, tenant: str, devices: int) -> None:
        with self._lock:
            self._customers.add(tenant)
            self._pages += 1
            self._devices += devices
            self._shown.show()

    def waiting(self, what: str, seconds: float) -> None:
        """Show that a read is retried in `seconds`."""
        with self._lock:
            self._wait = f"{what}; trying again in {max(seconds, 1):.0f} s"
            self._until = self._clock() + seconds
            if is_screen():
                self._shown.show()
            elif not self._quiet:
                tell(self._wait)

    def line(self) -> str:
        """How far the reading has come, and what it waits for just now."""
        devices, pages = counted(self._devices, "device"), counted(self._pages, "page")
        read = f"reading: {devices} on {pages} of {counted(len(self._customers), 'customer')}"
        waits = self._clock() < self._until
        return f"{read if self._pages else 'reading'} ({self._wait})" if waits else read

    def stop(self) -> None:
        with self._lock:
            self._shown.stop()


def escaped(line: str) -> str:
    """A line in which no foreign text is markup, or moves the cursor."""
    from rich.markup import escape

    return escape(clean(line))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
