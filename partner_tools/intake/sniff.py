"""Which format a file is, told by its content; the suffix is not looked at. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum

from partner_tools.intake import rules
from partner_tools.intake.rules import HaltError, finding


class Format(StrEnum):
    """The formats of a batch."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"
    XLSX = "xlsx"


_BINARIES = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls), or one with a password",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "packed with gzip",
    b"7z\xbc\xaf": "packed with 7-Zip",
    b"Rar!": "packed with RAR",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "a database",
}
_MARKUP = re.compile(r"\s*<[!?a-zA-Z]")
_OBJECT = re.compile(r'\s*\{\s*("|\}|$)')
_ARRAY = re.compile(r'\s*\[\s*([\[{"\]]|$)')


def is_zip(start: bytes) -> bool:
    """Whether the first bytes are those of a ZIP, which an XLSX is."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def refuse_binary(start: bytes) -> None:
    """Raise HaltError where the first bytes are those of a known format that is no batch."""
    for mark, what in _BINARIES.items():
        if start.startswith(mark):
            raise HaltError(finding(rules.UNKNOWN_FORMAT, f"the file is {what}"))


def format_of_text(lines: Sequence[str]) -> Format:
    """The format of a text, told by its first lines that are not blank.

    Raises HaltError for markup.
    """
    first = lines[0] if lines else ""
    if _MARKUP.match(first):
        message = "the file is HTML or XML, perhaps a saved web page or an OA3 report"
        raise HaltError(finding(rules.UNKNOWN_FORMAT, message))
    if _ARRAY.match(first):
        return Format.JSON
    if not _OBJECT.match(first):
        return Format.CSV
    return _json_or_lines(first, lines[1:])


def _json_or_lines(first: str, others: Sequence[str]) -> Format:
    """A first line that is a whole object is a device, unless it is a whole batch."""
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        looks = first.rstrip().endswith("}") and bool(others) and _OBJECT.match(others[0])
        return Format.JSON_LINES if looks else Format.JSON
    is_batch = not others and bool({"schemaVersion", "devices"}.intersection(value))
    return Format.JSON if is_batch or value == {} else Format.JSON_LINES
