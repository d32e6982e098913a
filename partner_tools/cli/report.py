"""`report`: one handoff per customer of a run, in every format."""

from __future__ import annotations

from pathlib import Path

import click

from partner_tools.cli.options import FORMAT_CHOICES
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.wiring import opened


@command("report")
@click.argument("run", metavar="RUN")
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the files.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMAT_CHOICES),
    multiple=True,
    help="Format; may be repeated. [default: all]",
)
def report(call: Call, run: str, folder: Path, formats: tuple[str, ...]) -> int:
    """Write one handoff per customer: what was done, and what is still the customer's to do.

    Without evidence from the customer's tenant every step there is shown as not verified.

    \b
    Example:
      partner-tools report 20260417-101530-4f2a9c -o handoff --format html --format xlsx
    """
    with opened(call) as workspace:
        paths = workspace.report(run, folder, formats)
    tell(f"{len(paths)} files of the handoff are in {folder}")
    for path in paths:
        click.echo(path)
    return 0
