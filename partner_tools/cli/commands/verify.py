"""`verify`: asks the services again what is still there, and keeps what they say."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import (
    counted,
    local_time,
    print_document,
    print_table,
    tell,
)
from partner_tools.cli.options import (
    Moment,
    customer_option,
    file_path,
    folder_path,
    result_options,
)
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened
from partner_tools.model import GONE
from partner_tools.result import still_listed

if TYPE_CHECKING:
    from partner_tools import Outstanding, Verification


@command("verify")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=completers.runs)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Keep checking for up to SECONDS until removed devices disappear.",
)
@click.option(
    "--graph",
    is_flag=True,
    help="Also check the customer's tenant: Autopilot, Intune, Entra ID, stored keys.",
)
@click.option(
    "--outstanding",
    is_flag=True,
    help="Check every run with outstanding steps again, and list the customers to remind.",
)
@click.option(
    "--evidence",
    type=file_path(),
    help="Import the results file that the customer's script or cleanup wrote.",
)
@click.option(
    "--since",
    type=Moment(),
    help="With --outstanding: only runs started at or after this time (UTC).",
)
@customer_option("With --outstanding: only this customer, by tenant id, domain or company name.")
@click.option(
    "--remind",
    type=folder_path(),
    help="With --outstanding: write an e-mail for each customer, the handoff attached. Not sent.",
)
@result_options
def verify(
    call: Call,
    run: str | None,
    wait: float,
    graph: bool,
    outstanding: bool,
    evidence: Path | None,
    since: datetime | None,
    customer: str | None,
    remind: Path | None,
    junit: Path | None,
) -> int:
    """Check again that removed devices are gone, and store the evidence.

    With --graph, --wait also waits for changes that the customer's services make by themselves.
    Exits with 7 while a removed device is still listed, and with 5 if Graph was not available.

    With --evidence, imports what the customer reports as done without asking any service; such
    steps become "reported". Exits with 7 while the devices of the file have steps left.

    \b
    Example:
      partner-tools verify 20260417-101530-4f2a9c --graph --wait 300
      partner-tools verify --outstanding --since 2026-01-01 --remind reminders
      partner-tools verify --evidence handoff-result.json
    """
    if evidence is not None:
        if outstanding or wait or graph or since or customer or remind or junit:
            raise click.UsageError("--evidence can be combined with a run only")
        return _take_in(call, run, evidence)
    if outstanding == (run is not None):
        both = " (not both)" * outstanding
        raise click.UsageError(f"name a run, or pass --outstanding for all with open steps{both}")
    if not outstanding and (since or customer or remind):
        raise click.UsageError("--since, --customer and --remind need --outstanding")
    if outstanding and (wait or junit):
        raise click.UsageError("--wait and --junit need one run: name it")
    if run is None:
        return _verify_outstanding(call, since=since, customer=customer, remind=remind)
    return _verify_run(call, run, wait=wait, graph=graph, junit=junit)


def _verify_run(call: Call, run: str, *, wait: float, graph: bool, junit: Path | None) -> int:
    with opened(call) as workspace:
        showing = ConsoleReporter(call=call, workspace=workspace, junit=junit)
        seen = workspace.verify(run, wait=wait, graph=graph, observer=showing)
        showing.show(seen.result)
    if call.output == "text":
        _conclude(call, seen, graph=graph)
    return seen.exit_code


def _conclude(call: Call, seen: Verification, *, graph: bool) -> None:
    """Say what the check came to, and how it comes into the handoff."""
    gone = [each.history for each in seen.result.devices if each.history.outcome in GONE]
    if any(map(still_listed, gone)):
        tell(f"next: {call.again('verify', seen.result.run, '--wait', '300')}")
    elif not gone:
        tell("this run removed nothing")
    elif seen.observable:
        tell("nothing that this run removed is still listed")
    if graph and not seen.unseen:
        tell(f"next: {call.again('report', seen.result.run, '-o', 'handoff')}")


def _verify_outstanding(
    call: Call, *, since: datetime | None, customer: str | None, remind: Path | None
) -> int:
    """Check every run with something open again, and list the customers to remind."""
    with opened(call) as workspace:
        if remind is not None:
            workspace.sender()
        found = workspace.verify_outstanding(
            since=since,
            customer=customer,
            observer=ConsoleReporter(call=call, workspace=workspace),
        )
        _print_outstanding(call.output, found)
        if found.follow_ups and remind is None and call.output == "text":
            tell(f"next: {call.again('verify', '--outstanding', '--remind', 'reminders')}")
        if remind is not None:
            written = workspace.remind(found, remind)
            tell(f"{counted(len(written), 'e-mail')} in {remind}, not sent: open, check and send")
            for path in written:
                tell(str(path))
    return found.exit_code


def _print_outstanding(output: str, found: Outstanding) -> None:
    if output != "text":
        print_document(output, found.document, "customers")
    elif not found.follow_ups:
        click.echo("no customer has open steps")
    else:
        print_table(
            ("customer", "devices", "to do", "not verified", "expected", "listed", "since"),
            [_row(found, number) for number in range(len(found.follow_ups))],
        )


def _row(found: Outstanding, number: int) -> tuple[str, ...]:
    from partner_tools.outstanding.types import Status

    each = found.follow_ups[number]
    statuses = (Status.OUTSTANDING, Status.NOT_VERIFIED, Status.EXPECTED)
    return (
        each.name,
        str(each.devices),
        *(str(each.statuses.get(status, 0)) for status in statuses),
        str(each.listed),
        f"{each.since:%Y-%m-%d} ({(found.at - each.since).days} d)",
    )


def _take_in(call: Call, run: str | None, evidence: Path) -> int:
    with opened(call) as workspace:
        taken = workspace.take_in(evidence, run)
        document = {
            "schemaVersion": "1",
            "run": taken.run,
            "devices": taken.devices,
            "done": taken.finished,
            "reportedAt": taken.at.isoformat(),
            "reportedBy": taken.by,
            "left": dict(taken.reasons),
            "openSteps": {step.value: number for step, number in taken.open_steps.items()},
        }
    if call.output in ("json", "jsonl"):
        print_document(call.output, document)
        return taken.exit_code
    click.echo(
        f"{counted(taken.devices, 'device')} of run {taken.run} reported on"
        f" {local_time(taken.at)} ({taken.by}): {taken.finished} done"
    )
    for reason, number in taken.reasons.items():
        click.echo(f"  {reason}: {counted(number, 'device')}")
    for title, number in taken.open_titles.items():
        click.echo(f"  still open: {title}: {counted(number, 'device')}")
    tell(f"next: {call.again('report', taken.run, '-o', 'handoff')}")
    return taken.exit_code
