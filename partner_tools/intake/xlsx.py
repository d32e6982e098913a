"""XLSX: check the archive before it is unpacked, then read the cells of one sheet as text.

A ZIP of XML can unpack without end. Sizes are added up before anything is unpacked; document
types, whose entities expand, are refused before anything is parsed; rows have to count up,
because a reader fills the gaps. Identifiers have to be text cells: a number has lost its leading
zeros and all digits after the fifteenth. A hidden row is an error: a list filtered to twenty rows
does not mean the other three hundred.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time, timedelta
from io import BytesIO
from itertools import islice
from typing import IO, Any
from xml.parsers import expat

from partner_tools.intake import limits
from partner_tools.intake.batch_metadata import ReadingOptions
from partner_tools.intake.columns import names_identifier
from partner_tools.intake.rules import HaltError, finding, halt, problem, shown
from partner_tools.intake.table import (
    FORMULA,
    HEADER_WITHIN,
    LISTED,
    NUMBER,
    Cell,
    Item,
    Record,
    rows_of_table,
)
from partner_tools.model import ChannelName, Problem

_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_archive(archive: zipfile.ZipFile) -> None:
    """Raise HaltError where the archive is no workbook, is too large or has document types."""
    parts = archive.infolist()
    names = {part.filename for part in parts}
    if "[Content_Types].xml" not in names or not any(name.startswith("xl/") for name in names):
        raise halt("unknown-format", "the file is a ZIP archive, but not an Excel workbook")
    if len(parts) > limits.XLSX_PARTS or len(names) < len(parts):
        raise halt("xlsx-unsafe", "the workbook has far too many parts, or parts of one name")
    for part in parts:
        if part.flag_bits & 1 or part.compress_type not in _STORED_OR_DEFLATED:
            raise halt("xlsx-unsafe", "the workbook is encrypted or packed in an unusual way")
        most = max(limits.MIB, limits.XLSX_RATIO * max(1, part.compress_size))
        if part.file_size > most:
            message = f"a part that expands more than {limits.XLSX_RATIO} times"
            raise halt("xlsx-unsafe", f"the workbook has {message}")
    unpacked = sum(part.file_size for part in parts)
    limits.require(unpacked, limits.XLSX_UNPACKED_BYTES, "the unpacked workbook")
    for part in parts:
        with archive.open(part) as stream:
            _refuse_document_type(stream)


class _Facts:
    """Facts from a sheet's XML that openpyxl does not tell when it streams.

    `fills` are the styles with a background. Raises HaltError if the rows do not count up
    within a sheet's limit, or a cell is beyond `limits.COLUMNS`.
    """

    def __init__(self, stream: IO[bytes], fills: frozenset[str]) -> None:
        self.hidden: set[int] = set()
        self.filled: list[int] = []
        """The rows with a background."""
        self.rows = 0
        self.has_formulas = False
        self.merged: list[tuple[int, int, int]] = []
        """Columns (from 0) whose cells are merged downwards, with their first and last row."""
        self.struck: set[str] = set()
        """The cells with text that is struck through, of those that hold their text themselves."""
        self._fills = fills
        self._row = self._values = self._coloured = 0
        self._is_coloured = False
        self._cell = ""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        for piece in _pieces(stream):
            parser.Parse(piece, False)

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(":")[2]
        if kind == "c":
            self._cell = attributes.get("r", "")
            letters = self._cell.rstrip("0123456789").lstrip("$")
            # A reader fills a row up to its last cell.
            if len(letters) > 1 and _column(letters) > limits.COLUMNS:
                raise halt("cell-count", f"the sheet has cells beyond column {limits.COLUMNS}")
            self._is_coloured = attributes.get("s") in self._fills
        elif kind in ("v", "is"):
            self._values += 1
            self._coloured += self._is_coloured
        elif kind == "f":
            self.has_formulas = True
        elif kind == "strike" and attributes.get("val", "1") not in ("0", "false"):
            self.struck.add(self._cell)
        elif kind == "row":
            self._start_row(attributes)
        elif kind == "mergeCell":
            found = _MERGED.fullmatch(attributes.get("ref", ""))
            if found and found[2] != found[3] and len(self.merged) < limits.XLSX_PARTS:
                self.merged.append((_column(found[1]) - 1, int(found[2]), int(found[3])))

    def _start_row(self, attributes: dict[str, str]) -> None:
        row = int(attributes.get("r", self._row + 1))
        if not self._row < row <= limits.XLSX_ROWS:
            message = f"the rows of the sheet do not count up after row {self._row}"
            raise halt("xlsx-damaged", message)
        self._row, self._values, self._coloured = row, 0, 0
        if attributes.get("hidden") in ("1", "true"):
            self.hidden.add(row)

    def _ended(self, name: str) -> None:
        if name.rpartition(":")[2] == "row" and self._values:
            self.rows += 1
            if self._coloured * 2 > self._values:
                self.filled.append(self._row)


_MERGED = re.compile(r"([A-Z]{1,3})([0-9]{1,7}):[A-Z]{1,3}([0-9]{1,7})")


def _column(letters: str) -> int:
    number = 0
    for letter in letters[:4].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _refuse_document_type(stream: IO[bytes]) -> None:
    """Read a part up to its first element, which any document type has to precede."""
    begun = False

    def started(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal begun
        begun = True

    def declared(*_declaration: object) -> None:
        message = "the workbook holds an XML document type, which Excel never writes"
        raise halt("xlsx-unsafe", message)

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


_ERROR_CELL = "an error of the sheet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A sheet that is not empty. `header` is the row of its header, 0 if it has none.

    `calculated` are its rows as Excel last calculated them, None if it has no formula;
    `struck` are the styles whose text is struck through.
    """

    title: str
    sheet: Any
    visible: bool
    header: int
    width: int
    has_devices: bool
    facts: _Facts
    calculated: Any
    struck: frozenset[int]
    comments: tuple[str, ...]


