"""`report`: one handoff per customer of a run, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli.options import FORMAT_CHOICES, FORMATS
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.surroundings import now
from partner_tools.cli.wiring import load_config, open_ledger

if TYPE_CHECKING:
    from partner_tools.config import Config
    from partner_tools.ledger import Ledger
    from partner_tools.model import RunId


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
    config = load_config(call.common)
    with open_ledger(call.common, config) as ledger:
        for path in write_reports(ledger, config, ledger.run(run).run, folder, formats):
            click.echo(path)
    return 0


def write_reports(
    ledger: Ledger, config: Config, run: RunId, folder: Path, formats: tuple[str, ...]
) -> list[Path]:
    """Write the handoffs of a run; the paths of the files."""
    from partner_tools.procedure.handing_over import handoffs
    from partner_tools.report.write import write_handoff

    paths: list[Path] = []
    for document in handoffs(ledger, run, partner=dict(config.get("partner") or {}), now=now()):
        paths += write_handoff(document, folder, formats or FORMATS)
    tell(f"{len(paths)} files of the handoff are in {folder}")
    return paths
