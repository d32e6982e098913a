"""Runs the program, and kills it at one numbered point. Started as a process by `crash_points`.

A point is a moment at which something durable or visible may be half done: before a statement of
the database, before and after a commit, before a request, in the middle of its bytes, after it left
and after its answer came. Only libraries below the product are touched.
"""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

POINT = "CRASH_AT"
COUNT_FILE = "CRASH_COUNT_FILE"


def arm(kill_at: int, count_file: Path | None) -> None:
    """Count the points from here on, and die at the one that is asked for."""
    numbers = itertools.count(1)

    def point(_name: str) -> None:
        number = next(numbers)
        if number == kill_at:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        if count_file is not None:
            count_file.write_text(str(number), encoding="utf-8")

    _watch_database(point)
    _watch_requests(point)


def _watch_database(point: Any) -> None:
    @event.listens_for(Engine, "before_cursor_execute")
    def before_statement(*_arguments: Any) -> None:
        point("statement")

    @event.listens_for(Engine, "commit")
    def before_commit(_connection: Any) -> None:
        point("commit")


def _watch_requests(point: Any) -> None:
    send, getresponse = http.client.HTTPConnection.send, http.client.HTTPConnection.getresponse

    def dying_send(self: http.client.HTTPConnection, data: Any) -> None:
        point("before the bytes")
        if isinstance(data, bytes) and len(data) > 1:
            send(self, data[: len(data) // 2])
            point("in the middle of the bytes")
            send(self, data[len(data) // 2 :])
        else:
            send(self, data)
        point("after the bytes")

    def dying_getresponse(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        response = getresponse(self)
        point("answered")
        return response

    http.client.HTTPConnection.send = dying_send  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = dying_getresponse  # type: ignore[method-assign]


def main() -> None:
    """The program's own entry point, with the points armed."""
    count_file = os.environ.get(COUNT_FILE)
    arm(int(os.environ.get(POINT, "0")), Path(count_file) if count_file else None)
    from partner_tools.cli import main as program

    sys.argv[0] = "partner-tools"
    program()


if __name__ == "__main__":
    main()
