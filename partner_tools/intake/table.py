"""From the cells of a table to rows of the batch schema; CSV is split into cells here as well.

Cells are texts. A record is the line, its cells, and the kind of each cell of a workbook that is
not text: such a cell cannot be an identifier, because digits may be lost. A record of CSV keeps
the number of its first line. Memory holds one record, however long the file is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from partner_tools.intake import limits, rules
from partner_tools.intake.columns import (
    EXPECTED,
    IDENTIFIERS,
    Columns,
    is_header,
    known,
    read_columns,
    spelt_like,
)
from partner_tools.intake.rules import Finding, HaltError, Rule, finding, problem, shown
from partner_tools.model import ChannelName, Problem, Severity

HEADER_WITHIN = 20
"""How many records are looked through for a header that does not come first."""

NUMBER = "a number"
"""What a cell of a workbook is that holds a number."""

_EXACT = frozenset((*IDENTIFIERS, "manufacturer", "model"))
"""The properties that are compared exactly, so that only text will do."""


class Row(NamedTuple):
    """One device row as it was read. `values` has the properties of the batch schema.

    `values` is None where the cells could not be told apart, which was reported already.
    A tuple and no dataclass: one is made for each of a million rows.
    """

    line: int
    values: dict[str, object] | None
    extra: tuple[tuple[str, str], ...] = ()


Record = tuple[int, Sequence[str], Mapping[int, str] | None]
"""One record of a table: its line, its cells, and by its place what a cell was if no text.

A bare tuple: one is made for each of a million rows, and lives for a microsecond.
"""

Item = Row | Problem


def rows_of_table(
    records: Iterator[Record | Problem], file: str, channel: ChannelName | None
) -> Iterator[Item]:
    """Every device row of the table, and every problem of its header and its records, in order.

    Raises HaltError where no header is found.
    """
    start = list(islice(_filled(records), HEADER_WITHIN))
    place = _header_place(start)
    header = start[place]
    assert not isinstance(header, Problem), "a header is a record"  # noqa: S101
    line, cells, _ = header
    yield from _before_header(start[:place], file, line)
    columns, found = read_columns(_without_blank_end(cells), channel)
    yield from (problem(file, line, one) for one in found)
    if any(one.rule == rules.NO_IDENTIFIER_COLUMN.name for one in found):
        return
    yield from _rows(chain(start[place + 1 :], records), columns, file)


def _filled(records: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    return (record for record in records if isinstance(record, Problem) or not _is_blank(record[1]))


_SEPARATORS = " \t,;"


def _is_blank(cells: Sequence[str]) -> bool:
    """Whether a row says nothing: separators of another kind than the table's are none of it."""
    return not any(cell.strip().strip(_SEPARATORS) for cell in cells)


def _header_place(start: Sequence[Record | Problem]) -> int:
    records = [(place, one) for place, one in enumerate(start) if not isinstance(one, Problem)]
    for place, (_, cells, _) in records:
        if is_header(cells):
            return place
    for place, (_, cells, _) in records:
        if known(cells):
            return place
    if not records:
        raise HaltError(finding(rules.EMPTY_FILE, "the file holds no row"))
    line, cells, _ = records[0][1]
    raise _no_header(line, cells)


def _no_header(line: int, first: Sequence[str]) -> HaltError:
    """No cell is a header: is the first row data, or a header in words that nobody knows?"""
    if any(any(map(str.isdigit, cell)) for cell in first):
        message = f"the file begins with a row of data instead of a header; expected: {EXPECTED}"
        return HaltError(finding(rules.NO_HEADER, message), line)
    cells = ", ".join(shown(cell.strip()) for cell in first[:5])
    near = dict.fromkeys(filter(None, map(spelt_like, first)))
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    message = (
        f"no column of the header is known: {cells}{hint}; expected: {EXPECTED}, "
        "separated by comma, semicolon or tab"
    )
    return HaltError(finding(rules.UNKNOWN_HEADER, message), line)


def _before_header(before: Sequence[Record | Problem], file: str, header: int) -> list[Problem]:
    found = [one for one in before if isinstance(one, Problem)]
    lines = [one[0] for one in before if not isinstance(one, Problem)]
    if lines:
        message = f"the header stands only in row {header}, below {len(lines)} other rows"
        found.append(problem(file, lines[0], finding(rules.ROWS_BEFORE_HEADER, message)))
    return sorted(found, key=lambda one: one.row or 0)


def _without_blank_end(cells: Sequence[str]) -> list[str]:
    kept = list(cells)
    while kept and not kept[-1].strip():
        kept.pop()
    if len(kept) > limits.COLUMNS:
        message = f"the table has more than {limits.COLUMNS} columns"
        raise HaltError(finding(rules.CELL_COUNT, message))
    return kept


