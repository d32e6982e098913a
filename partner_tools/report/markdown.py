"""The handoff as Markdown, for a ticket: summary, guide, and a table of devices.

Foreign text is in code spans, where nothing is markup, a link or a mention; characters that could
end a span's line or a table's cell are spelled out. Commands are in code blocks of their own,
where every character is itself, so that what is copied is what every other format has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from partner_tools.report.guide import (
    CHANNELS,
    OUTCOMES,
    OWNERS,
    PLANES,
    REASONS,
    STATUSES,
    by_hand,
    cleaned_up,
    counted,
    start_here,
    visible,
)
from partner_tools.report.handoff import OPEN, Document
from partner_tools.report.tables import EVIDENCE, STATEMENT

NAMED = 20
"""How many serial numbers a step names before it refers to the tables."""
LISTED = 100
"""How many devices the table at the end lists."""


def write_markdown(document: Document, stream: BinaryIO) -> None:
    """The summary and the guide, in UTF-8 with line feeds."""
    for line in _lines(document):
        stream.write(f"{line}\n".encode())


def code(text: object) -> str:
    """The text as a code span that nothing in it can leave."""
    shown = visible(str(text)).replace("|", "⟨U+007C⟩").strip()
    if not shown:
        return "–"  # noqa: RUF001
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    gap = " " if "`" in shown else ""
    return f"{fence}{gap}{shown}{gap}{fence}"


def block(commands: str) -> tuple[str, ...]:
    """Commands of the guide as a code block; nothing in them can end it."""
    return "```powershell", commands, "```"


def _lines(document: Document) -> Iterator[str]:
    customer, run, summary = document["customer"], document["run"], document["summary"]
    name = customer["name"] or customer["domain"] or customer["tenantId"] or "nobody named"
    yield f"# Device handoff: {code(name)}"
    yield ""
    yield f"{STATEMENT} {EVIDENCE[summary['evidence']['graph']]}"
    yield ""
    if said := start_here(document):
        yield f"**Start here.** {said}"
        yield ""
    if said := cleaned_up(document):
        yield f"{code(said)}"
        yield ""
    for said in by_hand(document):
        yield f"- {code(said)}"
    yield from _facts(document)
    yield ""
    yield from _table(
        ("Outcome", "Devices"),
        [(OUTCOMES[one], count) for one, count in summary["outcomes"].items()],
    )
    yield ""
    yield from _table(
        ("Plane", *STATUSES.values()),
        [
            (PLANES[plane], *(counts.get(status, 0) for status in STATUSES))
            for plane, counts in summary["planes"].items()
        ],
    )
    yield ""
    yield "## What to do, in this order"
    for chapter in document["guide"]:
        yield from _chapter(chapter, document)
    yield ""
    yield from _devices(document)
    yield ""
    yield f"Run {code(run['id'])}, written {code(document['generatedAt'])}."


def _devices(document: Document) -> Iterator[str]:
    devices = document["devices"]
    yield "## The devices"
    yield ""
    yield from _table(
        ("Row", "Serial number", "Name", "User", "Model", "Outcome", "Steps left"),
        [
            (
                device["row"],
                *(code(device.get(name) or "") for name in ("serialNumber", "name", "user")),
                code(" ".join(filter(None, (device["manufacturer"], device["model"])))),
                OUTCOMES[device["outcome"]],
                ", ".join(str(one["order"]) for one in device["steps"] if one["status"] in OPEN)
                or "none",
            )
            for device in devices[:LISTED]
        ],
    )
    if len(devices) > LISTED:
        yield ""
        yield (
            f"{len(devices) - LISTED:,} more devices are in the workbook, the CSV file and the page"
            " of this handoff."
        )


def _facts(document: Document) -> Iterator[str]:
    customer, partner, run = document["customer"], document["partner"], document["run"]
    facts = (
        ("Customer", customer["domain"], customer["tenantId"]),
        ("Partner", partner["name"], partner["contact"]),
        ("Batch", run["batchId"]),
    )
    for title, *values in facts:
        known = [code(value) for value in values if value]
        if known:
            yield f"- {title}: {', '.join(known)}"
    yield f"- Removed through {CHANNELS[run['channel']]}; reason: {REASONS[run['reason']].lower()}"


def _table(heading: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"| {' | '.join('---' for _ in heading)} |"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def _chapter(chapter: dict[str, Any], document: Document) -> Iterator[str]:
    yield ""
    yield f"### {chapter['order']}. {chapter['title']}"
    yield ""
    yield f"{OWNERS[chapter['owner']]} · {_whom(chapter)}"
    yield ""
    yield chapter["about"]
    if chapter["caution"]:
        yield ""
        yield f"> **Take care.** {chapter['caution']}"
    yield ""
    if chapter["portal"]:
        yield f"- Portal: {' → '.join(chapter['portal'])}"
    if chapter["powershell"]:  # fenced: a code span would need a pipe sign or a backtick changed
        yield from ("", *block(chapter["powershell"]), "")
    if chapter["devices"]:
        yield f"- Devices: {_serials(chapter['id'], document)}"
    yield f"- Source: [{chapter['source']}]({chapter['sourceUrl']})"
    if "otherSource" in chapter:
        yield f"- Says otherwise: [{chapter['otherSource']}]({chapter['otherSourceUrl']})"


def _whom(chapter: dict[str, Any]) -> str:
    if not chapter["devices"]:
        return "every device"
    by_status = ", ".join(
        f"{count:,} {STATUSES[status].lower()}" for status, count in chapter["statuses"].items()
    )
    return f"{counted(chapter['devices'], 'device')} ({by_status})"


def _serials(step: str, document: Document) -> str:
    named = [
        code(device["serialNumber"] or device["productKeyId"] or f"row {device['row']}")
        for device in document["devices"]
        if any(one["id"] == step for one in device["steps"])
    ]
    more = len(named) - NAMED
    return ", ".join(named[:NAMED]) + (f" and {more:,} more in the tables" if more > 0 else "")
