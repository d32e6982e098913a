"""`approve`: a second person signs another person's plan."""

from __future__ import annotations

from pathlib import Path

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, counted, local_time, tell
from partner_tools.cli.options import file_path, key_option
from partner_tools.cli.signals import agree, require_terminal
from partner_tools.cli.signing_key import (
    create_key,
    default_key_file,
    unlock_key,
)
from partner_tools.cli.wiring import load_config
from partner_tools.guards import count_nobodys, count_removals, question
from partner_tools.model import Outcome, Plan
from partner_tools.outstanding.decision import Risk, risks_in_words
from partner_tools.workspace.approvals import approve as sign
from partner_tools.workspace.approvals import refuse_signer
from partner_tools.workspace.batches import load_plan
from partner_tools.workspace.environment import this_account


@command("approve")
@click.argument("plan", required=False, metavar="PLAN", type=file_path())
@click.option("--init", is_flag=True, help="Create your signing key and print its public key.")
@key_option("Your signing key.")
@click.option("--as-planner", is_flag=True, help="Sign a plan that you made, as its planner.")
@click.option(
    "--yes", is_flag=True, help="Do not ask for confirmation; required without a terminal."
)
def approve(
    call: Call, plan: Path | None, init: bool, key_file: Path | None, as_planner: bool, yes: bool
) -> int:
    """Sign a plan as a second person.

    The signature is written to a file next to the plan (PLAN.approval.json), and is valid for
    exactly this plan. With guards.require_approval a plan is executed only if its planner signed it
    with --as-planner and another person approved it. The command asks for the key's passphrase, or
    takes it from PARTNER_TOOLS_SIGNING_PASSPHRASE.

    \b
    Example:
      partner-tools approve --init
      partner-tools approve plan.json --as-planner
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
    refuse_signer(read, this_account(), as_planner=as_planner)
    _confirm(read, document["digest"], yes)
    signed = sign(plan, unlock_key(file, config), this_account(), as_planner=as_planner)
    tell(f"signed {document['digest']}: {signed}")
    if as_planner:
        tell("next: a second person approves it; send both files, side by side:")
        tell(f"  {call.again('approve', str(plan))}")
    else:
        tell("next: the machine that executes it needs both files, side by side:")
        tell(f"  {call.again('deregister', '--plan', str(plan))}")
    return 0


def _confirm(plan: Plan, digest: str, yes: bool) -> None:
    removals = count_removals(plan.devices)
    planner = " · ".join(filter(None, (plan.planner.name, plan.planner.id))) or "an unnamed account"
    tell(clean(f"planned by {planner} at {local_time(plan.created_at)}"))
    tell(f"{counted(removals, 'device')} would be removed through {plan.channel}:")
    tell(clean(question(plan.customers, count_nobodys(plan.devices))))
    named = {
        risk: [
            each.device.identity.serial_number or f"row {each.device.row}"
            for each in plan.devices
            if risk in each.risks and each.outcome is Outcome.PENDING
        ]
        for risk in Risk
    }
    for line in risks_in_words(named):
        tell(line)
    tell(digest)
    if yes:
        return
    require_terminal(
        "the plan has to be reviewed", "pass --yes to sign without confirmation", rule="no-terminal"
    )
    agree("Sign it?", "nothing was signed")
