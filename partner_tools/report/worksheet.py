"""The worksheet of an assessment: what a person removes on Partner Center's pages, to print.

It names devices by serial number, manufacturer and model alone. Paper is left lying about, so
nothing on it identifies a person.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from partner_tools.outstanding.decision import HELD_NOTE
from partner_tools.outstanding.types import Owner, StepId
from partner_tools.report.handoff import OPEN, Document
from partner_tools.report.page import rendered
from partner_tools.report.texts import device_label

ON_A_PAGE = 40
COLUMNS = ("Number", "Serial number", "Manufacturer", "Model", "Registered", "Removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One registration to remove. `seen`: the tenant showed it."""

    number: int
    serial: str
    manufacturer: str
    model: str
    seen: bool


def lines(document: Document) -> Iterator[Line]:
    """The registrations that are still the partner's to remove, in the order of the list."""
    number = 0
    for device in document["devices"]:
        removals = [
            one
            for one in device["steps"]
            if one["id"] == StepId.DEREGISTER_FROM_AUTOPILOT
            and one["owner"] == Owner.PARTNER
            and one["status"] in OPEN
        ]
        for step in removals:
            number += 1
            yield Line(
                number=number,
                serial=device["serialNumber"] or device["productKeyId"] or "",
                manufacturer=device["manufacturer"] or "",
                model=device["model"] or "",
                seen=step["status"] == "outstanding",
            )


def held(document: Document) -> list[str]:
    """The devices that have to stay as they are."""
    return [
        device_label(device)
        for device in document["devices"]
        if device["planes"]["autopilot"].get("note") == HELD_NOTE
    ]


def write_worksheet(document: Document, stream: BinaryIO) -> None:
    """The worksheet as one HTML file without network or script, in UTF-8."""
    listed = list(lines(document))
    content = rendered(
        "worksheet",
        document=document,
        pages=[listed[at : at + ON_A_PAGE] for at in range(0, len(listed), ON_A_PAGE)],
        held=held(document),
    )
    stream.write(content)


def worksheet_csv(document: Document) -> str:
    """The same as CSV, in which no cell is a formula, with a column to fill in."""
    from partner_tools.report.tables import inert

    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for line in lines(document):
        known = (line.serial, line.manufacturer, line.model, "yes" if line.seen else "not verified")
        writer.writerow([line.number, *map(inert, known), ""])
    return f"\ufeff{written.getvalue()}"
