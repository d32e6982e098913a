"""The program at a pseudo-terminal, and a user who answers its questions."""

from __future__ import annotations

import os
import select
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
    Once `interrupted_at` is on the screen, the command is interrupted, and again every three
    seconds: a signal that arrives just before the read begins does not end it.
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
    interrupted = False
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 3.0)[0]:
            if interrupted:
                process.send_signal(signal.SIGINT)
            continue
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
        if not interrupted and interrupted_at is not None and interrupted_at in screen:
            interrupted = True
            time.sleep(0.2)  # the read that follows the question
            process.send_signal(signal.SIGINT)
    os.close(ours)
    return process.wait(timeout=SECONDS), screen
