"""`approve`: a second person signs another person's plan."""

from __future__ import annotations

from pathlib import Path

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, counted, tell
from partner_tools.cli.signals import agree, require_terminal
from partner_tools.cli.signing_key import (
    create_key,
    default_key_file,
    unlock_key,
)
from partner_tools.cli.wiring import load_config
from partner_tools.guards import count_nobodys, count_removals, question
from partner_tools.model import Plan
from partner_tools.workspace.approvals import approve as sign
from partner_tools.workspace.approvals import refuse_own
from partner_tools.workspace.batches import load_plan
from partner_tools.workspace.environment import actor


@command("approve")
@click.argument(
    "plan", required=False, metavar="PLAN", type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--init", is_flag=True, help="Create your signing key and print its public key.")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your signing key. [default: in the user's data folder]",
)
@click.option(
    "--yes", is_flag=True, help="Do not ask for confirmation; required without a terminal."
)
def approve(call: Call, plan: Path | None, init: bool, key_file: Path | None, yes: bool) -> int:
    """Sign a plan as a second person.

    The signature goes into a file beside the plan (PLAN.approval.json), and holds for exactly this
    plan. A profile with guards.require_approval executes no plan without one by another person
    than its planner. The key's passphrase is asked for, or PARTNER_TOOLS_SIGNING_PASSPHRASE.

    \b
    Example:
      partner-tools approve --init
      partner-tools approve plan.json
    """
    if init == (plan is not None):
        raise click.UsageError("name a plan to sign, or --init to make your key")
    config = load_config(call.common)
    file = key_file or default_key_file()
    if plan is None:
        public = create_key(file, config)
        tell(f"key written to {file}; its public half is for approval.approvers in the profile:")
        click.echo(public)
        return 0
    read, document = load_plan(plan)
    refuse_own(read, actor())
    _confirm(read, document["digest"], yes)
    signed = sign(plan, unlock_key(file, config), actor())
    tell(f"signed {document['digest']}: {signed}")
    tell("next: whoever executes it needs both files, side by side:")
    tell(f"  {call.again('deregister', '--plan', str(plan))}")
    return 0


def _confirm(plan: Plan, digest: str, yes: bool) -> None:
    """Show what would be signed, and ask."""
    removals = count_removals(plan.devices)
    tell(clean(f"planned by {plan.planned_by or '(no name)'} at {plan.created_at:%F %T %Z}"))
    tell(f"{counted(removals, 'device')} would be removed through {plan.channel}:")
    tell(clean(question(plan.customers, count_nobodys(plan.devices))))
    tell(digest)
    if yes:
        return
    require_terminal(
        "the plan has to be looked at", "pass --yes to sign it unasked", rule="no-terminal"
    )
    agree("Approve it?", "nothing was signed")
