"""`deregister`: validate, plan, confirm, remove, verify, report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools.approval import check_approval, refuse_without_plan
from partner_tools.cli.batch import choose_channel, load_batch, require_customers
from partner_tools.cli.conduct import Wishes, new_conduct
from partner_tools.cli.interruption import heeding
from partner_tools.cli.options import (
    batch_options,
    guard_options,
    removal_options,
    result_options,
)
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.signing import approval_file, approval_rule, load_signatures
from partner_tools.cli.wiring import load_config, open_ledger
from partner_tools.errors import InputError
from partner_tools.model import Batch, ChannelName, Device, Plan, RunId, RunState
from partner_tools.signatures import Purpose, Signature, read_signatures

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger


@command("deregister")
@click.argument("batch", required=False, metavar="BATCH")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Execute this reviewed plan instead of a batch.",
)
@click.option("--dry-run", is_flag=True, help="Stop after the plan: nothing is removed.")
@click.option("--again", is_flag=True, help="Run a batch again that was completed before.")
@batch_options
@guard_options
@removal_options
@result_options
def deregister(
    call: Call,
    batch: str | None,
    plan_file: Path | None,
    junit: Path | None,
    again: bool,
    **given: Any,
) -> int:
    """Remove the devices of a batch from Windows Autopilot.

    BATCH is a CSV, XLSX, JSON or JSON Lines file, or - for standard input. It is validated,
    planned and confirmed before anything is removed; afterwards it is verified.

    \b
    Example:
      partner-tools deregister retired.csv --via partner-center \\
          --customer contoso.onmicrosoft.com --dry-run
    """
    said = {
        name: given.pop(name) for name in ("via", "customer", "batch_id", "reason", "reference")
    }
    wishes = Wishes(**given)
    if wishes.require_intune_clear and not wishes.snapshot:
        raise click.UsageError("--require-intune-clear needs the snapshot: leave out --no-snapshot")
    if plan_file is not None:
        if batch is not None or any(value is not None for value in said.values()):
            raise click.UsageError("--plan says everything: give neither a batch nor its options")
        return deregister_plan(call, plan_file, wishes, junit=junit)
    if batch is None:
        raise click.UsageError("name a batch, or a plan with --plan")
    return deregister_batch(call, batch, wishes, junit=junit, again=again, **said)


def deregister_batch(
    call: Call,
    path: str,
    wishes: Wishes,
    *,
    via: str | None,
    customer: str | None,
    junit: Path | None,
    plan_to: Path | None = None,
    again: bool = False,
    **said: Any,
) -> int:
    """Take a batch from its file to its result; the exit code.

    With `plan_to` or a dry run it ends with the plan. On OEM Direct a batch that was completed
    before has its result printed instead, unless `again` insists.
    """
    config = load_config(call.common)
    if not wishes.dry_run:
        refuse_without_plan(approval_rule(config))
    default = customer or config.text("customer")
    channel = None if via is None else ChannelName(via)
    batch = load_batch(path, channel=channel, customer=customer, **said)
    channel = choose_channel(via, config.text("via"), batch.channel)
    if channel is ChannelName.PARTNER_CENTER:
        require_customers(batch, batch.customer or default)
    batch = replace(batch, customer=batch.customer or default)
    with heeding(stop := call.stop_sign()), open_ledger(call.common, config) as ledger:
        if channel is ChannelName.OEM_DIRECT and not (again or wishes.dry_run):
            completed = completed_run(ledger, batch)
            if completed is not None:
                tell(f"batch {batch.batch_id} was completed by run {completed}; --again insists")
                return new_conduct(call, config, ledger, stop, wishes, junit, completed).finish()
        conduct = new_conduct(call, config, ledger, stop, wishes, junit)
        with ledger.hold(conduct.run), conduct.place(channel) as place:
            conduct.begin(batch, channel)
            plan, document = conduct.plan(place)
            if plan_to is not None:
                write_plan(document, plan_to)
            conduct.execute(place, plan)
        return conduct.finish()


def deregister_plan(call: Call, path: Path, wishes: Wishes, *, junit: Path | None) -> int:
    """Execute a plan that somebody reviewed; the exit code. A dry run shows it only."""
    config = load_config(call.common)
    plan, document = load_plan(path)
    wishes = replace(wishes, approvals=_approvals(path))
    if not wishes.dry_run:
        check_approval(approval_rule(config), document["digest"], plan.planned_by, wishes.approvals)
    with heeding(stop := call.stop_sign()), open_ledger(call.common, config) as ledger:
        conduct = new_conduct(call, config, ledger, stop, wishes, junit)
        with ledger.hold(conduct.run), conduct.place(plan.channel) as place:
            conduct.begin(_batch_of(plan, path), plan.channel)
            conduct.execute(place, conduct.adopt(place, plan, document))
        return conduct.finish()


def completed_run(ledger: Ledger, batch: Batch) -> RunId | None:
    """The run that completed this very batch before.

    Raises InputError where its id was used for another content.
    """
    finished = ledger.runs(
        batch_id=batch.batch_id, channel=ChannelName.OEM_DIRECT, state=RunState.FINISHED
    )
    for record in finished:
        if record.batch_digest != batch.digest:
            raise InputError(
                f"the batch id {batch.batch_id!r} was used for another content by run {record.run}",
                rule="batch-id-reused",
                remedy="give the new batch an id of its own, or insist with --again",
            )
    return finished[0].run if finished else None


def load_plan(path: Path) -> tuple[Plan, dict[str, Any]]:
    """A plan file, checked against its schema and its digest."""
    from partner_tools.intake.schema import checker
    from partner_tools.plan_file import read_plan

    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"the plan {str(path)!r} cannot be read: {error}",
            rule="plan-unreadable",
            remedy="name a file that `partner-tools plan -o` wrote",
        ) from error
    faults = checker("plan").violations(document)
    if faults:
        raise InputError(
            f"the plan {str(path)!r} is not a plan: {faults[0].message}",
            rule="plan-invalid",
            remedy="name a file that `partner-tools plan -o` wrote",
        )
    return read_plan(document), document


def _approvals(plan: Path) -> tuple[Signature, ...]:
    """The signatures beside a plan, none of them checked."""
    document = load_signatures(approval_file(plan), Purpose.APPROVAL)
    return () if document is None else read_signatures(document)


def write_plan(document: dict[str, Any], path: Path) -> None:
    """Write a plan file, private to the user, whole or not at all."""
    from partner_tools.private_file import write_private

    text = json.dumps(document, ensure_ascii=False, indent=2)
    write_private(path, f"{text}\n".encode())
    tell(f"plan written to {path} ({document['digest']})")


def _batch_of(plan: Plan, path: Path) -> Batch:
    devices: tuple[Device, ...] = tuple(each.device for each in plan.devices)
    return Batch(
        batch_id=plan.batch_id,
        file=str(path),
        digest=plan.batch_digest,
        devices=devices,
        reason=plan.reason,
        channel=plan.channel,
    )
