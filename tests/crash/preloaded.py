"""What the process has loaded that all trials are forked from: a trial costs a fork, not a start.

Imported by that process alone: it takes everything out of the collector's way for good.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil

import alembic.command  # noqa: F401 - loaded once, for all
import platformdirs  # noqa: F401

import partner_tools
from partner_tools.intake.schema import checker
from tests.crash import dying  # noqa: F401

NOT_NEEDED = ("partner_tools.__main__", "partner_tools.ledger.migrations", "partner_tools.sandbox")


def load_everything() -> None:
    """Load every module and schema of the program."""
    for found in pkgutil.walk_packages(partner_tools.__path__, "partner_tools."):
        if not found.name.startswith(NOT_NEEDED):
            importlib.import_module(found.name)
    for schema in ("config", "plan", "event", "handoff", "result"):
        checker(schema)


load_everything()
gc.freeze()
