"""JSON batches and JSON Lines: standard JSON, read strictly, one device at a time.

Duplicate keys, NaN and anything after the end are refused. A JSON batch is held as text,
so that a fault has its line and column; of JSON Lines one line is held.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from partner_tools.intake import limits, rules
from partner_tools.intake.batch_metadata import ReadingOptions
from partner_tools.intake.columns import read_columns
from partner_tools.intake.rules import Finding, HaltError, finding, halt, problem, shown
from partner_tools.intake.schema import kind_of
from partner_tools.intake.table import Cell, Item, Record, Row, rows_below
from partner_tools.model import ChannelName, Problem

_BLANKS = re.compile(r"[ \t\n\r]*")
_TOO_DEEP = finding("too-deep", "the JSON is nested too deeply")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonBatch:
    """A JSON batch. `properties` is all of it but a list of devices.

    `devices` is the place of that list in the text, None where there is none.
    """

    text: str
    file: str
    properties: dict[str, object]
    problems: tuple[Problem, ...]
    devices: int | None

    def rows(self) -> Iterator[Item]:
        """Every device with its index from 1, and every problem of its form."""
        if self.devices is None:
            return
        cursor = _Cursor(self.text, self.devices)
        for index, value in enumerate(cursor.elements(), start=1):
            yield from _items(value, index, self.file, cursor.take_twice())


def read_json(text: str, file: str) -> JsonBatch:
    """Read a JSON batch to its end. Raises HaltError where it is no JSON, or no object."""
    try:
        return _read_batch(_Cursor(text, 0), file)
    except ValueError as error:
        raise HaltError(_syntax(error, in_file=True)) from error
    except RecursionError as error:
        raise HaltError(_TOO_DEEP) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonList:
    """Objects of another program, such as an answer of Microsoft Graph. `place` is their list's.

    `is_partial` where the answer says that there are more pages.
    """

    text: str
    file: str
    place: int
    is_partial: bool

    def rows(self, channel: ChannelName | None, reading: ReadingOptions) -> Iterator[Item]:
        """Every device with its index from 1, and every problem: the keys are the columns."""
        keys = self._keys()
        if self.is_partial:
            message = "the answer names a further page: not all devices are in this file"
            yield problem(self.file, None, finding("partial-list", message))
        columns, found = read_columns(tuple(keys), channel, reading.serial_column)
        yield from (problem(self.file, None, one) for one in found)
        if not any(one.rule == "no-identifier-column" for one in found):
            yield from rows_below(self._records(tuple(keys)), columns, self.file, reading)

    def _keys(self) -> dict[str, None]:
        """The keys of all objects. Raises HaltError where the list is not JSON, or empty."""
        keys: dict[str, None] = {}
        cursor = _Cursor(self.text, self.place)
        try:
            for value in cursor.elements():
                keys |= dict.fromkeys(value if isinstance(value, dict) else ())
            if not self.place or not self.text[: self.place].strip():
                cursor.finish()
        except ValueError as error:
            raise HaltError(_syntax(error, in_file=True)) from error
        except RecursionError as error:
            raise HaltError(_TOO_DEEP) from error
        if not keys:
            raise halt("json-shape", "the batch is a list without objects")
        return keys

    def _records(self, keys: tuple[str, ...]) -> Iterator[Record | Problem]:
        cursor = _Cursor(self.text, self.place)
        for index, value in enumerate(cursor.elements(), start=1):
            for key in cursor.take_twice():
                yield problem(self.file, index, _stands_twice(key))
            if isinstance(value, dict) and not _is_deep(value, limits.JSON_DEPTH):
                given = [value.get(key) for key in keys]
                notes = {
                    place: Cell(kind=kind_of(each))
                    for place, each in enumerate(given)
                    if each is not None and not isinstance(each, str)
                }
                yield index, [_as_text(each) for each in given], notes or None
            else:
                message = f"a device is {kind_of(value)} instead of an object"
                yield problem(self.file, index, finding("wrong-type", message))


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


_OWN = frozenset({"schemaVersion", "devices", "batchId"})


def find_list(text: str, file: str) -> JsonList | None:
    """The list of objects that another program wrote: the whole text, or one property of it.

    None for a batch of our own, and for what is not JSON.
    """
    cursor = _Cursor(text, 0)
    try:
        if cursor.peek() == "[":
            return JsonList(text=text, file=file, place=cursor.place, is_partial=False)
        keys: list[str] = []
        lists: list[int] = []
        for key in cursor.members():
            place = cursor.place if cursor.peek() == "[" else -1
            value = cursor.value()
            if place >= 0 and isinstance(value, list) and value and isinstance(value[0], dict):
                lists.append(place)
            keys.append(key)
        cursor.finish()
    except (ValueError, RecursionError):
        return None
    if len(lists) != 1 or _OWN.intersection(keys):
        return None
    partial = any(key.casefold().endswith("nextlink") for key in keys)
    return JsonList(text=text, file=file, place=lists[0], is_partial=partial)


def json_lines_rows(lines: Iterator[str], file: str) -> Iterator[Item]:
    """Every device of JSON Lines, and every problem of a line's form. Blank lines are none."""
    cursor = _Cursor("", 0)
    for number, line in enumerate(lines, start=1):
        text = line.strip(" \t\n\r")
        if text:
            yield from _line(cursor, text, number, file)


