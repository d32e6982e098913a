"""`plan`: reads only; writes what a run would do, for a person to review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.commands.deregister import deregister_batch
from partner_tools.cli.options import OutputFile, batch_options, result_options
from partner_tools.workspace import RunOptions


@command("plan")
@click.argument("batch", required=False, metavar="[BATCH]", shell_complete=completers.files)
@click.option(
    "-o",
    "plan_to",
    type=OutputFile(),
    required=True,
    help="Plan file to write.",
)
@batch_options
@result_options
def plan(call: Call, batch: str | None, plan_to: Path, junit: Path | None, **said: Any) -> int:
    """Show what a removal would do, and write it to a plan file. Removes nothing.

    The plan file lists what will be removed, what will not, and why. Its digest protects it from
    changes; `deregister --plan` executes it.

    \b
    Example:
      partner-tools plan retired.csv --via partner-center \\
          --customer contoso.onmicrosoft.com -o plan.json
    """
    return deregister_batch(
        call, batch, RunOptions(dry_run=True), junit=junit, plan_to=plan_to, **said
    )
