"""`plan`: reads only; writes what a run would do, for a person to review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from partner_tools import RunOptions
from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.options import (
    BATCH_NAMES,
    OutputFile,
    batch_options,
    check_options,
    result_options,
)
from partner_tools.cli.reporter import ConsoleReporter, conclude
from partner_tools.cli.wiring import load_batch, opened


@command("plan")
@click.argument("batch", required=False, metavar="[BATCH]", shell_complete=completers.files)
@click.option("-o", "plan_to", type=OutputFile(), required=True, help="Plan file to write.")
@batch_options
@check_options
@result_options
def plan(call: Call, batch: str | None, plan_to: Path, junit: Path | None, **given: Any) -> int:
    """Show what a removal would do, and write it to a plan file. Removes nothing.

    The plan file lists what will be removed, what will not, and why. Its digest protects it from
    changes; `deregister --plan` executes it.

    \b
    Example:
      partner-tools plan retired.csv --via partner-center \\
          --customer contoso.onmicrosoft.com -o plan.json
    """
    said = {name: given.pop(name) for name in BATCH_NAMES}
    loaded = load_batch(call.common, batch, **said)
    with opened(call) as workspace:
        result = workspace.plan(
            loaded,
            via=said["via"],
            customer=said["customer"],
            options=RunOptions(**given),
            save_as=plan_to,
            observer=ConsoleReporter(call=call, workspace=workspace, junit=junit),
        )
    return conclude(call, result, saved=plan_to)