def _rows(records: Iterable[Record | Problem], columns: Columns, file: str) -> Iterator[Item]:
    names = [name or "" for name in columns.names]
    width = -1 if columns.extra or columns.tenant else len(names)
    for record in records:
        if isinstance(record, Problem):
            yield record
            continue
        line, cells, kinds = record
        if _is_blank(cells):
            continue
        if len(cells) == width and kinds is None:
            values: dict[str, object] = dict(zip(names, cells, strict=True))
            yield Row(line, _given(values) if "" in cells else values)
        else:
            yield from _odd_row(record, columns, file)


def _odd_row(record: Record, columns: Columns, file: str) -> Iterator[Item]:
    """A row of a table with columns beside those of the schema, or one that does not fit."""
    line, cells, kinds = record
    found = [
        *_misfit(cells, len(columns.names)),
        *_tenants(cells, columns),
        *_no_texts(cells, columns, kinds or {}),
    ]
    yield from (problem(file, line, one) for one in found)
    if any(one.severity is Severity.ERROR for one in found):
        yield Row(line, None)
        return
    named = zip(columns.names, cells, strict=False)
    values = {name: cell for name, cell in named if name}
    yield Row(line, _given(values), _extra(cells, columns))


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: cell for name, cell in values.items() if cell}


def _extra(cells: Sequence[str], columns: Columns) -> tuple[tuple[str, str], ...]:
    return tuple(
        (columns.headers[place], cells[place])
        for place in columns.extra
        if place < len(cells) and cells[place]
    )


def _misfit(cells: Sequence[str], width: int) -> Iterator[Finding]:
    if len(cells) < width:
        message = f"the row has {_cells(len(cells))} under {width} headers"
        other = any(mark in cell for cell in cells for mark in ",;\t")
        rule: Rule = rules.MIXED_SEPARATOR if other else rules.SHORT_ROW
        if other:
            message += ", and holds another separator than the header"
        yield finding(rule, message)
    elif not _is_blank(cells[width:]):
        yield finding(rules.CELL_COUNT, f"the row has {_cells(len(cells))} under {width} headers")


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _tenants(cells: Sequence[str], columns: Columns) -> Iterator[Finding]:
    for place in columns.tenant:
        if place < len(cells) and cells[place].strip():
            header = columns.headers[place]
            message = f"the column {shown(header)} is not blank: it would register the device"
            yield finding(rules.TENANT_GIVEN, message, column=header)


def _no_texts(
    cells: Sequence[str], columns: Columns, kinds: Mapping[int, str]
) -> Iterator[Finding]:
    """Cells of a workbook that are no text although their column is compared exactly.

    A number of 13 digits in the product key id has lost nothing.
    """
    for place, kind in kinds.items():
        name = columns.names[place] if place < len(columns.names) else None
        whole = name == "productKeyId" and kind == NUMBER and len(cells[place]) == 13
        if name in _EXACT and not whole:
            message = f"the cell is {kind} and no text: {shown(cells[place])} may have lost digits"
            yield finding(rules.SPREADSHEET_DAMAGE, message, column=name)


SEPARATORS = (",", ";", "\t")


def csv_rows(lines: Iterator[str], file: str, channel: ChannelName | None) -> Iterator[Item]:
    """Every device row of a CSV and every problem. Raises HaltError where it has no header."""
    start = list(islice(lines, HEADER_WITHIN))
    separator, first = _separator(start)
    rest = chain(start[first:], lines)
    return rows_of_table(records(rest, separator, file, first), file, channel)


def _separator(start: list[str]) -> tuple[str, int]:
    """The separator that makes most of the first lines known headers, and where they begin.

    Excel writes a first line `sep=;` into files that it wants to open itself.
    """
    if start and start[0].strip().casefold().startswith("sep="):
        told = start[0][4:5]
        if told in SEPARATORS:
            return told, 1
    return max(SEPARATORS, key=lambda separator: _headers(start, separator)), 0


def _headers(start: list[str], separator: str) -> tuple[int, int]:
    found = records(iter(start), separator, "", 0)
    rows = [one[1] for one in found if not isinstance(one, Problem)]
    widest = max((len(cells) for cells in rows[:1]), default=0)
    return max((known(cells) for cells in rows), default=0), widest


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
            yield number, line.split(separator), None
            continue
        rest.begin(line, number)
        try:
            yield number, next(reader), None
        except csv.Error as error:
            yield problem(file, number, finding(rules.QUOTING, _sentence(error, rest.taken)))
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
    """What the csv module means; its own messages name no place and change between versions."""
    text = str(error)
    if "field larger" in text:
        return f"a quoted cell has more than {limits.CELL_CHARACTERS:,} characters"
    if "end of data" in text:
        return f"a quotation mark is not closed; {more_lines} more lines were taken into the cell"
    return "a quotation mark ends a cell that goes on"
