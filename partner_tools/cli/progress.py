"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing if quiet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from partner_tools.cli.console import FORM, clean, counted, is_screen, tell
from partner_tools.model import Outcome

LINE_EVERY_SECONDS = 10.0
NOTE_SECONDS = 0.5
"""The greatest age of the note beside the bar."""


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
        self._quiet = quiet
        self._throttle = throttle
        self._clock = clock
        self._started = clock()
        self._last_line = self._started
        self._counts: Counter[Outcome] = Counter()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._total and not self._quiet and is_screen():
            self._bar = _open_bar(self._total, self._note)
            FORM.above = _above(self._bar.console)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            FORM.above = None
            self._bar.stop()

    def settled(self, outcome: Outcome) -> None:
        """One more device has an outcome."""
        self._counts[outcome] += 1
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif not self._quiet and self._clock() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = self._clock()
            tell(self.line())

    def line(self) -> str:
        """Return the removal's progress in one line."""
        done, rate = self._counts.total(), self._rate()
        left = (self._total - done) / rate if rate else 0.0
        note = self._throttle()
        parts = [
            f"{done} of {self._total}",
            self._counted(),
            f"{rate:.1f}/s",
            f"about {left:.0f} s left",
            *([note] if note else []),
        ]
        return ", ".join(part for part in parts if part)

    def _note(self) -> str:
        """Return the note beside the bar, refreshed while nothing settles, so that pauses show."""
        rate = f"{self._rate():.1f}/s"
        return "  ".join(filter(None, (rate, self._counted(), self._throttle())))

    def _rate(self) -> float:
        """Devices a second so far."""
        return self._counts.total() / max(self._clock() - self._started, 1e-6)

    def _counted(self) -> str:
        return " ".join(f"{number} {outcome}" for outcome, number in self._counts.items())


class Reading:
    """How much was read of what the services list, and what a read waits for. Thread-safe.

    On a terminal one line that is written over, elsewhere a line every few seconds, and one for
    each wait; nothing if quiet.
    """

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._last_line = clock()
        self._lock = threading.Lock()
        self._customers: set[str] = set()
        self._pages = 0
        self._devices = 0
        self._wait = ""
        self._until = clock()
        self._status: Any = None

    def listed(self, tenant: str, devices: int) -> None:
        """One more page of this customer's devices."""
        with self._lock:
            self._customers.add(tenant)
            self._pages += 1
            self._devices += devices
            self._show(self.line())

    def waiting(self, what: str, seconds: float) -> None:
        """Show that a read is retried in `seconds`."""
        with self._lock:
            self._wait = f"{what}; trying again in {max(seconds, 1):.0f} s"
            self._until = self._clock() + seconds
            if is_screen():
                self._show(self.line())
            elif not self._quiet:
                tell(self._wait)

    def line(self) -> str:
        """How far the reading has come, and what it waits for just now."""
        devices, pages = counted(self._devices, "device"), counted(self._pages, "page")
        read = f"reading: {devices} on {pages} of {counted(len(self._customers), 'customer')}"
        waits = self._clock() < self._until
        return f"{read if self._pages else 'reading'} ({self._wait})" if waits else read

    def stop(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._status is not None:
                FORM.above = None
                self._status.stop()
                self._status = None

    def _show(self, line: str) -> None:
        if self._quiet:
            return
        if is_screen():
            if self._status is None:
                self._status = _open_status()
                FORM.above = _above(self._status.console)
            self._status.update(escaped(line))
        elif self._clock() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = self._clock()
            tell(line)


def escaped(line: str) -> str:
    """A line in which no foreign text is markup, or moves the cursor."""
    from rich.markup import escape

    return escape(clean(line))


def _above(console: Any) -> Callable[[str], None]:
    """Write a line above what is drawn there; click would write it into the midst of that."""
    return partial(console.print, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _open_status() -> Any:
    from rich.console import Console

    status = Console(stderr=True).status("reading")
    status.start()
    return status


def _open_bar(total: int, note: Callable[[], str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class NoteColumn(ProgressColumn):
        max_refresh = NOTE_SECONDS

        def render(self, task: Any) -> Text:
            return Text(note())

    bar = Bar(
        BarColumn(),
        MofNCompleteColumn(),
        NoteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task("", total=total)
    bar.start()
    return bar
