"""`deregister`: validate, plan, confirm, remove, verify, report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from partner_tools import RunOptions
from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.options import (
    BATCH_NAMES,
    WAIT_UNTIL_GONE,
    batch_options,
    check_options,
    file_path,
    folder_path,
    guard_options,
    report_options,
    result_options,
    settle_option,
)
from partner_tools.cli.reporter import ConsoleReporter, conclude
from partner_tools.cli.wiring import load_batch, opened
from partner_tools.model import Snapshot


@command("deregister")
@click.argument("batch", required=False, metavar="[BATCH]", shell_complete=completers.files)
@click.option(
    "--plan", "plan_file", type=file_path(), help="Execute this plan file instead of a batch."
)
@click.option("--dry-run", is_flag=True, help="Stop after the plan: nothing is removed.")
@click.option(
    "--result-dir",
    type=folder_path(exists=True),
    help="Also write the result into this folder: JSON and JUnit XML, named after the batch file.",
)
@click.option("--again", is_flag=True, help="Run a batch that was already completed.")
@batch_options
@guard_options
@check_options
@settle_option(30.0, WAIT_UNTIL_GONE)
@click.option(
    "--max-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="PER-SECOND",
    help="Send at most this many requests per second.",
)
@report_options("Write the customer's handoff to this folder.")
@result_options
def deregister(
    call: Call,
    batch: str | None,
    plan_file: Path | None,
    junit: Path | None,
    result_dir: Path | None,
    again: bool,
    **given: Any,
) -> int:
    """Remove the devices of a batch from Windows Autopilot.

    BATCH is a CSV, XLSX, JSON or JSON Lines file, or - for standard input. The command validates
    and plans the batch, asks for confirmation, removes the devices, and checks that they are gone.

    \b
    Example:
      partner-tools deregister retired.csv --via partner-center \\
          --customer contoso.onmicrosoft.com --dry-run
    """
    call.if_refused = "nothing was removed"
    said = {name: given.pop(name) for name in BATCH_NAMES}
    options = RunOptions(**given)
    if options.require_intune_clear and options.snapshot is Snapshot.NONE:
        raise click.UsageError("--require-intune-clear needs the snapshot: leave out --no-snapshot")
    if plan_file is not None:
        if batch is not None or any(value and value != "all" for value in said.values()):
            raise click.UsageError("--plan is complete: give neither a batch nor its options")
        if result_dir is not None:
            raise click.UsageError(
                "--result-dir names files after a batch: it cannot be combined with --plan"
            )
    what = plan_file or load_batch(call.common, batch, **said)
    with opened(call) as workspace:
        result_file = None
        if result_dir is not None:
            # A list without a file has no name: its batch id, as a file may be called.
            called = re.sub(r"[^\w.-]", "_", said["batch_id"] or "result")
            named = Path(batch).name if batch and batch != "-" else called
            result_file = result_dir / f"{named}.result.json"
        observer = ConsoleReporter(
            call=call,
            workspace=workspace,
            junit=junit,
            result_file=result_file,
            look_only="--dry-run",
        )
        if isinstance(what, Path):
            result = workspace.deregister_plan(
                what, options=options, confirm=observer.ask, again=again, observer=observer
            )
        else:
            result = workspace.deregister(
                what,
                via=said["via"],
                customer=said["customer"],
                options=options,
                confirm=observer.ask,
                again=again,
                observer=observer,
            )
    return conclude(call, result)