def xlsx_rows(
    content: bytes, file: str, channel: ChannelName | None, reading: ReadingOptions
) -> Iterator[Item]:
    """Every device row of the one sheet with devices, and every problem.

    Raises HaltError if the workbook is damaged or unsafe, or no sheet or several could be it.
    """
    with _damage_told(), zipfile.ZipFile(BytesIO(content)) as archive:
        check_archive(archive)
        sheets = tuple(_filled_sheets(content, archive))
    chosen = _choose(sheets, reading.sheet)
    for one in sheets:
        if one is not chosen:
            message = f"the sheet {shown(one.title)} is not read"
            yield problem(file, None, finding("sheet-ignored", message))
    yield from rows_of_table(_records_told(chosen, file), file, channel, reading)
    yield from _remarks(chosen, file)


@contextmanager
def _damage_told() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except HaltError:
            raise
        except Exception as error:  # bytes that are no workbook make openpyxl raise anything
            message = f"the workbook cannot be read ({type(error).__name__})"
            raise halt("xlsx-damaged", message) from error


def _filled_sheets(content: bytes, archive: zipfile.ZipFile) -> Iterator[_Sheet]:
    from openpyxl import load_workbook

    workbook: Any = load_workbook(
        BytesIO(content), read_only=True, keep_links=False, rich_text=True
    )
    struck, fills = _styles(workbook)
    calculated = None
    for sheet in workbook.worksheets:
        path = str(sheet._worksheet_path)  # openpyxl keeps it to itself
        with archive.open(path) as stream:
            facts = _Facts(stream, fills)
        if facts.has_formulas and calculated is None:
            calculated = load_workbook(
                BytesIO(content), read_only=True, keep_links=False, data_only=True
            )
        sheet.reset_dimensions()
        start = list(islice(_records(sheet, 0), HEADER_WITHIN))
        if start:
            header = next((at for at, one in enumerate(start) if names_identifier(one[1])), None)
            yield _Sheet(
                title=sheet.title,
                sheet=sheet,
                visible=sheet.sheet_state == "visible",
                header=0 if header is None else start[header][0],
                width=0 if header is None else len(start[header][1]),
                has_devices=header is not None and len(start) > header + 1,
                facts=facts,
                calculated=calculated[sheet.title] if facts.has_formulas and calculated else None,
                struck=struck,
                comments=_commented(archive, path),
            )


def _styles(workbook: Any) -> tuple[frozenset[int], frozenset[str]]:
    """The cell styles that are struck through, and those with a background that is not white."""
    struck, fills = set(), set()
    for place, style in enumerate(workbook._cell_styles):
        if workbook._fonts[style.fontId].strike:
            struck.add(place)
        fill = workbook._fills[style.fillId]
        colour = fill.fgColor.rgb if fill.fgColor.type == "rgb" else ""
        if fill.fill_type == "solid" and str(colour)[-6:].upper() != "FFFFFF":
            fills.add(str(place))
    return frozenset(struck), frozenset(fills)


_COMMENTS = re.compile(rb'Target="(?:/xl/|\.\./)(comments[^"]{0,80}|threadedComments/[^"]{0,80})"')
_COMMENTED = re.compile(rb'ref="([A-Z]{1,3}[0-9]{1,7})"')


def _commented(archive: zipfile.ZipFile, path: str) -> tuple[str, ...]:
    """The cells of a sheet that have comments, in whatever order."""
    folder, _, name = path.rpartition("/")
    try:
        links = archive.read(f"{folder}/_rels/{name}.rels")
        parts = {found.decode() for found in _COMMENTS.findall(links)}
        found = [_COMMENTED.findall(archive.read(f"xl/{part}")) for part in parts]
    except (KeyError, UnicodeDecodeError):
        return ()
    return tuple(dict.fromkeys(cell.decode() for cells in found for cell in cells))


