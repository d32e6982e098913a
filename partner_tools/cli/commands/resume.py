"""`resume`: finishes an interrupted run, and never repeats what is settled."""

from __future__ import annotations

from pathlib import Path

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.options import guard_options, result_options
from partner_tools.cli.reporter import ConsoleReporter, conclude
from partner_tools.cli.wiring import opened


@command("resume")
@click.argument("run", metavar="RUN", shell_complete=completers.runs)
@guard_options
@click.option(
    "--stale-ok",
    is_flag=True,
    help="Send requests that an OEM Direct run left open for longer than guards.stale_hours.",
)
@result_options
def resume(
    call: Call, run: str, yes: bool, max_devices: int | None, stale_ok: bool, junit: Path | None
) -> int:
    """Finish an interrupted run.

    Devices whose request was never answered are checked first; completed devices are never
    repeated. A run that ended during planning is planned again. For a finished run, prints its
    result.

    \b
    Example:
      partner-tools resume 20260417-101530-4f2a9c
    """
    with opened(call) as workspace:
        observer = ConsoleReporter(call=call, workspace=workspace, junit=junit)
        result = workspace.resume(
            run,
            yes=yes,
            max_devices=max_devices,
            stale_ok=stale_ok,
            confirm=observer.ask,
            observer=observer,
        )
    return conclude(call, result)
