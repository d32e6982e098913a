"""Prints: the result on stdout, everything else on stderr."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from partner_tools.errors import PartnerToolsError

STEPS_SHOWN = 200
ROWS_SHOWN = 40
"""A text result lists this many devices that need attention; the rest is counted."""
WHOLE = frozenset({"row", "run"})
"""Columns whose cells are short and copied, and therefore never folded."""


def print_whatever_comes() -> None:
    """Print foreign text on a console that lacks its letters as escapes, instead of failing.

    A Windows console or pipe may speak code page 1252 or 437; stderr escapes by itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def print_json(document: Mapping[str, Any]) -> None:
    """One document on stdout."""
    import json

    click.echo(json.dumps(document, ensure_ascii=True, indent=2))


def print_line(document: Mapping[str, Any]) -> None:
    """One line of JSON Lines on stdout, at once."""
    import json

    click.echo(json.dumps(document, ensure_ascii=True))
    sys.stdout.flush()


def tell(message: str) -> None:
    """Say something that is not the result."""
    click.echo(clean(message), err=True)


def print_error(error: PartnerToolsError) -> None:
    """What happened, and what to do next."""
    tell(f"error: {error}")
    if error.remedy:
        tell(f"  next: {error.remedy}")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """A table that fits the terminal; plain columns in a pipe."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in headers:
        table.add_column(name, overflow="fold", no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*(Text(clean(cell or "")) for cell in row))
    console = Console(file=sys.stdout, soft_wrap=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=200)
    console.print(table)


def print_result(document: Mapping[str, Any]) -> None:
    """A run's result for a person: the counts, and every device that needs attention.

    What goes as planned, or has only to be waited for, comes last: it must not push out the rest.
    """
    counts = tallied(document["counts"])
    click.echo(f"run {document['run']}  {document['state']}  {counts or 'no devices'}")
    open_ones = sorted(
        (
            device
            for device in document["devices"]
            if device["outcome"] not in ("removed", "absent") or device["detail"]
        ),
        key=lambda device: device["outcome"] == "pending",
    )
    if not open_ones:
        return
    print_table(
        ("row", "serial number", "outcome", "why", "next"),
        [
            (
                str(device["row"] or ""),
                device["serialNumber"] or device.get("productKeyId"),
                _shown_outcome(document, device),
                device["detail"],
                device["remedy"],
            )
            for device in open_ones[:ROWS_SHOWN]
        ],
    )
    if len(open_ones) > ROWS_SHOWN:
        click.echo(f"… and {len(open_ones) - ROWS_SHOWN} more; --output json lists them all")


def print_steps(document: Mapping[str, Any]) -> None:
    """Of a cleanup: which objects by id, and which step of which device; and what is left alone."""
    rows = [row for device in document["devices"] for row in _step_rows(device)]
    if rows:
        print_table(("row", "serial number", "step", "object", "status"), rows[:STEPS_SHOWN])
    if len(rows) > STEPS_SHOWN:
        click.echo(f"… and {len(rows) - STEPS_SHOWN} more; --output json lists them all")


def _step_rows(device: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    named = (str(device["row"] or ""), device["serialNumber"] or device.get("productKeyId") or "")
    for step in device.get("steps", ()):
        yield (*named, step["id"], step["record"] or "", step["status"])
    for left in device.get("untouched", ()):
        yield (*named, "not touched", " ".join((left["plane"], *left["records"])), left["why"])


def tallied(counts: Mapping[str, int]) -> str:
    """`2 removed, 1 duplicate`."""
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clean(text: str) -> str:
    """Foreign text without what would move the cursor or reorder the line."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _shown_outcome(document: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    if document["state"] == "planned" and device["outcome"] == "pending":
        return "to be cleaned up" if "steps" in device else "to be removed"
    return str(device["outcome"])


def without_password(url: str) -> str:
    """A ledger's URL as it may be shown."""
    import re

    hidden = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*password=)[^&]*", r"\1***", hidden)


def styled(text: str, colour: str) -> str:
    """The text in a colour; click takes it out where there is no terminal."""
    import os

    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)
