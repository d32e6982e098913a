"""From the cells of a table to rows of the batch schema; CSV is split into cells here as well.

Cells are texts. A record is the line, its cells, and what is to be said about cells of a workbook:
a cell that is not text cannot be an identifier, because digits may be lost. A record of CSV keeps
the number of its first line. Memory holds one record, however long the file is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import NamedTuple

from partner_tools.intake import limits
from partner_tools.intake.batch_metadata import ReadingOptions
from partner_tools.intake.columns import (
    EXPECTED,
    IDENTIFIERS,
    SERIAL,
    Columns,
    is_header,
    kind_of_column,
    known,
    names_identifier,
    no_such_column,
    place_of,
    read_columns,
    spelt_like,
)
from partner_tools.intake.identifiers import (
    is_date,
    is_footer,
    is_placeholder,
    is_serial,
    names,
    plain,
    several_in,
    why_no_serial,
)
from partner_tools.intake.rules import Finding, HaltError, finding, halt, problem, shown
from partner_tools.model import ChannelName, Problem, Severity

HEADER_WITHIN = 20
"""How many records are looked through for a header that does not come first."""

LISTED = 20
"""How many rows a warning about several of them names."""

NUMBER = "a number"
FORMULA = "a formula"
"""The kinds of a workbook's cells that hold a number, or a formula."""

_EXACT = frozenset((*IDENTIFIERS, "manufacturer", "model"))
"""The properties that are compared exactly, so that only text will do."""


class Cell(NamedTuple):
    """Notes on a cell of a workbook.

    `kind` is its type if it is not text; `shown` what Excel shows in its place, None if
    that has lost something; `struck` whether its text is struck through.
    """

    kind: str | None = None
    shown: str | None = None
    struck: bool = False


class Row(NamedTuple):
    """One device row as it was read. `values` has the properties of the batch schema.

    `values` is None if the cells could not be told apart, which was reported already.
    A tuple and no dataclass: one is made for each of a million rows.
    """

    line: int
    values: dict[str, object] | None
    extra: tuple[tuple[str, str], ...] = ()


Record = tuple[int, Sequence[str], Mapping[int, Cell] | None]
"""One record of a table: its line, its cells, and by place what is to be said about cells.

A bare tuple: one is made for each of a million rows, and lives for a microsecond.
"""

Item = Row | Problem


def rows_of_table(
    records: Iterator[Record | Problem],
    file: str,
    channel: ChannelName | None,
    reading: ReadingOptions,
) -> Iterator[Item]:
    """Every device row of the table, and every problem of its header and its records.

    Raises HaltError if there is no header, and the rows are not a bare list either.
    """
    start = list(islice(_filled(records), HEADER_WITHIN))
    place = _header_place(start, reading)
    if place is None:
        if reading.only or reading.excluded:
            raise halt("conflict", "the list has no header by which rows could be chosen")
        yield from _bare_list(chain(start, _filled(records)), file, alone=len(start) == 1)
        return
    header = start[place]
    assert not isinstance(header, Problem), "a header is a record"  # noqa: S101
    line, cells, _ = header
    columns, found = read_columns(_without_blank_end(cells), channel, reading.serial_column)
    yield from _above_header(start[:place], columns, file, line)
    yield from (problem(file, line, one) for one in found)
    if not any(one.rule == "no-identifier-column" for one in found):
        yield from rows_below(chain(start[place + 1 :], records), columns, file, reading)


