"""Log lines on stderr: text for people, JSON for pipelines. Never a secret."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from partner_tools.cli.console import clean, json_line, write_line
from partner_tools.cli.options import Common

LIBRARIES = (
    *("urllib3", "msal", "msal_extensions", "alembic", "sqlalchemy", "filelock"),
    "psycopg.pool",  # several lines a second while a database is away, which a worker says itself
)
"""Their own lines may carry what ours leave out (URLs with queries), so only errors are heard."""
LOST = "ConnectorException"
"""The queue logs this with a traceback while the database is unavailable: it is no bug."""


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_line(self.format(record))
        except Exception:  # noqa: BLE001 - what cannot be logged ends nothing, as everywhere
            self.handleError(record)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(_without_trace(record)))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record = _without_trace(record)
        return json_line(
            record.created,
            record.levelname.lower(),
            record.name,
            record.getMessage(),
            error=self.formatException(record.exc_info) if record.exc_info else None,
        )


def _without_trace(record: logging.LogRecord) -> logging.LogRecord:
    """The record, with what led to a lost database as words on its line."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None or type(error).__name__ != LOST:
        return record
    said = copy.copy(record)
    reason = " ".join(str(error.__cause__ or error).split())
    said.msg, said.args = f"{record.getMessage()} ({reason})", ()
    said.exc_info = said.exc_text = None
    return said


@contextmanager
def logging_to_stderr(common: Common) -> Iterator[None]:
    """Send log lines to stderr, as loudly as asked for, while the block lasts."""
    handler = _Stderr()
    handler.setFormatter(
        _JsonLines()
        if common.log_format == "json"
        else _Lines("%(asctime)s %(levelname)s %(message)s")
    )
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    with _at_level("", levels[min(common.verbose, 2)]), ExitStack() as quieted:
        for name in LIBRARIES:
            quieted.enter_context(_at_level(name, logging.ERROR))
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


@contextmanager
def _at_level(name: str, level: int) -> Iterator[None]:
    """One logger at a level, and at its former one afterwards: a library user has their own."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
