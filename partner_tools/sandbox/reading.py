"""Seed and faults files: read, checked against their schemas, and turned into values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from partner_tools.errors import InputError
from partner_tools.intake.schema import checker
from partner_tools.model import Problem, Severity
from partner_tools.strict_json import InvalidTextError, read_json

Object = Mapping[str, Any]
Range = tuple[float, float]
"""Seconds to draw from; in a file, one number stands for a range of no width."""
T = TypeVar("T")


def read_document(path: Path, schema: str) -> Object:
    """A file that keeps its schema. Raises InputError with every problem of it."""
    try:
        document = read_json(path.read_bytes())
    except (OSError, InvalidTextError) as error:
        raise InputError(
            f'cannot read "{path}": {error}',
            remedy=f"give a JSON file; `partner-tools schema {schema}` describes it",
        ) from error
    return checked(document, schema, str(path))


def checked(document: Any, schema: str, name: str) -> Object:
    """The document of this name, if it keeps its schema. Raises InputError."""
    problems = tuple(
        Problem(
            file=name,
            row=None,
            column=violation.place("/") or None,
            rule=f"schema-{violation.keyword}",
            severity=Severity.ERROR,
            message=violation.message,
            remedy=f"see `partner-tools schema {schema}`",
        )
        for violation in checker(schema).violations(document)
    )
    if problems:
        first = problems[0]
        raise InputError(
            f'"{name}" is no {schema} file: {first.column or "it"} {first.message}',
            remedy=first.remedy,
            problems=problems,
        )
    result: Object = document
    return result


def named(property_: str, read: Callable[[Any], Any] | None = None) -> Object:
    """The metadata of a dataclass field whose property in a file has another name than the field
    in camel case, or is `read` in a way of its own."""
    return {"property": property_, "read": read}


def structure(kind: type[T], row: Object) -> T:
    """A dataclass from an object that kept its schema; what it leaves out has its default."""
    plan: list[tuple[str, str, Callable[[Any], Any]]] = _plan(kind)  # type: ignore[arg-type]
    return kind(**{name: read(row[key]) for name, key, read in plan if key in row})


@cache
def _plan(kind: type[Any]) -> list[tuple[str, str, Callable[[Any], Any]]]:
    """Each field of a dataclass, its property in a file, and how a value of it is read."""
    hints = get_type_hints(kind)
    return [
        (
            one.name,
            one.metadata.get("property", camel(one.name)),
            one.metadata.get("read") or _reader(hints[one.name]),
        )
        for one in fields(kind)
    ]


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if type(None) in inner:
        read = _reader(inner[0])
        return lambda value: None if value is None else read(value)
    if hint == Range:
        return lambda value: tuple(value) if isinstance(value, list) else (value, value)
    if origin in (tuple, frozenset):  # in a file, one alone stands for a list of one
        each = _reader(inner[0])
        alone = (str, int, Mapping)
        return lambda value: origin(map(each, [value] if isinstance(value, alone) else value))
    if origin is Mapping:
        inside = _reader(inner[1])
        return lambda value: {name: inside(one) for name, one in value.items()}
    if origin is re.Pattern:
        return _pattern
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(structure, hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return lambda value: value


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InputError(
            f'the path "{text}" of a rule is no regular expression: {error}',
            remedy="write it as Python's `re` reads it, with special characters escaped",
        ) from error


def camel(name: str) -> str:
    """A field's name as JSON spells it."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
