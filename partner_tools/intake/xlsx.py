"""XLSX: check the archive before it is unpacked, then read the cells of one sheet as text.

A ZIP of XML can unpack without end. Sizes are added up before anything is unpacked; document
types, whose entities expand, are refused before anything is parsed; rows have to count up,
because a reader fills the gaps. Identifiers have to be text cells: a number has lost its leading
zeros and all digits after the fifteenth. A hidden row is an error: a list filtered to twenty rows
does not mean the other three hundred.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time, timedelta
from io import BytesIO
from itertools import islice
from typing import IO, Any
from xml.parsers import expat

from partner_tools.intake import limits, rules
from partner_tools.intake.columns import is_header, known
from partner_tools.intake.rules import HaltError, finding, problem, shown
from partner_tools.intake.table import HEADER_WITHIN, NUMBER, Item, Record, rows_of_table
from partner_tools.model import ChannelName, Problem

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


_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    expat.ExpatError,
)
"""What zipfile, expat and openpyxl raise on bytes that are no workbook."""

_ERROR_CELL = "an error of the sheet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A sheet that is not empty. `width` is that of its header, 0 where it has none."""

    title: str
    sheet: Any
    width: int
    hidden: frozenset[int]


def xlsx_rows(content: bytes, file: str, channel: ChannelName | None) -> Iterator[Item]:
    """Every device row of the one sheet with a header, and every problem.

    Raises HaltError where the workbook is damaged or unsafe, or no sheet or several could be it.
    """
    with _damage_told(), zipfile.ZipFile(BytesIO(content)) as archive:
        check_archive(archive)
        sheets = tuple(_filled_sheets(content, archive))
    chosen = _choose(sheets)
    yield from (_ignored(one, file) for one in sheets if one is not chosen)
    yield from rows_of_table(_records_told(chosen, file), file, channel)


def _path(sheet: Any) -> str:
    """openpyxl keeps the name of a sheet's part to itself."""
    return str(sheet._worksheet_path)


@contextmanager
def _damage_told() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _DAMAGE as error:
            message = f"the workbook cannot be read ({type(error).__name__})"
            raise HaltError(finding(rules.XLSX_DAMAGED, message)) from error


def _filled_sheets(content: bytes, archive: zipfile.ZipFile) -> Iterator[_Sheet]:
    from openpyxl import load_workbook

    workbook = load_workbook(BytesIO(content), read_only=True, keep_links=False)
    for sheet in workbook.worksheets:
        with archive.open(_path(sheet)) as stream:
            hidden = hidden_rows(stream)
        sheet.reset_dimensions()
        start = list(islice(_records(sheet, 0), HEADER_WITHIN))
        if start:
            width = _width(start) if sheet.sheet_state == "visible" else 0
            yield _Sheet(title=sheet.title, sheet=sheet, width=width, hidden=hidden)


def _width(start: list[Record]) -> int:
    """How many columns the header has, if one of the first rows is one."""
    headers = [cells for _, cells, _ in start if is_header(cells)]
    headers += [cells for _, cells, _ in start if known(cells)]
    return len(headers[0]) if headers else 0


def _choose(sheets: tuple[_Sheet, ...]) -> _Sheet:
    if not sheets:
        raise HaltError(finding(rules.EMPTY_FILE, "the workbook is empty"))
    fit = [one for one in sheets if one.width] or list(sheets)
    if len(fit) == 1:
        return fit[0]
    titles = ", ".join(shown(one.title) for one in fit[:5])
    message = f"{len(fit)} sheets could hold the devices: {titles}"
    raise HaltError(finding(rules.XLSX_SHEETS, message))


def _ignored(sheet: _Sheet, file: str) -> Problem:
    message = f"the sheet {shown(sheet.title)} is not read"
    return problem(file, None, finding(rules.SHEET_IGNORED, message))


def _records_told(chosen: _Sheet, file: str) -> Iterator[Record | Problem]:
    """The records of the sheet, and of each that is hidden that it is."""
    records = _records(chosen.sheet, chosen.width)
    while True:
        with _damage_told():
            record = next(records, None)
        if record is None:
            return
        if record[0] in chosen.hidden:
            message = "the row is hidden in the sheet, and is still one of the batch"
            yield problem(file, record[0], finding(rules.HIDDEN_ROW, message))
        yield record


def _records(sheet: Any, width: int) -> Iterator[Record]:
    """The rows that are not empty, at least `width` cells each."""
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        told = [_text(cell) for cell in cells]
        while told and not told[-1][0].strip():
            told.pop()
        if told:
            told += [("", None)] * (width - len(told))
            kinds = {place: kind for place, (_, kind) in enumerate(told) if kind}
            yield line, [text for text, _ in told], kinds or None


def _text(cell: Any) -> tuple[str, str | None]:
    """The text of a cell, and what it is where it is no text."""
    value = cell.value
    if value is None:
        return "", None
    if isinstance(value, str):
        return value, {"f": "a formula", "e": _ERROR_CELL}.get(cell.data_type)
    if isinstance(value, bool):
        return str(value).upper(), "a truth value"
    if isinstance(value, int | float):
        return _digits(value), NUMBER
    if isinstance(value, date | time | timedelta):
        return str(value), "a date"
    return str(value), "a formula"


def _digits(number: int | float) -> str:
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 1e15
    return str(int(number)) if whole else str(number)
