"""JSON batches and JSON Lines: standard JSON, read strictly.

Duplicate keys, NaN and anything after the end are refused. A JSON batch is held in memory, so its
size and the number of its values are limited; of JSON Lines one line is held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeGuard

from partner_tools.intake import limits
from partner_tools.intake.batch_metadata import ReadingOptions
from partner_tools.intake.columns import IDENTIFIERS, read_columns
from partner_tools.intake.row_check import known_properties
from partner_tools.intake.rules import Finding, HaltError, finding, halt, problem, shown
from partner_tools.intake.schema import kind_of
from partner_tools.intake.table import Cell, Item, Record, Row, rows_below
from partner_tools.model import ChannelName, Problem

_OWN = frozenset({"schemaVersion", "devices", "batchId"})
_OTHER_DOCUMENTS = {
    "batchDigest": ("a plan, not a batch", "`partner-tools deregister --plan FILE` executes it"),
    "guide": ("a handoff, not a batch", "`partner-tools cleanup FILE` carries it out"),
    "answers": ("a customer's results", "`partner-tools verify --evidence FILE` imports it"),
    "notChecked": ("a certificate", "`partner-tools certificate verify FILE` checks it"),
    "observedAt": ("an inventory as JSON", "`partner-tools inventory -o FILE.csv` writes a batch"),
    "counts": ("a run's result, not a batch", "name the list that the run was made from"),
}
"""Files that partner-tools writes, by a property that only they have; and where they belong."""


class JsonBatch:
    """A JSON text: a batch in our own form, or a list of objects that another program wrote.

    Raises HaltError if it is no JSON, has too many values, or is neither of them.
    """

    def __init__(self, text: str, file: str) -> None:
        if sum(map(text.count, ",[{")) > limits.JSON_VALUES:
            raise halt("file-too-large", f"the batch has more than {limits.JSON_VALUES:,} values")
        self._file = file
        self._parser = _Parser(in_file=True)
        document = self._parser.parse(text)
        self._objects: list[object] | None = None
        """The objects of another program: the whole text, or its only property that is a list."""
        self._document: dict[str, object] = {}
        if isinstance(document, list):
            self._objects = document
        elif isinstance(document, dict):
            for mark, (what, remedy) in _OTHER_DOCUMENTS.items():
                if mark in document and "schemaVersion" in document:
                    raise halt("other-document", f"the file is {what}", remedy=remedy)
            self._document = document
            if not _OWN.intersection(document):
                self._objects = _only_list(document)
        else:
            raise halt("json-shape", f"the batch is {kind_of(document)} instead of an object")

    @property
    def is_table(self) -> bool:
        """Whether it is a list of another program, whose keys are columns."""
        return self._objects is not None

    @property
    def properties(self) -> dict[str, object]:
        """The whole batch but its devices. Raises HaltError if it is nested too deeply."""
        devices = self._document.get("devices")
        own = {**self._document, "devices": []} if isinstance(devices, list) else self._document
        if any(_is_deep(value, limits.JSON_DEPTH) for value in own.values()):
            raise _too_deep()
        return own

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each key that the batch repeats outside of its devices."""
        return self._parser.repeated(self._document, without=self._document.get("devices"))

    def rows(self) -> Iterator[Item]:
        """Every device with its index from 1, and every problem of its form."""
        devices = self._document.get("devices")
        for index, value in enumerate(devices if isinstance(devices, list) else (), start=1):
            yield from _items(value, index, self._file, self._parser)

    def table_rows(self, channel: ChannelName | None, reading: ReadingOptions) -> Iterator[Item]:
        """The same for a list of another program. Raises HaltError if it has no objects."""
        if any(key.casefold().endswith("nextlink") for key in self._document):
            message = "the answer names a further page: not all devices are in this file"
            yield problem(self._file, None, finding("partial-list", message))
        values = list(enumerate(self._objects or (), start=1))
        keys = _keys(value for _, value in values)
        yield from _table(keys, values, self._file, self._parser, channel, reading)


def _keys(values: Iterable[object]) -> tuple[str, ...]:
    """The keys of all objects, in order. Raises HaltError if there is none, or too many."""
    keys: dict[str, None] = {}
    for value in values:
        keys |= dict.fromkeys(_flat(value) if _is_shallow(value) else ())
        if len(keys) > limits.COLUMNS:
            raise halt("cell-count", f"the objects have more than {limits.COLUMNS} keys")
    if not keys:
        raise halt("json-shape", "the batch is a list without objects")
    return tuple(keys)


def _table(
    keys: tuple[str, ...],
    values: Iterable[tuple[int, object]],
    file: str,
    parser: _Parser,
    channel: ChannelName | None,
    reading: ReadingOptions,
) -> Iterator[Item]:
    """Every device of objects that another program wrote; their keys are the columns.

    A value that is a finding is that of a line that cannot be read.
    """

    def records() -> Iterator[Record | Problem]:
        for row, value in values:
            for one in parser.repeated(value):
                yield problem(file, row, one)
            if _is_shallow(value):
                flat = _flat(value)
                given = [flat.get(key) for key in keys]
                notes = {
                    place: Cell(kind=kind_of(each))
                    for place, each in enumerate(given)
                    if each is not None and not isinstance(each, str)
                }
                yield row, [_as_text(each) for each in given], notes or None
            else:
                found = value if isinstance(value, Finding) else _no_object(value)
                yield problem(file, row, found)

    columns, found = read_columns(keys, channel, reading.serial_column)
    yield from (problem(file, None, one) for one in found)
    if not any(one.rule == "no-identifier-column" for one in found):
        yield from rows_below(records(), columns, file, reading)


