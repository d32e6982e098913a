"""Handoffs as files: which formats there are, how files are called, how they come to be.

A file appears whole or not at all, private to the user, under a name that nothing foreign in it
can lead out of its folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from partner_tools.files import writing
from partner_tools.report.checklist import write_checklist
from partner_tools.report.handoff import Document
from partner_tools.report.markdown import write_markdown
from partner_tools.report.page import write_page
from partner_tools.report.script import write_script
from partner_tools.report.tables import write_csv, write_xlsx
from partner_tools.strict_json import shown_plainly

NAME_LIMIT = 80
"""Characters of a customer's name in a file name: Windows allows 260 for a whole path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A rendering of the document. `write` writes all of it to a binary stream."""

    suffix: str
    description: str
    write: Callable[[Document, BinaryIO], None]


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
}
"""The renderings of a handoff by the name that `--format` takes; all of them are the default."""

ON_REQUEST: Mapping[str, Format] = {
    "checklist": Format(
        suffix="checklist.html", description="a repair depot's page to tick", write=write_checklist
    ),
}
"""What is written only where it is asked for."""


def write_handoff(
    document: Document, folder: Path, formats: Iterable[str] = FORMATS
) -> tuple[Path, ...]:
    """Write a handoff in each format, and say where. Makes the folder where there is none.

    Raises InputError where the folder cannot be written to; files that are whole by then stay.
    """
    name, known = file_name(document), {**FORMATS, **ON_REQUEST}
    return tuple(
        _write(document, folder / f"{name}.{known[one].suffix}", known[one]) for one in formats
    )


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a results file, as `handoff-result-<tenant>-<run>.json`; where it is."""
    path = folder / f"handoff-result-{result['tenantId']}-{harmless(result['handoff']['run'])}.json"
    with writing(path) as stream:
        stream.write(shown_plainly(json.dumps(result, ensure_ascii=False, indent=1)).encode())
    return path


def file_name(document: Document) -> str:
    """`handoff-<domain or tenant>-<run>`, without the suffix.

    The run is the one that looked last: a cleanup never writes over the handoff that it was given.
    """
    customer, run = document["customer"], document.get("cleanup") or document["run"]
    named = customer["domain"] or customer["tenantId"] or "unassigned"
    return f"handoff-{harmless(named.casefold())}-{harmless(run['id'])}"


def harmless(text: str) -> str:
    """The text as a part of a file name on any system.

    What had to be changed is told apart by a digest, so that no two customers share a file.
    """
    kept = "-".join(re.findall(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", text))
    if kept and kept == text and len(kept) <= NAME_LIMIT:
        return kept
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{kept[:NAME_LIMIT].rstrip('._-')}-{digest}".lstrip("-")


def _write(document: Document, path: Path, form: Format) -> Path:
    with writing(path) as stream:
        form.write(document, stream)
    return path
