"""`cleanup`: the customer's side of a handoff, in the customer's own tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from partner_tools import RunOptions
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import tell
from partner_tools.cli.options import (
    file_path,
    guard_options,
    report_options,
    result_options,
    settle_option,
)
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened
from partner_tools.model import Outcome, RunState


@command("cleanup")
@click.argument("handoff", metavar="HANDOFF", type=file_path())
@click.option("--apply", is_flag=True, help="Carry out the steps. Without it nothing is changed.")
@click.option(
    "--keys-saved",
    is_flag=True,
    help="Confirm that recovery keys and local administrator passwords are saved.",
)
@click.option(
    "--keys-receipt",
    type=file_path(),
    help="Receipt of the PowerShell file's -SaveKeys, checked against what is stored now.",
)
@guard_options
@settle_option(1800.0, "Wait up to SECONDS for deletions to complete.")
@report_options("Write the updated handoff to this folder instead of HANDOFF's.")
@result_options
def cleanup(call: Call, handoff: Path, junit: Path | None, apply: bool, **given: Any) -> int:
    """Show, and with --apply carry out, the steps of a handoff in your own tenant.

    HANDOFF is the JSON file that the partner sent. The command uses your own sign-in. For each
    device it deletes the Intune record and waits, then unassigns the user, deletes the Autopilot
    registration, syncs, and waits until it is gone. Entra ID objects are never deleted.

    \b
    Example:
      partner-tools cleanup handoff-contoso.com-20260417-101530-4f2a9c.json
      partner-tools cleanup handoff-contoso.com-20260417-101530-4f2a9c.json \\
          --apply --keys-saved
    """
    options = RunOptions(**given)
    with opened(call) as workspace:
        observer = ConsoleReporter(
            call=call, workspace=workspace, junit=junit, look_only="leave out --apply"
        )
        result = workspace.cleanup(
            handoff,
            apply=apply,
            options=options,
            confirm=observer.ask,
            observer=observer,
        )
    if call.output == "text":
        if not apply:
            left = result.counts.get(Outcome.PENDING)
            what = "--apply carries it out" if left else "--apply would do nothing"
            tell(f"nothing was changed; {what}")
        elif result.state is not RunState.FINISHED:
            tell(f"next: {call.again('resume', result.run)}")
    return result.exit_code
