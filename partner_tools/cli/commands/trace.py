"""`trace`: everything that the ledger knows of one device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import (
    clean,
    local_time,
    origin,
    origin_document,
    print_document,
    say,
    tell,
)
from partner_tools.cli.options import output_options
from partner_tools.cli.wiring import opened

if TYPE_CHECKING:
    from partner_tools import DeviceTrace, StoredEvent


_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


@command("trace")
@click.argument("serial", metavar="SERIAL")
@output_options
def trace(call: Call, serial: str) -> int:
    """Show where a device is now, and what every run did with it.

    SERIAL is a serial number or product key id, in any letter case. The newest event comes first.

    \b
    Example:
      partner-tools trace 5CD333527Z
    """
    with opened(call, handles_signals=False) as workspace:
        found = workspace.trace(serial)
        near = () if found else workspace.near_serials(serial)
        is_text = call.output == "text"
        answer = workspace.where_is_it(found, *[local_time] * is_text)
    if is_text:
        _show(call, serial, found, answer, near)
    else:
        runs = [_document(each) for each in found]
        document = {"schemaVersion": "1", "serial": serial, "answer": answer, "near": [*near]}
        print_document(call.output, {**document, "runs": runs}, "runs")
    return 0


def _show(
    call: Call,
    serial: str,
    found: Sequence[DeviceTrace],
    answer: str | None,
    near: Sequence[str],
) -> None:
    if answer is None:
        click.echo(f"no run of this ledger names {clean(serial)!r}")
        if near:
            tell(f"did you mean {', '.join(near)}?")
            tell(f"next: {call.again('trace', near[0])}")
        elif _RUN_ID.fullmatch(serial):
            tell(f"it looks like a run: {call.again('runs', serial)}")
        else:
            tell("next: check its spelling in the original list")
            tell(f"  {call.again('runs')}")
        return
    identity = found[0].device.device.identity
    say(f"{identity.serial_number or identity.product_key_id}: {answer}")
    for each in found:
        how = f"{each.run.channel}, {each.run.state}"
        click.echo(f"\nrun {each.run.run} ({how}): {each.device.history.outcome}")
        say(f"  {origin(each.run, each.device.device)}")
        for event in reversed(each.events):
            say(f"  {local_time(event.event.at)}  {event.event.kind}{_facts(event)}")


def _document(each: DeviceTrace) -> dict[str, Any]:
    history = each.device.history
    return {
        "run": each.run.run,
        "channel": each.run.channel.value,
        "state": each.run.state.value,
        **origin_document(each.run, each.device.device),
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
