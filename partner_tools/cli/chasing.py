"""Shows which customers have to be chased, over all runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli.app import Call
from partner_tools.cli.console import counted, print_json, print_line, print_table, tell
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened

if TYPE_CHECKING:
    from datetime import datetime

    from partner_tools.workspace import Outstanding


def chase(call: Call, *, since: datetime | None, customer: str | None, remind: Path | None) -> int:
    """Look again at every run with something open, and list whom to chase; the exit code."""
    with opened(call) as workspace:
        if remind is not None:
            workspace.sender()
        found = workspace.verify_outstanding(
            since=since,
            customer=customer,
            observer=ConsoleReporter(call=call, workspace=workspace),
        )
        _print(call.output, found)
        if found.follow_ups and remind is None and call.output == "text":
            tell(f"next: {call.again('verify', '--outstanding', '--remind', 'reminders')}")
        if remind is not None:
            written = workspace.remind(found, remind)
            tell(f"{counted(len(written), 'e-mail')} in {remind}, not sent: open, look, send")
            for path in written:
                tell(str(path))
    return found.exit_code


def _print(output: str, found: Outstanding) -> None:
    if output == "json":
        print_json(found.document)
    elif output == "jsonl":
        for each in found.follow_ups:
            print_line(found.line(each))
    elif not found.follow_ups:
        click.echo("nothing is open at any customer")
    else:
        print_table(
            ("customer", "devices", "to do", "not verified", "expected", "listed", "since"),
            [_row(found, number) for number in range(len(found.follow_ups))],
        )


def _row(found: Outstanding, number: int) -> tuple[str, ...]:
    from partner_tools.outstanding import Status

    each = found.follow_ups[number]
    statuses = (Status.OUTSTANDING, Status.NOT_VERIFIED, Status.EXPECTED)
    return (
        each.name,
        str(each.devices),
        *(str(each.statuses.get(status, 0)) for status in statuses),
        str(each.listed),
        f"{each.since:%Y-%m-%d} ({(found.at - each.since).days} d)",
    )
