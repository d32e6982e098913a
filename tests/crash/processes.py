"""Starts commands as processes of their own, cheaply: forked from one that has loaded everything.

Where the operating system cannot fork, each is started anew.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import dying

LONGEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a process ended. `exit_code` is negative where a signal ended it."""

    exit_code: int
    stdout: str
    stderr: str
    points: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON that it printed; empty where it printed none."""
        found: dict[str, Any] = json.loads(self.stdout) if self.stdout.strip() else {}
        return found


def _make_context() -> Any:
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.preloaded"])
    return context


_CONTEXT = _make_context()


class Started:
    """A command under way in a process of its own."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        kill_at: int | None = None,
        count: bool = False,
        file_bytes: int | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        at = Path(self._folder.name)
        self._command = dying.Command(
            arguments=arguments,
            environment=environment,
            stdout=at / "stdout",
            stderr=at / "stderr",
            kill_at=kill_at,
            points_file=at / "points" if count else None,
            file_bytes=file_bytes,
        )
        self._process = _CONTEXT.Process(target=dying.run, args=(self._command,), daemon=True)
        self._process.start()

    def wait(self) -> Done:
        """How it ended. Raises TimeoutError, and ends it, where it does not by itself."""
        self._process.join(LONGEST_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"{self._command.arguments} did not end")
        code = self._process.exitcode
        self._process.close()
        with self._folder:
            points = self._command.points_file
            return Done(
                exit_code=-1 if code is None else code,
                stdout=_text(self._command.stdout),
                stderr=_text(self._command.stderr),
                points=tuple(_text(points).splitlines()) if points else (),
            )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
