"""Ctrl-C and SIGTERM: the first lets answers in flight arrive, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from partner_tools.workspace.stopping import StopSign

EXIT_INTERRUPTED = 130


@contextmanager
def heeding(stop: StopSign) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into `stop` while the block lasts."""
    before = {name: signal.getsignal(name) for name in _signals()}
    for name in before:
        signal.signal(name, lambda _number, _frame: _heed(stop))
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def asking() -> Iterator[None]:
    """Let Ctrl-C end a prompt, as everywhere else, while the block lasts."""
    before = signal.signal(signal.SIGINT, _end_prompt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _signals() -> list[signal.Signals]:
    """SIGINT and SIGTERM, and on Windows Ctrl-Break."""
    names = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):
        names.append(signal.SIGBREAK)
    return names


def _heed(stop: StopSign) -> None:
    if stop.is_set():
        os._exit(EXIT_INTERRUPTED)
    stop.set()
    click.echo("Stopping: answers in flight are awaited; Ctrl-C again ends at once.", err=True)


def _end_prompt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
