"""Ctrl-C, SIGTERM and a closed terminal: the first lets answers arrive, a second ends at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from partner_tools.cancellation import CancellationToken
from partner_tools.cli.console import as_told
from partner_tools.errors import GuardError

EXIT_INTERRUPTED = 130
STDERR = 2
SHOW_CURSOR = "\x1b[?25h"
"""DECTCEM: a progress bar hides the cursor, and a process that ends at once does not clean up."""
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""The terminal was closed, or the connection to it was lost; Windows has no such signal."""


@contextmanager
def handle_signals(
    stop: CancellationToken, last_words: Callable[[], str | None] = lambda: None
) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and the end of the terminal into `stop` while the block lasts.

    `last_words` is printed to stderr on the second one, which ends at once: how to continue.
    """
    before = {name: signal.getsignal(name) for name in _signals()}
    for name in before:
        signal.signal(name, lambda number, _frame: _heed(number, stop, last_words))
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def asking() -> Iterator[None]:
    """Let Ctrl-C end a prompt, as everywhere else, while the block lasts. Raises click.Abort."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except click.Abort:  # Ctrl-C, or Ctrl-D, behind the question
        _leave_line()
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def discard_typed() -> None:
    """Discard the input typed before a question is shown: it was not an answer to it."""
    if not sys.stdin.isatty():
        return
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def require_terminal(what: str, remedy: str, *, rule: str = "not-confirmed") -> None:
    """Raise GuardError if there is no terminal to ask on; `what` would have been asked about."""
    if not sys.stdin.isatty():
        raise GuardError(f"{what}, but there is no terminal to ask on", rule=rule, remedy=remedy)


def agree(question: str, otherwise: str) -> None:
    """Ask a person. Raises GuardError, which says what was not done, unless the answer is yes."""
    with asking():
        discard_typed()
        agreed = click.confirm(question, err=True)
    if not agreed:
        raise GuardError(otherwise, rule="not-confirmed", remedy="run it again when you are sure")


def _signals() -> list[signal.Signals]:
    """SIGINT and SIGTERM; Ctrl-Break on Windows, elsewhere SIGHUP, which `nohup` has ignored."""
    names = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):
        names.append(signal.SIGBREAK)
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        names.append(HANGUP)
    return names


def _heed(number: int, stop: CancellationToken, last_words: Callable[[], str | None]) -> None:
    if stop.is_set() and number == HANGUP:  # a closed terminal sends it twice: shell, then kernel
        return
    _leave_line()
    if stop.is_set():
        if os.isatty(STDERR) and os.environ.get("TERM") != "dumb":
            _write(SHOW_CURSOR)
        if words := last_words():
            _say(words)
        os._exit(EXIT_INTERRUPTED)
    stop.set()
    _say("Stopping: answers in flight are awaited; Ctrl-C again ends at once.")


def _say(line: str) -> None:
    _write(f"{as_told(line)}\n")


def _write(text: str) -> None:
    """On stderr past its buffer, which the interrupted code may be writing to just now."""
    with suppress(OSError):
        os.write(STDERR, text.encode())


def _leave_line() -> None:
    """Start a new line below a terminal's bar or question, and the `^C` behind it."""
    if os.isatty(STDERR):
        _write("\n")
