"""How many processes share the tests, and what these take from whoever started them: nothing."""

from __future__ import annotations

import os
import signal

# Set on many build machines, it hides what is lost with a buffer that is flushed too late.
os.environ.pop("PYTHONUNBUFFERED", None)

# Ignored in a background job, and then in every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for processes, sockets and clocks."""
    return (os.cpu_count() or 1) + 1
