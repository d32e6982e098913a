"""The commands: the only place that wires parts, reads configuration and prints."""

from __future__ import annotations

import click


@click.group()
def main() -> None:
    """Take devices out of Windows Autopilot in bulk, and hand the rest to the customer."""
