"""`assess`: looks for the devices of a list in a customer's tenant, without a partner's API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from partner_tools import RunOptions, RunResult
from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import say, tallied, tell
from partner_tools.cli.options import (
    READING_NAMES,
    customer_option,
    list_options,
    report_options,
    result_options,
)
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import load_batch, opened


@command("assess")
@click.argument("batch", required=False, metavar="[BATCH]", shell_complete=completers.files)
@click.option(
    "--by-hand",
    is_flag=True,
    help="Write a worksheet for removing the registrations by hand in Partner Center.",
)
@customer_option("Customer: tenant id or domain.")
@list_options
@report_options("Write the customer's handoff to this folder.")
@result_options
def assess(call: Call, batch: str | None, by_hand: bool, junit: Path | None, **given: Any) -> int:
    """Check devices in a customer's tenant without a partner API. Changes nothing.

    For customers without a partner, and for partners that may not use the API, such as indirect
    resellers. BATCH is read as `plan` reads it. With a sign-in for the customer's tenant, the
    command checks Autopilot, Intune and Entra ID; without one, every plane is not verified. Exit 0:
    no record of any device is left; 7: something is left, or not verified.

    With --by-hand the worksheet lists the devices to find in Partner Center, with a box for each;
    `runs done` records the removed ones. Otherwise the customer removes the registrations: `report`
    writes the handoff, and `cleanup` carries it out.

    \b
    Example:
      partner-tools assess retired.csv --customer contoso.com --report handoff
      partner-tools assess retired.csv --customer contoso.com --by-hand
    """
    names = ("customer", "batch_id", "reason", "reference", *READING_NAMES)
    said = {name: given.pop(name) for name in names}
    read = load_batch(call.common, batch, has_channel=False, **said)
    with opened(call) as workspace:
        observer = ConsoleReporter(call=call, workspace=workspace, junit=junit)
        result = workspace.assess(
            read,
            customer=said["customer"],
            options=RunOptions(by_hand=by_hand, **given),
            observer=observer,
        )
    if call.output == "text":
        _show_planes(result)
        for path in result.reports:
            click.echo(path)
        tell(f"next: {_next(call, result, by_hand)}")
    return result.exit_code


def _show_planes(result: RunResult) -> None:
    counts: dict[str, Counter[str]] = {}
    for device in result.devices:
        planes: Mapping[str, str] = device.account.get("planes", {})
        for plane, status in planes.items():
            counts.setdefault(plane, Counter())[status] += 1
    for plane, statuses in counts.items():
        say(f"{plane}: {tallied(statuses)}")


def _next(call: Call, result: RunResult, by_hand: bool) -> str:
    if result.exit_code == 0:
        return call.again("certificate", result.run, "-o", "certificates")
    if by_hand:
        return call.again("runs", "done", result.run, "--all")
    handoff = next((each for each in result.reports if each.suffix == ".json"), None)
    if handoff is not None:
        return call.again("cleanup", str(handoff))
    return call.again("report", result.run, "-o", "handoff")