def _line(cursor: _Cursor, text: str, number: int, file: str) -> Iterator[Item]:
    cursor.begin(text)
    try:
        value = cursor.value()
        cursor.finish()
    except ValueError as error:
        yield problem(file, number, _syntax(error, in_file=False))
        yield Row(number, None)
    except RecursionError:
        yield problem(file, number, _TOO_DEEP)
        yield Row(number, None)
    else:
        yield from _items(value, number, file, cursor.take_twice())


def _items(value: object, row: int, file: str, twice: list[str]) -> Iterator[Item]:
    for key in twice:
        yield problem(file, row, _stands_twice(key))
    if _is_deep(value, limits.JSON_DEPTH):
        yield problem(file, row, _TOO_DEEP)
    elif isinstance(value, dict):
        yield Row(row, value)
        return
    else:
        message = f"a device is {kind_of(value)} instead of an object"
        yield problem(file, row, finding("wrong-type", message))
    yield Row(row, None)


_NESTING = (dict, list)


def _is_deep(value: object, left: int) -> bool:
    if not isinstance(value, _NESTING):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not left or any(_is_deep(one, left - 1) for one in inner if isinstance(one, _NESTING))


def _read_batch(cursor: _Cursor, file: str) -> JsonBatch:
    if cursor.peek() != "{":
        message = f"the batch is {kind_of(cursor.value())} instead of an object"
        raise halt("json-shape", message)
    properties: dict[str, object] = {}
    devices = None
    seen: set[str] = set()
    problems: list[Problem] = []
    for key in cursor.members():
        is_list = key == "devices" and cursor.peek() == "["
        if is_list:
            devices = cursor.place
            cursor.pass_list()
        else:
            properties[key] = cursor.value()
            if _is_deep(properties[key], limits.JSON_DEPTH):
                raise HaltError(_TOO_DEEP)
        if key in seen:  # after its value: skipping a list forgets the duplicate keys in it
            cursor.note(key)
        seen.add(key)
        problems += (problem(file, None, _stands_twice(twice)) for twice in cursor.take_twice())
    cursor.finish()
    return JsonBatch(
        text=cursor.text,
        file=file,
        properties=properties,
        problems=tuple(problems),
        devices=devices,
    )


class _Cursor:
    """Walks through a JSON text and remembers the duplicate keys of each object.

    Every method raises ValueError where the text is no JSON, and RecursionError where it is
    nested more deeply than Python reads.
    """

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.place = place
        self._twice: list[str] = []
        self._decode = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=_refuse_constant
        ).raw_decode

    def begin(self, text: str) -> None:
        """Go to the start of another text, with nothing remembered of the last one."""
        self.text, self.place = text, 0
        self._twice.clear()

    def peek(self) -> str:
        """The next character that is no blank; nothing at the end."""
        blanks = _BLANKS.match(self.text, self.place)
        self.place = blanks.end() if blanks else self.place
        return self.text[self.place : self.place + 1]

    def value(self) -> object:
        """The value at the cursor, which moves behind it."""
        self.peek()
        value: object
        value, self.place = self._decode(self.text, self.place)
        return value

    def elements(self) -> Iterator[object]:
        """The values of the list at the cursor, one at a time."""
        for _ in self._parts("[", "]"):
            yield self.value()

    def pass_list(self) -> None:
        """Read the list at the cursor to its end, and forget it."""
        for _ in self.elements():
            self._twice.clear()

    def members(self) -> Iterator[str]:
        """The keys of the object at the cursor; the caller takes each value from the cursor."""
        for _ in self._parts("{", "}"):
            if self.peek() != '"':
                raise json.JSONDecodeError("Expecting a key in quotes", self.text, self.place)
            key = str(self.value())
            self._expect(":")
            yield key

    def finish(self) -> None:
        """Nothing may follow."""
        if self.peek():
            raise json.JSONDecodeError("Extra data", self.text, self.place)

    def note(self, key: str) -> None:
        """Remember a duplicate key."""
        self._twice.append(key)

    def take_twice(self) -> list[str]:
        """Return the duplicate keys since the last call."""
        twice, self._twice = self._twice, []
        return twice

    def _parts(self, opening: str, closing: str) -> Iterator[None]:
        self._expect(opening)
        if self.peek() == closing:
            self.place += 1
            return
        yield
        while self.peek() == ",":
            self.place += 1
            yield
        self._expect(closing)

    def _expect(self, mark: str) -> None:
        if self.peek() != mark:
            raise json.JSONDecodeError(f"Expecting '{mark}'", self.text, self.place)
        self.place += 1

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        read = dict(pairs)
        if len(read) != len(pairs):
            counted = Counter(key for key, _ in pairs)
            self._twice += (key for key, count in counted.items() if count > 1)
        return read


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _stands_twice(key: str) -> Finding:
    message = f"the key {shown(key)} appears twice in one object"
    return finding("duplicate-key", message, column=key)


def _syntax(error: ValueError, *, in_file: bool) -> Finding:
    """Python's own sentence, which quotes nothing of the text, and the place."""
    if not isinstance(error, json.JSONDecodeError):
        return finding("json-syntax", f"the JSON holds what is no JSON value: {_cut(error)}")
    place = f"line {error.lineno}, column {error.colno}" if in_file else f"column {error.colno}"
    return finding("json-syntax", f"the JSON is broken at {place}: {error.msg}")


def _cut(error: ValueError) -> str:
    return str(error).partition(";")[0][: rules.SHOWN_CHARACTERS]
