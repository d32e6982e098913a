"""Handoffs as files: which formats there are, how files are called, how they come to be.

A file appears whole or not at all, private to the user, under a name that nothing foreign in it
can lead out of its folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from partner_tools.files import writing
from partner_tools.report.guide import file_name, harmless
from partner_tools.report.handoff import Document, collector_paused
from partner_tools.report.page import write_checklist, write_page
from partner_tools.report.script import write_script
from partner_tools.report.tables import write_csv, write_xlsx
from partner_tools.report.texts import (
    tickets,
    write_cover,
    write_cover_text,
    write_markdown,
    write_tickets,
)
from partner_tools.report.worksheet import worksheet_csv, write_worksheet
from partner_tools.strict_json import shown_plainly


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A rendering of the document. `write` writes all of it to a binary stream."""

    suffix: str
    description: str
    write: Callable[[Document, BinaryIO], None]
    each: Callable[[Document], Iterable[tuple[str, str]]] | None = None
    """Further files: what comes before their suffix, and their text."""


def _write_json(document: Document, stream: BinaryIO) -> None:
    """The document with a line for every part and every device, without a copy of it in memory."""
    opening = "{"
    for name, value in document.items():
        stream.write(f"{opening}\n{json.dumps(name)}: ".encode())
        opening = ","
        if name == "devices":
            _write_list(value, stream)
        else:
            stream.write(_json(value))
    stream.write(b"\n}\n")


def _write_list(values: Iterable[object], stream: BinaryIO) -> None:
    opening = b"["
    for value in values:
        stream.write(opening + b"\n" + _json(value))
        opening = b","
    stream.write(b"\n]" if opening == b"," else b"[]")


def _json(value: object) -> bytes:
    return shown_plainly(json.dumps(value, ensure_ascii=False)).encode()


FORMATS: Mapping[str, Format] = {
    "html": Format(suffix="html", description="a page for a browser", write=write_page),
    "xlsx": Format(suffix="xlsx", description="a workbook for Excel", write=write_xlsx),
    "csv": Format(suffix="csv", description="one row per device and step", write=write_csv),
    "json": Format(suffix="json", description="the document itself", write=_write_json),
    "md": Format(suffix="md", description="summary and guide for a ticket", write=write_markdown),
    "ps1": Format(suffix="ps1", description="a PowerShell script", write=write_script),
    "eml": Format(suffix="eml", description="a cover e-mail, not sent", write=write_cover),
}
"""The renderings of a handoff by the name that `--format` takes; all of them are the default."""

ON_REQUEST: Mapping[str, Format] = {
    "checklist": Format(
        suffix="checklist.html", description="a repair depot's page to tick", write=write_checklist
    ),
    "txt": Format(
        suffix="ps1.txt",
        description="the script under a name that mail gateways let through",
        write=write_script,
    ),
    "email-text": Format(
        suffix="email.txt", description="the cover e-mail's text", write=write_cover_text
    ),
    "tickets": Format(
        suffix="tickets.csv",
        description="a ticket for each owner, as CSV and as Markdown",
        write=write_tickets,
        each=lambda document: (
            (f"ticket-{owner}.md", ticket) for owner, ticket in tickets(document)
        ),
    ),
    "worksheet": Format(
        suffix="worksheet.html",
        description="what a person removes on Partner Center's pages, to print and as CSV",
        write=write_worksheet,
        each=lambda document: (("worksheet.csv", worksheet_csv(document)),),
    ),
}
"""Formats that are written only on request."""


@collector_paused()
def write_handoff(
    document: Document, folder: Path, formats: Iterable[str] = FORMATS
) -> tuple[Path, ...]:
    """Write a handoff in each format, and say where. Makes the folder where there is none.

    Raises InputError where the folder cannot be written to; files that are whole by then stay.
    """
    name, known = file_name(document), {**FORMATS, **ON_REQUEST}
    return tuple(path for one in formats for path in _write(document, folder / name, known[one]))


def write_result(result: Mapping[str, Any], folder: Path, domain: str | None) -> Path:
    """Write a results file, as `handoff-result-<domain or tenant>-<run>.json`; where it is."""
    named = harmless((domain or result["tenantId"]).casefold())
    path = folder / f"handoff-result-{named}-{harmless(result['handoff']['run'])}.json"
    with writing(path) as stream:
        stream.write(shown_plainly(json.dumps(result, ensure_ascii=False, indent=1)).encode())
    return path


def _write(document: Document, path: Path, form: Format) -> Iterator[Path]:
    whole = path.with_name(f"{path.name}.{form.suffix}")
    with writing(whole) as stream:
        form.write(document, stream)
    yield whole
    for suffix, text in form.each(document) if form.each else ():
        further = path.with_name(f"{path.name}.{suffix}")
        with writing(further) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
        yield further
