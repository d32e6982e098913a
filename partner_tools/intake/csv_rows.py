"""CSV as people and exports write it: comma, semicolon or tab, quoted or not, any line ending.

A record keeps the number of its first line. Memory holds one record, however long the file is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice

from partner_tools.intake import limits, rules
from partner_tools.intake.headers import known
from partner_tools.intake.rules import finding, problem
from partner_tools.intake.table import HEADER_WITHIN, Item, Record, rows_of_table
from partner_tools.model import ChannelName, Problem

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
