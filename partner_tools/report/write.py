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
from partner_tools.report.page import Handoff, write_checklist
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

Writer = Callable[[Handoff, BinaryIO], object]


@dataclass(frozen=True, slots=True)
class Format:
    """A rendering of a handoff. `write` writes all of it to a binary stream."""

    suffix: str
    write: Writer
    each: Callable[[Document], Iterable[tuple[str, str]]] = lambda _document: ()
    """Further files: what comes before their suffix, and their text."""


def _from_document(write: Callable[[Document, BinaryIO], None]) -> Writer:
    return lambda handoff, stream: write(handoff.document, stream)


def _write_json(document: Document, stream: BinaryIO) -> None:
    """The document with a line for every part and every device, without a copy of it in memory."""
    opening = "{"
    for name, value in document.items():
        stream.write(f"{opening}\n{json.dumps(name)}: ".encode())
        opening = ","
        if name == "devices" and value:
            for at, device in enumerate(value):
                stream.write((b",\n" if at else b"[\n") + _json(device))
            stream.write(b"\n]")
        else:
            stream.write(_json(value))
    stream.write(b"\n}\n")


def _json(value: object) -> bytes:
    return shown_plainly(json.dumps(value, ensure_ascii=False)).encode()


FORMATS: Mapping[str, Format] = {
    "html": Format("html", lambda handoff, stream: stream.write(handoff.page)),
    "xlsx": Format("xlsx", _from_document(write_xlsx)),
    "csv": Format("csv", _from_document(write_csv)),
    "json": Format("json", _from_document(_write_json)),
    "md": Format("md", _from_document(write_markdown)),
    "ps1": Format("ps1", write_script),
    "eml": Format("eml", write_cover),
}
"""The renderings of a handoff by the name that `--format` takes; all of them are the default."""

ON_REQUEST: Mapping[str, Format] = {
    "checklist": Format("checklist.html", _from_document(write_checklist)),
    # Mail gateways let the script through under this name.
    "txt": Format("ps1.txt", write_script),
    "email-text": Format("email.txt", _from_document(write_cover_text)),
    "tickets": Format(
        "tickets.csv",
        _from_document(write_tickets),
        lambda document: ((f"ticket-{owner}.md", ticket) for owner, ticket in tickets(document)),
    ),
    "worksheet": Format(
        "worksheet.html",
        _from_document(write_worksheet),
        lambda document: (("worksheet.csv", worksheet_csv(document)),),
    ),
}
"""Formats that are written only on request."""


@collector_paused()
def write_handoff(
    handoff: Handoff, folder: Path, formats: Iterable[str] = FORMATS
) -> tuple[Path, ...]:
    """Write a handoff in each format, and say where. Makes the folder where there is none.

    Raises InputError where the folder cannot be written to; files that are whole by then stay.
    """
    path, known = folder / file_name(handoff.document), {**FORMATS, **ON_REQUEST}
    return tuple(written for one in formats for written in _write(handoff, path, known[one]))


def write_result(result: Mapping[str, Any], folder: Path, domain: str | None) -> Path:
    """Write a results file, as `handoff-result-<domain or tenant>-<run>.json`; where it is."""
    named = harmless((domain or result["tenantId"]).casefold())
    path = folder / f"handoff-result-{named}-{harmless(result['handoff']['run'])}.json"
    with writing(path) as stream:
        stream.write(shown_plainly(json.dumps(result, ensure_ascii=False, indent=1)).encode())
    return path


def _write(handoff: Handoff, path: Path, form: Format) -> Iterator[Path]:
    whole = path.with_name(f"{path.name}.{form.suffix}")
    with writing(whole) as stream:
        form.write(handoff, stream)
    yield whole
    for suffix, text in form.each(handoff.document):
        further = path.with_name(f"{path.name}.{suffix}")
        with writing(further) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
        yield further
