"""How many processes share the tests, what they take over from where they were started (nothing),
what they may not leave open, and what the summary says of those that were skipped."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import warnings
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy is no fault of what is tested.
settings.register_profile(
    "without a clock", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("without a clock")

# Set on many build machines, it hides what is lost with a buffer that is flushed too late.
os.environ.pop("PYTHONUNBUFFERED", None)

# Ignored in a background job, and then in every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


class WatchedConnection(sqlite3.Connection):
    """Warns where it is left to the garbage collector, as Python's own does from 3.13 on."""

    is_closed = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.opened_in = os.environ.get("PYTEST_CURRENT_TEST")

    def close(self) -> None:
        super().close()
        self.is_closed = True

    def __del__(self) -> None:
        if not self.is_closed:
            warnings.warn(f"unclosed database of {self.opened_in}", ResourceWarning, stacklevel=1)


if sys.version_info < (3, 13):
    watched = partial(sqlite3.connect, factory=WatchedConnection)
    sqlite3.connect = sqlite3.dbapi2.connect = watched  # type: ignore[assignment]


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for processes, sockets and clocks."""
    return (os.cpu_count() or 1) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by their reasons."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = Counter(str(each.longrepr[2]).removeprefix("Skipped: ") for each in skipped)
    if reasons:
        terminalreporter.section("skipped")
        for reason, tests in reasons.most_common():
            terminalreporter.write_line(f"{tests:5}  {reason}")