def _choose(sheets: tuple[_Sheet, ...], wanted: str | None) -> _Sheet:
    """The sheet that is asked for, else the only visible one with devices, else the only one."""
    if not sheets:
        raise halt("empty-file", "the workbook is empty")
    titles = ", ".join(shown(one.title) for one in sheets[:8])
    if wanted is not None:
        for one in sheets:
            if one.title.casefold() == wanted.strip().casefold():
                return one
        message = f"no sheet with content is called {shown(wanted)}; there are {titles}"
        raise halt("xlsx-sheets", message)
    visible = [one for one in sheets if one.visible]
    fit = [one for one in visible if one.has_devices] or [one for one in visible if one.header]
    fit = fit or visible or list(sheets)
    if len(fit) == 1:
        return fit[0]
    titles = ", ".join(shown(one.title) for one in fit[:5])
    message = f"{len(fit)} sheets could hold the devices: {titles}"
    raise halt("xlsx-sheets", message)


def _remarks(chosen: _Sheet, file: str) -> Iterator[Problem]:
    """Warn of meaning in colours and comments, which are not read."""
    filled = [row for row in chosen.facts.filled if row > chosen.header]
    below = chosen.facts.rows - 1 if chosen.header else chosen.facts.rows
    if filled and len(filled) * 2 < below:
        more = f" and {len(filled) - LISTED} more" if len(filled) > LISTED else ""
        listed = ", ".join(map(str, filled[:LISTED]))
        rows = "row" if len(filled) == 1 else "rows"
        message = f"{rows} {listed}{more} have a background colour that the others do not have"
        yield problem(file, filled[0], finding("filled-rows", message))
    if chosen.comments:
        listed = ", ".join(chosen.comments[:LISTED])
        message = f"cells have comments, which are not read: {listed}"
        yield problem(file, None, finding("comments", message))


def _records_told(chosen: _Sheet, file: str) -> Iterator[Record | Problem]:
    """The records of the sheet, and of each that is hidden that it is."""
    with _damage_told():
        for record in _records(chosen.sheet, chosen.width, chosen):
            if record[0] in chosen.facts.hidden:
                message = "the row is hidden in the sheet, and is still one of the batch"
                yield problem(file, record[0], finding("hidden-row", message))
            yield record


def _records(sheet: Any, width: int, known: _Sheet | None = None) -> Iterator[Record]:
    """The rows that are not empty, at least `width` cells each.

    A cell that is merged downwards counts for all of its rows.
    """
    struck = known.struck if known else frozenset()
    calculated = (
        known.calculated.iter_rows(values_only=True) if known and known.calculated else None
    )
    merged = known.facts.merged if known else []
    runs = known.facts.struck if known else set()
    tops: dict[int, tuple[str, Cell | None]] = {}
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        values = next(calculated, ()) if calculated else ()
        told = [_text(cell, struck, runs) for cell in cells]
        for column, first, last in merged:
            if line == first and column < len(told):
                tops[column] = told[column]
            elif first < line <= last and column in tops and any(text for text, _ in told):
                told += [("", None)] * (column + 1 - len(told))
                told[column] = tops[column]
        while told and not told[-1][0].strip():
            told.pop()
        if told:
            told += [("", None)] * (width - len(told))
            notes = {place: note for place, (_, note) in enumerate(told) if note}
            for place, note in notes.items():
                if note.kind == FORMULA and place < len(values) and isinstance(values[place], str):
                    notes[place] = note._replace(shown=values[place])
            yield line, [text for text, _ in told], notes or None


def _text(cell: Any, struck: frozenset[int], runs: set[str]) -> tuple[str, Cell | None]:
    value = cell.value
    if value is None:
        return "", None
    is_struck = (bool(struck) and cell._style_id in struck) or (
        bool(runs) and cell.coordinate in runs
    )
    kind: str | None = None
    seen: str | None = None
    text = str(value)
    if isinstance(value, list):  # rich text: a list of runs
        fonts = [getattr(run, "font", None) for run in value]
        is_struck = is_struck or any(getattr(font, "strike", False) for font in fonts)
    elif isinstance(value, str):
        kind = {"f": FORMULA, "e": _ERROR_CELL}.get(cell.data_type)
    elif isinstance(value, bool):
        text, kind = text.upper(), "a truth value"
    elif isinstance(value, int | float):
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            text = str(int(value))
        kind, seen = NUMBER, _as_excel_shows(value, str(cell.number_format))
    else:
        kind = "a date" if isinstance(value, date | time | timedelta) else FORMULA
    if kind is None and not is_struck:
        return text, None
    return text, Cell(kind=kind, shown=seen, struck=is_struck)


_PADDED = re.compile(r"0{1,20}")


def _as_excel_shows(number: int | float, number_format: str) -> str | None:
    """The digits that Excel shows, where they are all of them: neither scientific nor rounded."""
    whole = int(number) if number == number // 1 else -1
    if not 0 <= whole < 10**15:
        return None
    if _PADDED.fullmatch(number_format):
        return str(whole).zfill(len(number_format))
    return str(whole) if number_format in ("General", "@") and whole < 10**11 else None
