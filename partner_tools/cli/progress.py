"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from partner_tools.cli.output import tell
from partner_tools.model import Outcome

LINE_EVERY_SECONDS = 10.0


class Progress:
    """How far a removal has come. `settled` is called once a device, by one thread at a time.

    `throttle` gives a short note on the governor's state, empty when there is none.
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
        if self._total and not self._quiet and sys.stderr.isatty():
            self._bar = _open_bar(self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def settled(self, outcome: Outcome) -> None:
        """One more device has an outcome."""
        self._counts[outcome] += 1
        if self._bar is not None:
            task = self._bar.task_ids[0]
            rate = f"{self._rate():.1f}/s"
            note = "  ".join(filter(None, (rate, self._counted(), self._throttle())))
            self._bar.update(task, advance=1, description=note)
        elif not self._quiet and self._clock() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = self._clock()
            tell(self.line())

    def line(self) -> str:
        """Where the removal stands, in one line."""
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

    def _rate(self) -> float:
        """Devices a second so far."""
        return self._counts.total() / max(self._clock() - self._started, 1e-6)

    def _counted(self) -> str:
        return " ".join(f"{number} {outcome}" for outcome, number in self._counts.items())


def _open_bar(total: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task("", total=total)
    bar.start()
    return bar
