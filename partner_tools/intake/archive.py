"""Whether a workbook may be opened: a ZIP of XML can unpack without end, in two ways.

Sizes are added up before anything is unpacked; document types, with which entities expand, are
refused before anything is parsed; rows have to count up, because a reader fills the gaps.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import IO
from xml.parsers import expat

from partner_tools.intake import limits, rules
from partner_tools.intake.rules import HaltError, finding

_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_archive(archive: zipfile.ZipFile) -> None:
    """Raise HaltError where the archive is no workbook, is too large or has document types."""
    parts = archive.infolist()
    names = {part.filename for part in parts}
    if "[Content_Types].xml" not in names or not any(name.startswith("xl/") for name in names):
        message = "the file is a ZIP archive, but no Excel workbook"
        raise HaltError(finding(rules.UNKNOWN_FORMAT, message))
    if len(parts) > limits.XLSX_PARTS or len(names) < len(parts):
        raise _unsafe("has far too many parts, or parts of one name")
    for part in parts:
        _check_part(part)
    unpacked = sum(part.file_size for part in parts)
    limits.require(unpacked, limits.XLSX_UNPACKED_BYTES, "the unpacked workbook")
    for part in parts:
        with archive.open(part) as stream:
            _refuse_document_type(stream)


def _check_part(part: zipfile.ZipInfo) -> None:
    if part.flag_bits & 1 or part.compress_type not in _STORED_OR_DEFLATED:
        raise _unsafe("is encrypted or packed in an unusual way")
    many = part.file_size > limits.MIB
    if many and part.file_size > limits.XLSX_RATIO * max(1, part.compress_size):
        raise _unsafe(f"has a part that expands more than {limits.XLSX_RATIO} times")


def hidden_rows(stream: IO[bytes]) -> frozenset[int]:
    """The numbers of the rows that are hidden in a sheet, by hand or by a filter.

    Raises HaltError where the rows do not count up within a sheet's limit, or a cell stands
    beyond `limits.COLUMNS`.
    """
    hidden: set[int] = set()
    last = 0

    def started(name: str, attributes: dict[str, str]) -> None:
        nonlocal last
        kind = name.rpartition(":")[2]
        if kind == "c":
            _check_column(attributes.get("r", ""))
        elif kind == "row":
            last = _following(last, attributes.get("r"))
            if attributes.get("hidden") in ("1", "true"):
                hidden.add(last)

    parser = expat.ParserCreate()
    parser.StartElementHandler = started
    for piece in _pieces(stream):
        parser.Parse(piece, False)
    return frozenset(hidden)


def _check_column(place: str) -> None:
    """A cell such as `B7`. A reader fills a row up to its last cell."""
    letters = place.rstrip("0123456789").lstrip("$")
    if len(letters) > 1 and _column(letters) > limits.COLUMNS:
        message = f"the sheet has cells beyond column {limits.COLUMNS}"
        raise HaltError(finding(rules.CELL_COUNT, message))


def _column(letters: str) -> int:
    number = 0
    for letter in letters[:4].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _following(last: int, told: str | None) -> int:
    number = last + 1 if told is None else int(told)
    if not last < number <= limits.XLSX_ROWS:
        message = f"the rows of the sheet do not count up after row {last}"
        raise HaltError(finding(rules.XLSX_DAMAGED, message))
    return number


def _refuse_document_type(stream: IO[bytes]) -> None:
    """Read a part up to its first element, before which a document type has to stand."""
    begun = False

    def started(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal begun
        begun = True

    def declared(*_declaration: object) -> None:
        raise _unsafe("holds an XML document type, which Excel never writes")

    parser = expat.ParserCreate()
    parser.StartElementHandler = started
    parser.StartDoctypeDeclHandler = declared
    for piece in _pieces(stream):
        try:
            parser.Parse(piece, False)
        except expat.ExpatError:
            return  # a picture, or XML that the reader will refuse in the same place
        if begun:
            return


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(65_536):
        yield piece


def _unsafe(what: str) -> HaltError:
    return HaltError(finding(rules.XLSX_UNSAFE, f"the workbook {what}"))
