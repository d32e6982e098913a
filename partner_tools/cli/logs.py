"""Log lines on stderr: text for people, JSON for pipelines. Never a secret."""

from __future__ import annotations

import json
import logging
import sys

from partner_tools.cli.options import Common

LIBRARIES = ("urllib3", "msal", "msal_extensions", "alembic", "sqlalchemy", "filelock")
"""Their own lines may carry what ours leave out (URLs with queries), so only errors are heard."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(line, ensure_ascii=True)


def set_up_logs(common: Common) -> None:
    """Send the package's log lines to stderr, as loudly as asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines()
        if common.log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    root.setLevel(levels[min(common.verbose, 2)])
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
