"""The commands: the only place that wires parts, reads configuration and prints."""

from __future__ import annotations

from partner_tools.cli.app import main

__all__ = ["main"]