def _filled(records: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    return (record for record in records if isinstance(record, Problem) or not _is_blank(record[1]))


def _is_blank(cells: Sequence[str]) -> bool:
    """Whether a row says nothing: separators of another kind than the table's are none of it."""
    return not any(cell.strip().strip(" \t,;|") for cell in cells)


def _header_place(start: Sequence[Record | Problem], reading: ReadingOptions) -> int | None:
    """Where the header is; None if the records are a list without one."""
    records = [(place, one) for place, one in enumerate(start) if not isinstance(one, Problem)]
    if not records:
        raise halt("empty-file", "the file holds no row")
    wanted = reading.serial_column
    if wanted is not None:
        for place, (_, cells, _) in records:
            if any(plain(cell) == plain(wanted) != "" or cell == wanted for cell in cells):
                return place
        raise no_such_column(wanted, max((one[1] for _, one in records), key=known))
    for is_one in (names_identifier, is_header):
        for place, (line, cells, _) in records:
            if is_one(cells):
                if place and any(map(is_serial, filter(None, cells))):
                    raise _repeated_labels(line, cells, records[0][1][1])
                return place
    if _is_bare([one[1] for _, one in records]):
        return None
    for place, (_, cells, _) in records:
        if known(cells):
            return place
    line, cells, _ = records[0][1]
    raise _no_header(line, cells)


def _repeated_labels(line: int, cells: Sequence[str], header: Sequence[str]) -> HaltError:
    """A report of SQL Server Reporting Services, whose text boxes are columns of their own."""
    named = dict(enumerate(header))
    labels = [place for place, cell in enumerate(cells) if kind_of_column(cell)]
    value = next(place for place, cell in enumerate(cells) if is_serial(cell))
    column = shown(named.get(value, "").strip())
    listed = ", ".join(shown(named.get(place, "").strip()) for place in labels)
    message = (
        f"this is a report that repeats its labels in every row, as Configuration Manager exports "
        f"them: the columns {listed} hold labels, and {column} seems to hold the serial numbers"
    )
    return halt("repeated-labels", message, line)


def _is_bare(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows without a header are serial numbers: one a line, or all in one line."""
    if _LABELLED.match(rows[0][0]) and _unmarked(rows[0][0]) == rows[0][0]:
        return False
    alone = len(rows) == 1
    cells = [_unmarked(cell) for row in rows for cell in _meant(row, alone=alone).values()]
    found = [is_serial(cell) or len(several_in(cell)) > 1 for cell in cells]
    return all(found) if alone else any(found) and len(cells) == len(rows)


_COUNTED = re.compile(r"\d{1,5}|\d{1,2}:\d{2}(?::\d{2})?")


def _meant(cells: Sequence[str], *, alone: bool) -> dict[int, str]:
    """The cells of a row without a header, without the time and the number that scanners add.

    A row that is `alone` is a list by itself.
    """
    given = {place: cell.strip() for place, cell in enumerate(cells) if cell.strip()}
    bare = {
        place: text
        for place, text in given.items()
        if not (_COUNTED.fullmatch(text) or is_date(text))
    }
    return given if alone else bare or given


_LABELLED = re.compile(r"\s*[A-Za-z][A-Za-z \t]*:\s")
_MARK = re.compile(r"(?:[-*>\u2022\u2013]|\d{1,4}[.)])\s+(?=\S)")


def _unmarked(text: str) -> str:
    """The text of a line without what people put before it: `- `, `1. `, `S/N: `."""
    label, *rest = re.split("[:=]", text, maxsplit=1)
    if rest and kind_of_column(label) == SERIAL:
        return rest[0].strip()
    return _MARK.sub("", text, count=1) if _MARK.match(text) else text


def _bare_list(records: Iterable[Record | Problem], file: str, *, alone: bool) -> Iterator[Item]:
    """The serial numbers of a list without a header, where only such a text can be one."""
    first: tuple[int, str] | None = None
    count = 0
    for record in records:
        if isinstance(record, Problem):
            yield record
            continue
        line, cells, notes = record
        given = _meant(cells, alone=alone)
        if len(given) > 1 and not alone:
            message = f"the row has {len(given)} cells in a list without a header"
            yield problem(file, line, finding("no-header", message))
            yield Row(line, None)
            continue
        for place, marked in given.items():
            if marked.startswith("# "):
                message = f"the remark {shown(marked)} is skipped"
                yield problem(file, line, finding("skipped-line", message))
                continue
            text = _unmarked(marked)
            note = notes.get(place, Cell()) if notes else Cell()
            found = why_no_serial(text) or (None if is_serial(text) else _unsure(text))
            if note.struck:
                found = finding("struck-row", "the row is struck through in the sheet")
            elif found is None and note.kind is not None:
                found = finding("spreadsheet-damage", f"the cell holds {note.kind}, not text")
            if found is not None and found.rule != "several-in-one":
                yield problem(file, line, found)
                yield Row(line, None)
                continue
            first, count = first or (line, text), count + 1
            yield Row(line, {SERIAL: text})
    if first is not None:
        numbers = "1 serial number is" if count == 1 else f"{count} serial numbers are"
        message = f"the list has no header; {numbers} read, the first is {shown(first[1])}"
        yield problem(file, first[0], finding("bare-list", message))


def _unsure(text: str) -> Finding:
    near = spelt_like(text)
    hint = f"; did you mean {near}?" if near else ""
    message = (
        f"{shown(text)} may be something other than a serial number; the list has no header{hint}"
    )
    remedy = (
        "add the header `Serial number` if it is one; if it is the header, pass it as "
        "--serial-column; else delete the row"
    )
    return finding("not-an-identifier", message, column=SERIAL, remedy=remedy)


def _no_header(line: int, first: Sequence[str]) -> HaltError:
    """No cell is a header: is the first row data, or a header in words that are not known?"""
    cells = ", ".join([shown(cell.strip()) for cell in first if cell.strip()][:5])
    if any(map(is_serial, (cell.strip() for cell in first))):
        message = f"the file begins with a row of data instead of a header: {cells}"
        return halt("no-header", message, line)
    near = dict.fromkeys(filter(None, map(spelt_like, first)))
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    message = (
        f"no column of the header is known: {cells}{hint}; expected: {EXPECTED}, "
        "separated by comma, semicolon or tab"
    )
    return halt("unknown-header", message, line)


def _above_header(
    before: Sequence[Record | Problem], columns: Columns, file: str, header: int
) -> list[Problem]:
    """Check the rows above the header: titles are skipped, devices are an error."""
    found = [one for one in before if isinstance(one, Problem)]
    titles: list[tuple[int, str]] = []
    for one in before:
        if isinstance(one, Problem):
            continue
        line, cells, _ = one
        filled = {place: cell.strip() for place, cell in enumerate(cells) if cell.strip()}
        at = [place for place, name in enumerate(columns.names) if name in IDENTIFIERS]
        if any(is_serial(filled.get(place, "")) for place in (*at, *columns.serials)):
            message = f"the row seems to be a device, above the header in row {header}"
            found.append(problem(file, line, finding("rows-before-header", message)))
        else:
            titles.append((line, next(iter(filled.values()))))
    if titles:
        listed = ", ".join(shown(text) for _, text in titles[:3])
        rows = "1 row" if len(titles) == 1 else f"{len(titles)} rows"
        message = f"{rows} above the header in row {header} skipped: {listed}"
        found.append(problem(file, titles[0][0], finding("skipped-line", message)))
    return sorted(found, key=lambda one: one.row or 0)


def _without_blank_end(cells: Sequence[str]) -> list[str]:
    kept = list(cells)
    while kept and not kept[-1].strip():
        kept.pop()
    if len(kept) > limits.COLUMNS:
        message = f"the table has more than {limits.COLUMNS} columns"
        raise halt("cell-count", message)
    return kept


_USUAL = re.compile(
    r"[0-9]{7,}"
    r"|[A-Za-z/_:#-]*[0-9][0-9/_:#-]*[A-Za-z][0-9A-Za-z/_:#-]*"
    r"|[0-9/_:#-]*[A-Za-z][A-Za-z/_:#-]*[0-9][0-9A-Za-z/_:#-]*"
)
"""An identifier of a row that is neither a header nor a total, so that the row is a device's."""


def rows_below(
    records: Iterable[Record | Problem], columns: Columns, file: str, reading: ReadingOptions
) -> Iterator[Item]:
    """Every device row below a header, and every problem of the records."""
    table = _Table(columns, file, reading)
    width = -1 if table.needs_every_row else len(columns.names)
    names = [name or "" for name in columns.names]
    named = [(name, place) for place, name in enumerate(columns.names) if name]
    carried = [(columns.called(place), place) for place in columns.extra]
    at = next(place for name, place in named if name in IDENTIFIERS)
    is_usual = _USUAL.fullmatch
    for record in records:
        if isinstance(record, Problem):
            yield record
            continue
        line, cells, notes = record
        if len(cells) == width and notes is None and is_usual(cells[at]):
            table.rows += 1
            if carried or "" in cells:
                values: dict[str, object] = {name: cells[i] for name, i in named if cells[i]}
                yield Row(line, values, tuple((name, cells[i]) for name, i in carried if cells[i]))
            else:
                yield Row(line, dict(zip(names, cells, strict=True)))
        elif not _is_blank(cells):
            yield from table.row(record)
    yield from table.summary()


class _Table:
    """Reads the rows of a table that are not plain, and remembers what a summary needs."""

    def __init__(self, columns: Columns, file: str, reading: ReadingOptions) -> None:
        self._columns = columns
        self._file = file
        self._reading = reading
        self._kinds = tuple(map(kind_of_column, columns.headers))
        at = (place for place, name in enumerate(columns.names) if name in IDENTIFIERS)
        self._at = (*columns.serials, *at)
        self._forms = tuple(map(plain, columns.headers))
        self._only = _selection(reading.only, columns)
        self._except = _selection(reading.excluded, columns)
        chosen = {*self._only, *self._except}
        self._status = {
            place: _Stays(self._kinds[place] or "")
            for place in columns.status
            if place not in chosen
        }
        self.rows = self._selected = 0

    @property
    def needs_every_row(self) -> bool:
        """Whether there is more to look at in a row than what its columns hold."""
        columns = self._columns
        odd = columns.tenant or len(columns.serials) > 1 or self._status
        return bool(odd or self._only or self._except)

    def row(self, record: Record) -> Iterator[Item]:
        """The device of a row, or what is wrong with it; nothing if it is left out."""
        line, cells, notes = record
        first = next((cells[at] for at in self._at if at < len(cells) and cells[at]), "")
        aside = None if _USUAL.fullmatch(first) else self._aside(line, cells)
        if aside is not None and aside.severity is not Severity.ERROR:
            yield problem(self._file, line, aside)
            return
        self.rows += aside is None
        if not self._is_selected(cells):
            return
        if aside is not None:
            yield problem(self._file, line, aside)
            yield Row(line, None)
            return
        self._selected += 1
        if notes:
            cells = self._as_shown(cells, notes)
        named = zip(self._columns.names, cells, strict=False)
        values: dict[str, object] = {name: cell for name, cell in named if name}
        found = [
            *_misfit(cells, len(self._columns.names)),
            *_tenants(cells, self._columns),
            *self._serial(cells, values),
            *self._noted(cells, notes or {}),
        ]
        yield from (problem(self._file, line, one) for one in found)
        if any(one.severity is Severity.ERROR for one in found):
            yield Row(line, None)
            return
        for place, stays in self._status.items():
            stays.look(line, cells[place].strip() if place < len(cells) else "")
        given = {name: cell for name, cell in values.items() if cell}
        yield Row(line, given, self._extra(cells))

    def summary(self) -> Iterator[Problem]:
        """Yield the problems that are known once all rows were read."""
        for place, stays in self._status.items():
            if stays.count and stays.count < self.rows:
                header = self._columns.headers[place]
                message = f"the column {shown(header)} says {stays.said()}: these may have to stay"
                found = finding("status-column", message, column=header)
                yield problem(self._file, stays.rows[0], found)
        if self._only or self._except:
            message = f"{self._selected} of {self.rows} rows are selected"
            yield problem(self._file, None, finding("selected", message))

    def _repeats(self, place: int, text: str, kind: str | None) -> bool:
        """Whether a cell says what the header says at its place."""
        if place >= len(self._forms) or text[0] in "{<":  # the blank of a form
            return False
        return plain(text) == self._forms[place] or (
            kind == self._kinds[place] and kind is not None
        )

    def _aside(self, line: int, cells: Sequence[str]) -> Finding | None:
        """Judge a row that is not a device: skipped with a warning, or an error."""
        filled = {place: cell.strip() for place, cell in enumerate(cells) if cell.strip()}
        texts = tuple(filled.values())
        if texts[0].startswith("#TYPE ") or (len(texts) == 1 and _SEP_LINE.fullmatch(texts[0])):
            return finding("skipped-line", f"the line {shown(texts[0])} is skipped")
        if all(not text.strip("-=+_ ") for text in texts) and (
            not self.rows or len(cells) != len(self._forms)
        ):
            return finding("skipped-line", "a line that is only drawn is skipped")
        kinds = {place: kind_of_column(text) for place, text in filled.items()}
        if set(kinds.values()).intersection(IDENTIFIERS):
            alone = len(kinds) == 1 and is_placeholder(texts[0])  # firmware says that, too
            if not (alone and plain(texts[0]) not in self._forms) and all(
                self._repeats(place, filled[place], kind) for place, kind in kinds.items()
            ):
                return finding("skipped-line", "the header is repeated; the row is skipped")
            if len(kinds) > 1 and None not in kinds.values():
                raise halt("other-header", "another header begins here", line)
        if is_footer(texts[0]) and all(_FIGURE.fullmatch(text) for text in texts[1:]):
            message = f"{shown(texts[0])} is a total or the end of a report, not a device"
            return finding("not-an-identifier", message)
        return None

    def _is_selected(self, cells: Sequence[str]) -> bool:
        def said(place: int) -> str:
            return cells[place].strip().casefold() if place < len(cells) else ""

        kept = all(said(place) in wanted for place, wanted in self._only.items())
        return kept and not any(said(place) in out for place, out in self._except.items())

    def _as_shown(self, cells: Sequence[str], notes: Mapping[int, Cell]) -> Sequence[str]:
        """The cells with the numbers that Excel shows in full, where the user says so."""
        if not self._reading.numbers_as_shown:
            return cells
        return [
            notes[place].shown or cell
            if place in notes and notes[place].kind == NUMBER and self._is_exact(place)
            else cell
            for place, cell in enumerate(cells)
        ]

    def _is_exact(self, place: int) -> bool:
        named = self._columns.names[place] if place < len(self._columns.names) else None
        return named in _EXACT or place in self._columns.serials

    def _serial(self, cells: Sequence[str], values: dict[str, object]) -> Iterator[Finding]:
        """Take the serial number from the one column of several that a row fills."""
        serials = self._columns.serials
        if len(serials) < 2:
            return
        given = {place: cells[place] for place in serials if place < len(cells)}
        given = {place: text for place, text in given.items() if text.strip()}
        if len({text.strip() for text in given.values()}) > 1:
            listed = " and ".join(
                f"{shown(self._columns.headers[place])} {shown(text.strip())}"
                for place, text in given.items()
            )
            message = f"the columns name different serial numbers: {listed}"
            yield finding("serials-differ", message, column=SERIAL)
        values[SERIAL] = next(iter(given.values()), "")

    def _noted(self, cells: Sequence[str], notes: Mapping[int, Cell]) -> Iterator[Finding]:
        """Find problems in the cells of a workbook: not text, or struck through.

        A number of 13 digits in the product key id has lost nothing.
        """
        struck = {place for place, note in notes.items() if note.struck}
        filled = {place for place, cell in enumerate(cells) if cell.strip()}
        if struck and (struck >= filled or any(map(self._is_exact, struck))):
            yield finding("struck-row", "the row is struck through in the sheet")
        for place, note in notes.items():
            name = self._columns.names[place] if place < len(self._columns.names) else None
            whole = name == "productKeyId" and note.kind == NUMBER and len(cells[place]) == 13
            taken = self._reading.numbers_as_shown and note.kind == NUMBER and note.shown
            if note.kind and self._is_exact(place) and not whole and not taken:
                yield _not_text(name or SERIAL, cells[place], note)

    def _extra(self, cells: Sequence[str]) -> tuple[tuple[str, str], ...]:
        columns = self._columns
        return tuple(
            (columns.called(place), cells[place])
            for place in columns.extra
            if place < len(cells) and cells[place]
        )


class _Stays:
    """The rows of a status column that say that a device stays."""

    def __init__(self, kind: str) -> None:
        values = names()["status"][{"removal": "no", "keep": "yes"}.get(kind, "stay")]
        self._stay = tuple(plain(value) or value for value in values)  # a check mark has no letter
        self._starts = kind not in ("removal", "keep")
        self.rows: list[int] = []
        self.values: dict[str, None] = {}
        self.count = 0

    def look(self, line: int, value: str) -> None:
        """Remember a row where it says so."""
        form = plain(value) or value
        if not (form.startswith(self._stay) if self._starts else form in self._stay):
            return
        self.count += 1
        if len(self.rows) < LISTED:
            self.rows.append(line)
            self.values[value] = None

    def said(self) -> str:
        """The values and the rows, for a sentence."""
        listed = ", ".join(map(str, self.rows))
        more = f" and {self.count - len(self.rows)} more" if self.count > len(self.rows) else ""
        rows = "row" if self.count == 1 else "rows"
        return f"{' or '.join(map(shown, self.values))} in {rows} {listed}{more}"


_SEP_LINE = re.compile(r"sep=.?", re.IGNORECASE)
_FIGURE = re.compile(r"[\d.,:%/ -]+")


def _selection(pairs: Sequence[tuple[str, str]], columns: Columns) -> Mapping[int, frozenset[str]]:
    """The values that were asked for, by the place of their column."""
    found: dict[int, frozenset[str]] = {}
    for column, value in pairs:
        place = place_of(column, columns.headers)
        found[place] = found.get(place, frozenset()) | {value.strip().casefold()}
    return found


def _misfit(cells: Sequence[str], width: int) -> Iterator[Finding]:
    if len(cells) < width:
        message = f"the row has {_cells(len(cells))} under {width} headers"
        other = any(mark in cell for cell in cells for mark in ",;\t")
        rule = "mixed-separator" if other else "short-row"
        if other:
            message += ", and holds another separator than the header"
        yield finding(rule, message)
    elif not _is_blank(cells[width:]):
        yield finding("cell-count", f"the row has {_cells(len(cells))} under {width} headers")


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _tenants(cells: Sequence[str], columns: Columns) -> Iterator[Finding]:
    for place in columns.tenant:
        if place < len(cells) and cells[place].strip():
            header = columns.headers[place]
            message = f"the column {shown(header)} is not blank: it would register the device"
            yield finding("tenant-given", message, column=header)


def _not_text(name: str, text: str, note: Cell) -> Finding:
    """Why a cell of a workbook cannot be an identifier, with what Excel shows in its place."""
    message, remedy = f"the cell holds {note.kind}, not text: {shown(text)}", None
    if note.kind == NUMBER and note.shown:
        message += f"; Excel shows {shown(note.shown)}"
        remedy = "pass --numbers-as-shown if that is the value, else enter it again as text"
    elif note.kind == NUMBER:
        message += " may have lost digits"
    elif note.shown:
        message += f"; Excel last showed {shown(note.shown)}"
        remedy = "copy the column in Excel and paste it as values, if they are right"
    return finding("spreadsheet-damage", message, column=name, remedy=remedy)


SEPARATORS = (",", ";", "\t", "|")


def csv_rows(
    lines: Iterator[str], file: str, channel: ChannelName | None, reading: ReadingOptions
) -> Iterator[Item]:
    """Every device row of a CSV and every problem. Raises HaltError if it has no header."""
    start = list(islice(lines, HEADER_WITHIN))
    first, told = 0, None
    if start and _SEP_LINE.fullmatch(start[0].strip()):
        # Excel writes a first line `sep=;` into files that it wants to open itself.
        first, told = 1, start[0].strip("\r\n")[4:5]
        message = f"the line {shown(start[0].strip())} is skipped"
        yield problem(file, 1, finding("skipped-line", message))
    rest: Iterator[str] = chain(start[first:], lines)
    if _is_property_list(start[first:]):
        yield from rows_of_table(_property_records(rest, first), file, channel, reading)
        return
    offsets = _fixed_width(start)
    if offsets:
        found = _fixed_records(rest, offsets, file, first)
        yield from rows_of_table(found, file, channel, reading)
        return
    inner = [_unquoted(line) for line in start[first:]]
    if inner != start[first:] and _is_quoted_whole(start[first:], inner):
        rest = map(_unquoted, rest)
        message = "lines are quoted as a whole; each was split once more"
        yield problem(file, first + 1, finding("quoted-lines", message))
        start[first:] = inner
    separator = told if told in SEPARATORS else _separator(start[first:])
    yield from rows_of_table(records(rest, separator, file, first), file, channel, reading)


def _separator(start: list[str]) -> str:
    """The separator that makes most of the first lines known headers."""
    return max(SEPARATORS, key=lambda separator: _headers(start, separator))


def _headers(start: list[str], separator: str) -> tuple[int, int]:
    found = records(iter(start), separator, "", 0)
    rows = [one[1] for one in found if not isinstance(one, Problem)]
    widest = max((len(cells) for cells in rows[:1]), default=0)
    return max((known(cells) for cells in rows), default=0), widest


def _unquoted(line: str) -> str:
    """A line without the quotes around the whole of it, if it is one cell of several."""
    line = line.rstrip(",;\t") if line[:1] == '"' else line  # Excel fills the other columns
    if len(line) < 3 or line[0] != '"' or line[-1] != '"':
        return line
    try:
        cells = next(csv.reader([line], strict=True), [])
    except csv.Error:
        return line
    return cells[0] if len(cells) == 1 and any(map(cells[0].__contains__, SEPARATORS)) else line


def _is_quoted_whole(start: list[str], inner: list[str]) -> bool:
    """Whether lines are quoted whole: so is the header, or they have its cells when unquoted."""
    separator = _separator(inner)
    outer, width = _headers(start, separator)
    if _headers(inner, separator)[0] > outer:
        return True
    rows = [one for one in records(iter(inner), separator, "", 0) if not isinstance(one, Problem)]
    return width > 1 and all(len(cells) == width for _, cells, _ in rows[:HEADER_WITHIN])


_PROPERTY = re.compile(r"(\w[\w ()./-]*)[:=](.*)")


def _is_property_list(start: Sequence[str]) -> bool:
    """Whether lines are `Name : Value`, as `Format-List` and `wmic /value` print them."""
    lines = [line for line in start if line.strip()]
    found = [_PROPERTY.fullmatch(line) for line in lines if not line.startswith(" ")]
    names = {each[1].strip(): kind_of_column(each[1]) for each in found if each}
    return all(found) and names_identifier(list(names)) and set(names.values()) != {SERIAL}


def _property_records(lines: Iterator[str], before: int) -> Iterator[Record]:
    """A record for each group of properties; the first group names the columns."""
    headers: tuple[str, ...] = ()
    group: dict[str, list[str]] = {}
    begun = before + 1
    for number, line in enumerate(chain(lines, [""]), start=before + 1):
        found = _PROPERTY.fullmatch(line)
        if group and (not line.strip() or (found and found[1].strip() in group)):
            if not headers:
                headers = tuple(group)
                yield begun, headers, None
            named = [group.pop(name, []) for name in headers]
            yield begun, [*map(" ".join, (*named, *group.values()))], None
            group = {}
        if found:
            begun = begun if group else number
            group[found[1].strip()] = [found[2].strip()]
        elif group and line.strip():  # the rest of a long value
            group[next(reversed(group))].append(line.strip())


_COLUMN = re.compile(r"\S+(?: \S+)*")
_RULE = re.compile(r"\s*-+(?:\s+-+)+\s*")


def _fixed_width(start: Sequence[str]) -> list[int]:
    """Where the columns of a printed table begin, as `wmic` and PowerShell print them."""
    for line, below in pairwise([*start, ""]):
        drawn = _RULE.fullmatch(below)
        columns = re.finditer("-+", below) if drawn else _COLUMN.finditer(line)
        offsets = [each.start() for each in columns]
        cells = [line[a:b].strip() for a, b in pairwise([*offsets, None])]
        is_printed = drawn or "  " in line
        if is_printed and names_identifier(cells) and not set(SEPARATORS).intersection(line):
            return offsets
    return []


def _fixed_records(
    lines: Iterator[str], offsets: list[int], file: str, before: int
) -> Iterator[Record | Problem]:
    for number, line in enumerate(lines, start=before + 1):
        if any(line[at - 1 : at].strip() and line[at : at + 1].strip() for at in offsets[1:]):
            message = f"the row does not keep the columns of the printed table: {shown(line)}"
            yield problem(file, number, finding("cell-count", message))
            continue
        yield number, [line[a:b].strip() for a, b in pairwise([*offsets, None])], None


def records(
    lines: Iterator[str], separator: str, file: str, before: int
) -> Iterator[Record | Problem]:
    """The records of a CSV with the line on which each begins; `before` lines came earlier.

    Lines come without their ends. One without a quotation mark is split as the csv module would
    split it, ten times faster.
    """
    number = before
    rest = _Rest(lines)
    reader = csv.reader(rest, delimiter=separator, strict=True)
    for line in lines:
        number += 1
        if '"' not in line:
            cells = line.split(separator)
            yield number, [*map(str.strip, cells)] if separator == "|" else cells, None
            continue
        rest.begin(line, number)
        try:
            yield number, next(reader), None
        except csv.Error as error:
            yield problem(file, number, finding("quoting", _sentence(error, rest.taken)))
        number += rest.taken


class _Rest:
    """Feeds one record of the csv module: its first line, then as many as its quotes want."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._first: str | None = None
        self._characters = 0
        self._row = 0
        self.taken = 0
        """How many lines were taken beyond the first."""

    def begin(self, first: str, row: int) -> None:
        self._first, self._characters, self._row, self.taken = first, len(first), row, 0

    def __iter__(self) -> _Rest:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first + "\n"
        line = next(self._lines) + "\n"
        self.taken += 1
        self._characters += len(line)
        if self._characters > limits.RECORD_CHARACTERS:
            raise limits.record_too_long(self._row)
        return line


def _sentence(error: csv.Error, more_lines: int) -> str:
    """Rephrase the csv module's error: its messages name no place and differ between versions."""
    text = str(error)
    if "field larger" in text:
        return f"a quoted cell has more than {limits.CELL_CHARACTERS:,} characters"
    if "end of data" in text:
        return f"a quotation mark is not closed; {more_lines} more lines were taken into the cell"
    return "a quotation mark ends before the cell does"
