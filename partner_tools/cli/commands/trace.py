"""`trace`: everything that the ledger knows of one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, print_json, print_line, say, tell
from partner_tools.cli.options import output_options
from partner_tools.cli.wiring import opened

if TYPE_CHECKING:
    from partner_tools import DeviceTrace, StoredEvent


@command("trace")
@click.argument("serial", metavar="SERIAL")
@output_options
def trace(call: Call, serial: str) -> int:
    """Show what every run did with one device.

    \b
    Example:
      partner-tools trace 5CD333527Z
    """
    with opened(call, handles_signals=False) as workspace:
        found = workspace.trace(serial)
    if call.output == "text":
        _show(call, serial, found)
    elif call.output == "json":
        print_json({"schemaVersion": "1", "serial": serial, "runs": [_document(t) for t in found]})
    else:
        for each in found:
            print_line(_document(each))
    return 0


def _show(call: Call, serial: str, found: Sequence[DeviceTrace]) -> None:
    if not found:
        click.echo(f"no run of this ledger names {clean(serial)!r}")
        tell("next: look for its spelling in what you listed; identifiers are compared exactly")
        tell(f"  {call.again('runs')}")
    for each in found:
        history = each.device.history
        click.echo(f"run {each.run.run} ({each.run.channel}): {history.outcome}")
        for event in each.events:
            say(f"  {event.event.at.isoformat()}  {event.event.kind}{_facts(event)}")


def _document(each: DeviceTrace) -> dict[str, Any]:
    history = each.device.history
    return {
        "run": each.run.run,
        "channel": each.run.channel.value,
        "batchId": each.run.batch_id,
        "row": each.device.device.row,
        "customer": history.customer,
        "outcome": history.outcome.value,
        "events": [
            {
                "n": event.n,
                "at": event.event.at.isoformat(),
                "kind": event.event.kind.value,
                "payload": dict(event.event.payload),
                "hash": event.hash,
            }
            for event in each.events
        ],
    }


def _facts(event: StoredEvent) -> str:
    shown = (
        "step",
        "record",
        "plane",
        "source",
        "approval",
        "outcome",
        "status",
        "code",
        "requestId",
        "correlationId",
        "detail",
        "present",
    )
    payload = event.event.payload
    return "".join(f"  {name}={payload[name]}" for name in shown if name in payload)
