"""The shipped schemas, and the one door to jsonschema_rs.

It judges in linear time, and its errors become sentences of ours, which quote no value: its own
embed the whole row. Values are plain JSON: `str`, `int`, `float`, `bool`, `None`, `list`, `dict`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from partner_tools.model import is_guid
from partner_tools.strict_json import shown_plainly

_SUFFIX = ".schema.json"
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One way in which a value breaks its schema.

    `path` leads to the part that is wrong; `keyword` is the schema keyword that says so and
    `expected` its value. `message` is a sentence that quotes no value.
    """

    path: tuple[str | int, ...]
    keyword: str
    expected: Any
    message: str

    def place(self, separator: str) -> str:
        """Where that is, in printable text: names of properties are foreign. Empty: the whole."""
        steps = (shown_plainly(str(step)).replace("\n", r"\n") for step in self.path)
        return separator.join(steps)


class Checker:
    """One schema, compiled once and used for many values."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def accepts(self, value: object) -> bool:
        """Whether the value keeps the schema. What JSON cannot say, keeps none."""
        try:
            return bool(self._validator.is_valid(value))
        except (TypeError, ValueError, OverflowError):
            return False  # a lone surrogate, a huge number or nesting without end

    def violations(self, value: object) -> tuple[Violation, ...]:
        """Every way in which the value breaks the schema, in the order of its parts."""
        try:
            errors = list(self._validator.iter_errors(value))
        except (TypeError, ValueError, OverflowError):
            return (Violation(path=(), keyword="json", expected=None, message="is not JSON"),)
        # Each property that is missing is an error of its own, and one violation for all of them.
        found = {(*error.instance_path, None, *error.schema_path): error for error in errors}
        violations = [self._violation(error, value) for error in found.values()]
        return tuple(sorted(violations, key=lambda one: [str(part) for part in one.path]))

    @cached_property
    def _validator(self) -> Any:
        import jsonschema_rs

        try:  # in linear time, which look-around does not allow
            return _compiled(self._schema, jsonschema_rs.RegexOptions())
        except ValueError:
            return _compiled(self._schema, jsonschema_rs.FancyRegexOptions())

    def _violation(self, error: Any, value: object) -> Violation:
        path = tuple(error.instance_path)
        keyword, expected = str(error.kind.name), value_at(self._schema, error.schema_path)
        if keyword == "propertyNames":
            expected = None
        message = _sentence(keyword, expected, value_at(value, path))
        if keyword == "additionalProperties":
            message += f" ({', '.join(map(self._unknown, error.kind.unexpected))})"
        return Violation(path=path, keyword=keyword, expected=expected, message=message)

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._names, n=1)
        return shown_plainly(name) + (f", did you mean {near[0]}?" if near else "")

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(_property_names(self._schema))


def value_at(document: Any, path: Iterable[str | int]) -> Any:
    """The part of a JSON document to which a path leads."""
    for step in path:
        # The validator takes a property called `0` for a place in a list.
        document = document[str(step) if isinstance(document, dict) else step]
    return document


def load_schema(name: str) -> dict[str, Any]:
    """The shipped schema of this name, such as `batch`. Raises KeyError if there is none."""
    if name not in schema_names():
        raise KeyError(name)
    text = (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def schema_names() -> tuple[str, ...]:
    """The names of the shipped schemas, sorted."""
    found = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


@lru_cache(maxsize=64)
def checker(name: str, definition: str | None = None) -> Checker:
    """A checker for a shipped schema, or for one entry of its `$defs`; compiled once."""
    schema = load_schema(name)
    return Checker(schema if definition is None else part(schema, definition))


def part(schema: dict[str, Any], definition: str) -> dict[str, Any]:
    """One entry of a schema's `$defs` as a schema of its own."""
    return {
        "$schema": schema["$schema"],
        "$ref": f"#/$defs/{definition}",
        "$defs": schema["$defs"],
    }


def _folder() -> Path:
    """In a wheel the schemas lie in the package; in a checkout and an editable install beside."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "schemas"
    return shipped if shipped.is_dir() else package.parent / "schemas"


def _compiled(schema: dict[str, Any], patterns: Any) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        schema, formats=_FORMAT_CHECKS, validate_formats=True, pattern_options=patterns
    )


def _sentence(keyword: str, expected: Any, instance: object) -> str:
    if keyword == "required" and isinstance(instance, dict):
        return f"lacks {_listed(name for name in expected if name not in instance)}"
    if keyword == "type":
        kinds = [expected] if isinstance(expected, str) else expected
        return f"is {kind_of(instance)} instead of {' or '.join(map(_kind, kinds))}"
    if keyword == "enum":
        return f"is none of {_listed(map(str, expected))}"
    if keyword.startswith("min") and expected == 1:
        return "is empty"
    return _SENTENCES.get(keyword, "breaks the schema's {keyword}").format(
        keyword=keyword, expected=expected
    )


_SENTENCES = {
    "additionalProperties": "has a property that the schema does not know",
    "const": 'is not "{expected}"',
    "format": "is no {expected}",
    "minLength": "is shorter than {expected} characters",
    "maxLength": "is longer than {expected} characters",
    "minItems": "has fewer than {expected} items",
    "maxItems": "has more than {expected} items",
    "minProperties": "has fewer than {expected} properties",
    "maxProperties": "has more than {expected} properties",
    "minimum": "is less than {expected}",
    "maximum": "is more than {expected}",
    "propertyNames": "has a property of a name that is not allowed",
}


def _kind(name: str) -> str:
    article = "an" if name[:1] in "aio" else "a"
    return {"string": "text", "null": "null"}.get(name, f"{article} {name}")


def kind_of(value: object) -> str:
    """Name the type of a JSON value, for a sentence.

    >>> kind_of(12.5)
    'a number'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "no JSON value")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _is_moment(value: object) -> bool:
    """RFC 3339 with any number of fractional digits: services write seven."""
    if not isinstance(value, str):
        return True
    if not _MOMENT.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.[0-9]+", "", value).upper())
    except ValueError:
        return False
    return True


_FORMAT_CHECKS = {
    "date-time": _is_moment,
    "regex": lambda _: True,  # Python's, which the sandbox compiles itself
    "uuid": lambda value: not isinstance(value, str) or is_guid(value),
}


def _property_names(schema: Any) -> Iterator[str]:
    """Yield the property names of all its parts, at any depth."""
    parts = schema.values() if isinstance(schema, Mapping) else schema
    if isinstance(schema, Mapping):
        yield from schema.get("properties", {})
    if isinstance(schema, Mapping | list):
        for part in parts:
            yield from _property_names(part)
