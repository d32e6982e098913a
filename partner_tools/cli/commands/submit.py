"""`submit`: hands a batch to the fleet."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from partner_tools import RunOptions
from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import counted, print_document, tell
from partner_tools.cli.options import (
    WAIT_UNTIL_GONE,
    Moment,
    batch_options,
    guard_options,
    output_options,
    settle_option,
)
from partner_tools.cli.signals import asking, discard_typed, require_terminal
from partner_tools.cli.wiring import load_batch, opened

if TYPE_CHECKING:
    from partner_tools.model import Batch, ChannelName


@command("submit")
@click.argument("batch", required=False, metavar="[BATCH]", shell_complete=completers.files)
@batch_options
@guard_options
@click.option(
    "--priority",
    type=click.IntRange(-10, 10),
    metavar="N",
    default=0,
    show_default=True,
    help="Higher goes first; each step doubles the run's share of the rate.",
)
@click.option("--not-before", type=Moment(), help="Do not start before this time (UTC).")
@click.option("--depot", help="Depot that submits the batch. [default: the profile's fleet.depot]")
@settle_option(30.0, WAIT_UNTIL_GONE)
@click.option("--again", is_flag=True, help="Submit a batch that was already submitted.")
@output_options
def submit(
    call: Call,
    batch: str | None,
    yes: bool,
    max_devices: int | None,
    settle: float,
    priority: int,
    not_before: datetime | None,
    depot: str | None,
    again: bool,
    **said: Any,
) -> int:
    """Queue a batch for the workers on the shared ledger.

    Prints the run. The batch is validated and stored with its job in one transaction. Submitting
    the same batch again prints its existing run; the same id with other content is refused.

    \b
    Example:
      partner-tools submit returns.csv --via oem-direct --batch-id RMA-17 \\
          --yes --priority 5
    """
    loaded = load_batch(call.common, batch, **said)
    with opened(call) as workspace:
        from partner_tools.fleet.submission import DEFAULT_DEPOT, Handing
        from partner_tools.fleet.submission import submit as submit_batch

        submitted = submit_batch(
            workspace,
            loaded,
            via=said["via"],
            customer=said["customer"],
            options=RunOptions(yes=yes, max_devices=max_devices, settle=settle),
            handing=Handing(
                depot=depot or workspace.config.text("fleet", "depot") or DEFAULT_DEPOT,
                priority=priority,
                not_before=not_before,
                again=again,
            ),
            confirm=_ask,
        )
    told = submitted.document
    if call.output == "text":
        click.echo(submitted.run.run)
        if not submitted.new:
            tell(f"it was submitted before, and is {told['state']}; --again submits it anyway")
    else:
        print_document(call.output, told)
    return 0


def _ask(batch: Batch, channel: ChannelName) -> bool:
    """Have a person confirm the workers' task. Raises GuardError without a terminal."""
    devices = counted(len(batch.devices), "device")
    require_terminal(
        f"{devices} would be removed by workers",
        "pass --yes to confirm, or run `partner-tools plan` first",
    )
    with asking():
        discard_typed()
        return click.confirm(
            f"Workers will remove up to {devices} through {channel}. Submit?", err=True
        )
