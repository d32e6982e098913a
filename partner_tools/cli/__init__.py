"""The commands: the only place that wires parts, reads configuration and prints."""

from __future__ import annotations

from partner_tools.cli.main import main

__all__ = ["main"]
