"""Runs the program in a process that is killed at one numbered point, or whose disk is full.

A point is a moment at which something durable or visible may be half done: before a statement of
the database, before a commit, before and after a file takes its place, before a request, in the
middle of its bytes, after it left and after its answer came. Only libraries below the product are
touched, and only in the process that is to die.
"""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from partner_tools.cancellation import CancellationToken
from partner_tools.cli import main
from partner_tools.cli.app import Call

HASTE = 25.0
"""How much faster than real time passes for whoever waits in a trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a process is to do, and how it ends before its time.

    `kill_at` is the point at which it is killed; `points_file` has the number of points passed.
    `file_bytes` is the size beyond which no file can grow, as on a disk that is full.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path
    kill_at: int | None = None
    points_file: Path | None = None
    file_bytes: int | None = None


def run(command: Command) -> None:
    """Be that process; ends with the program's exit code, or by SIGKILL."""
    for stream, path in ((1, command.stdout), (2, command.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ.update(command.environment)
    points = Points(command.kill_at)
    if command.kill_at is not None or command.points_file is not None:
        points.watch()
    if command.file_bytes is not None:
        _fill_disk(command.file_bytes)
    try:
        main(args=list(command.arguments), prog_name="partner-tools", obj=Call(make_token=Hasty))
    finally:
        if command.points_file is not None:
            command.points_file.write_text("\n".join(points.passed), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()


class Hasty(CancellationToken):
    """Waits as the program does, on a clock that runs faster."""

    def clock(self) -> float:
        """Seconds of a clock that runs faster."""
        return time.monotonic() * HASTE

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait for less time than was asked for."""
        return event.wait(None if timeout is None else timeout / HASTE)


@dataclass(slots=True)
class Points:
    """Counts the points, and kills this process at the one that is asked for."""

    kill_at: int | None
    passed: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def watch(self) -> None:
        """Count from here on."""
        self._watch_database()
        self._watch_files()
        self._watch_requests()

    def _pass(self, name: str) -> None:
        number = next(self._numbers)
        if number == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed.append(name)

    def _watch_database(self) -> None:
        @event.listens_for(Engine, "before_cursor_execute")
        def before_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            self._pass("statement " + " ".join(statement.split()[:3]))

        @event.listens_for(Engine, "commit")
        def before_commit(_connection: Any) -> None:
            self._pass("commit")

    def _watch_files(self) -> None:
        def around(name: str, deed: Callable[..., Any]) -> Callable[..., Any]:
            def watched(*given: Any, **more: Any) -> Any:
                self._pass(f"before {name}")
                done = deed(*given, **more)
                self._pass(f"after {name}")
                return done

            return watched

        for name in ("replace", "fsync"):
            setattr(os, name, around(name, getattr(os, name)))

    def _watch_requests(self) -> None:
        kind = http.client.HTTPConnection
        send, getresponse = kind.send, kind.getresponse

        def dying_send(connection: http.client.HTTPConnection, data: Any) -> None:
            self._pass("before the bytes")
            if isinstance(data, bytes) and len(data) > 1:
                send(connection, data[: len(data) // 2])
                self._pass("in the middle of the bytes")
                send(connection, data[len(data) // 2 :])
            else:
                send(connection, data)
            self._pass("after the bytes")

        def dying_getresponse(
            connection: http.client.HTTPConnection,
        ) -> http.client.HTTPResponse:
            response = getresponse(connection)
            self._pass("answered")
            return response

        kind.send = dying_send  # type: ignore[method-assign, assignment]
        kind.getresponse = dying_getresponse  # type: ignore[method-assign, assignment]


def _fill_disk(file_bytes: int) -> None:
    """No file of this process can grow beyond so many bytes: writing more fails, as it would."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
