"""The program at a pseudo-terminal, and somebody who answers its questions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 90


def at_a_terminal(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    answers: Mapping[str, str],
    interrupted_at: str | None = None,
) -> tuple[int, str]:
    """Run a command, and type each answer once its question shows; exit code and screen.

    The questions come in the order of `answers`; a blank at their end tells equal ones apart.
    Once `interrupted_at` is on the screen, the command is interrupted.
    """
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "partner_tools", *arguments],
        env={**os.environ, **environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=Path(__file__).parents[2],
    )
    os.close(theirs)
    screen, waiting = "", list(answers.items())
    asked_at, deadline = 0, time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side closed it
            break
        screen += piece.decode("utf-8", "replace")
        if not piece:
            break
        if waiting and waiting[0][0].strip() in screen[asked_at:].rpartition("\n")[2]:
            os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
            asked_at = len(screen)
        if interrupted_at is not None and interrupted_at in screen:
            interrupted_at = None
            process.send_signal(signal.SIGINT)
    os.close(ours)
    return process.wait(timeout=SECONDS), screen
