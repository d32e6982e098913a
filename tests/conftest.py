"""How many processes share the tests."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for processes, sockets and clocks."""
    return (os.cpu_count() or 1) + 1