def _is_shallow(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict) and not _is_deep(value, limits.JSON_DEPTH)


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The values of an object, and of the objects within it, as `model.name`."""
    flat: dict[str, object] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = inner
    return flat


def is_foreign(first: str) -> bool:
    """Whether a line of JSON Lines was written by another program: its keys are not ours.

    One key more, or a misspelt one, is a mistake in a batch of our own form.

    >>> is_foreign('{"hardware_serial": "A"}'), is_foreign('{"serialNumber": "A", "modle": "X"}')
    (True, False)
    """
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    ours = known_properties()
    strange = [key for key in value if key not in ours and not get_close_matches(key, ours, n=1)]
    return len(strange) > 1 or not ours.intersection(value, IDENTIFIERS)


def json_lines_table(
    read: Callable[[], Iterator[str]],
    file: str,
    channel: ChannelName | None,
    reading: ReadingOptions,
) -> Iterator[Item]:
    """Every device of JSON Lines of another program. `read` opens the lines: they are read twice,
    because any line can have a key that the others don't.
    """
    parser = _Parser(in_file=False)
    keys = _keys(value for _, value in _parsed(read(), parser))
    yield from _table(keys, _parsed(read(), parser), file, parser, channel, reading)


def _parsed(lines: Iterator[str], parser: _Parser) -> Iterator[tuple[int, object]]:
    """The value of each line that is not blank, or the finding about it."""
    for number, line in enumerate(lines, start=1):
        text = line.strip(" \t\n\r")
        if text:
            try:
                yield number, parser.parse(text)
            except HaltError as halted:
                yield number, halted.finding


def json_lines_rows(lines: Iterator[str], file: str) -> Iterator[Item]:
    """Every device of JSON Lines, and every problem of a line's form. Blank lines are none."""
    parser = _Parser(in_file=False)
    for number, value in _parsed(lines, parser):
        if isinstance(value, Finding):
            yield problem(file, number, value)
            yield Row(number, None)
        else:
            yield from _items(value, number, file, parser)


class _Parser:
    """Parses JSON strictly, and remembers the objects in which a key appears twice."""

    def __init__(self, *, in_file: bool) -> None:
        self._in_file = in_file
        self._repeating: list[tuple[object, list[str]]] = []
        self._decode = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=_refuse_constant
        ).decode

    def parse(self, text: str) -> object:
        """The value of the text. Raises HaltError if it is no JSON."""
        self._repeating.clear()
        try:
            value: object = self._decode(text)
        except json.JSONDecodeError as error:
            # Python's own sentence, which quotes nothing of the text.
            place = f"line {error.lineno}, " if self._in_file else ""
            message = f"the JSON is broken at {place}column {error.colno}: {error.msg}"
            raise halt("json-syntax", message) from error
        except ValueError as error:
            why = str(error).partition(";")[0]
            raise halt("json-syntax", f"the JSON contains an invalid value: {why}") from error
        except RecursionError as error:
            raise _too_deep() from error
        return value

    def repeated(self, value: object, without: object = None) -> Iterator[Finding]:
        """Yield a finding for each key that an object of the value repeats, parts excluded."""
        keys = {id(each): found for each, found in self._repeating}
        values = [value] if keys else []
        for each in values:  # which grows meanwhile
            for key in keys.get(id(each), ()):
                message = f"the key {shown(key)} appears twice in one object"
                yield finding("duplicate-key", message, column=key)
            if isinstance(each, dict | list) and each is not without:
                values += each.values() if isinstance(each, dict) else each

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        read = dict(pairs)
        if len(read) != len(pairs):
            counted = Counter(key for key, _ in pairs)
            self._repeating.append((read, [key for key, count in counted.items() if count > 1]))
        return read


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _only_list(document: dict[str, object]) -> list[object] | None:
    """The one property that is a list of objects."""
    lists = [
        value
        for value in document.values()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    return lists[0] if len(lists) == 1 else None


def _items(value: object, row: int, file: str, parser: _Parser) -> Iterator[Item]:
    for one in parser.repeated(value):
        yield problem(file, row, one)
    if _is_shallow(value):
        yield Row(row, value)
    else:
        yield problem(file, row, _no_object(value))
        yield Row(row, None)


def _no_object(value: object) -> Finding:
    if _is_deep(value, limits.JSON_DEPTH):
        return _too_deep().finding
    return finding("wrong-type", f"a device is {kind_of(value)} instead of an object")


def _is_deep(value: object, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not left or any(_is_deep(one, left - 1) for one in inner)


def _too_deep() -> HaltError:
    return halt("too-deep", "the JSON is nested too deeply")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
