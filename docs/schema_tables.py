"""Renders a JSON Schema as Markdown: one table for each object, a row for each property.

Pure: a schema in, text out. Inline objects are unfolded by their path; an object under `$defs`
gets a table of its own, which the rows that use it link to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_LIMITS: Mapping[str, str] = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} properties",
    "maxProperties": "at most {} properties",
    "format": "a {}",
    "default": "default {}",
}
_LEAST = ("minLength", "minItems", "minProperties")
_EXAMPLE_LENGTH = 60
_PATTERN_LENGTH = 60
_ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    path: str
    required: bool
    kind: str
    meaning: str
    example: str


def render_schema(schema: Schema) -> str:
    """The sections of one schema: its own table, and one for each object that it defines."""
    parts = [_section(schema, schema)]
    for name, part in _shared_objects(schema).items():
        parts.append(f"## {name}\n\n{_section(part, schema)}")
    return "\n\n".join(parts)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks in the cells are made harmless."""
    lines = [
        f"| {' | '.join(headers)} |",
        f"|{'|'.join(' --- ' for _ in headers)}|",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    ]
    return "\n".join(lines)


def code(text: object) -> str:
    """Text as code, also where it holds backticks."""
    shown = str(text)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def _section(part: Schema, root: Schema) -> str:
    rows = [
        (code(row.path), "yes" if row.required else "", row.kind, row.meaning, row.example)
        for row in _rows(part, root, prefix="")
    ]
    headers = ("property", "required", "type", "meaning", "example")
    texts = [part.get("description", ""), table(headers, rows) if rows else _kind(part, root)]
    texts += [f"- {sentence}" for sentence in _conditions(part, root)]
    return "\n\n".join(text for text in texts if text)


def _shared_objects(root: Schema) -> Mapping[str, Schema]:
    """The definitions that have properties of their own; the others are told where they occur."""
    return {name: part for name, part in root.get("$defs", {}).items() if "properties" in part}


def _rows(part: Schema, root: Schema, *, prefix: str) -> Iterator[_Row]:
    for name, each in part.get("properties", {}).items():
        yield from _unfolded(each, root, f"{prefix}{name}", name in part.get("required", ()))
    others = part.get("additionalProperties")
    if isinstance(others, Mapping):
        yield from _unfolded(others, root, f"{prefix}<name>", required=False)


def _unfolded(each: Schema, root: Schema, path: str, required: bool) -> Iterator[_Row]:
    """The row of a property, and of what stands inline below it."""
    whole = _followed(each, root)
    yield _Row(
        path=path,
        required=required,
        kind=_kind(each, root),
        meaning=_meaning(whole),
        example=_example(whole),
    )
    items = whole.get("items")
    if _link(each, root) is None:
        yield from _rows(whole, root, prefix=f"{path}.")
    if isinstance(items, Mapping) and _link(items, root) is None:
        yield from _rows(_followed(items, root), root, prefix=f"{path}[].")


def _followed(each: Schema, root: Schema) -> Schema:
    """The schema with the definition that it refers to; what it says itself comes first."""
    name = _reference(each)
    return {**_followed(root["$defs"][name], root), **each} if name else each


def _reference(each: Schema) -> str | None:
    pointer = each.get("$ref")
    return str(pointer).removeprefix("#/$defs/") if pointer else None


def _link(each: Schema, root: Schema) -> str | None:
    name = _reference(each)
    return f"[{name}](#{name.lower()})" if name and name in _shared_objects(root) else None


def _kind(each: Schema, root: Schema) -> str:
    """What values a property takes, as far as the schema says it in one word or list."""
    link = _link(each, root)
    if link:
        return link
    whole = _followed(each, root)
    if "const" in whole:
        return _value(whole["const"])
    if "enum" in whole:
        return " · ".join(map(_value, whole["enum"]))
    if "anyOf" in whole and "type" not in whole:
        return " or ".join(_kind(choice, root) for choice in whole["anyOf"])
    return ", ".join([_type(whole, root), *_limits(whole)])


def _type(whole: Schema, root: Schema) -> str:
    given = whole.get("type", _ANY)
    names = [given] if isinstance(given, str) else list(given)
    items = whole.get("items")
    if "array" in names and isinstance(items, Mapping):
        names[names.index("array")] = f"list of {_kind(items, root)}"
    return " or ".join(names)


def _limits(whole: Schema) -> Iterator[str]:
    for keyword, words in _LIMITS.items():
        if keyword in whole:
            least_one = keyword in _LEAST and whole[keyword] == 1
            yield "not empty" if least_one else words.format(_plain(whole[keyword]))
    pattern = whole.get("pattern", "")
    if 0 < len(pattern) <= _PATTERN_LENGTH:
        yield f"like {code(pattern)}"


def _meaning(whole: Schema) -> str:
    return str(whole.get("description") or whole.get("title") or "")


def _example(whole: Schema) -> str:
    """The first example, where it is short enough to read in a table."""
    for value in whole.get("examples", ()):
        text = _plain(value)
        if not isinstance(value, Mapping | list) and len(text) <= _EXAMPLE_LENGTH:
            return code(text)
    return ""


def _conditions(part: Schema, root: Schema) -> Iterator[str]:
    """The simple conditions in words: where one property has a value, another has a form."""
    for each in (part, *part.get("allOf", ())):
        given, follows = _forms(each.get("if", {}), root), _forms(each.get("then", {}), root)
        if given and follows:
            yield f"If {' and '.join(given)}: {'; '.join(follows)}."


def _forms(part: Schema, root: Schema) -> list[str]:
    kinds = {name: _kind(each, root) for name, each in part.get("properties", {}).items()}
    return [f"{code(name)} is {kind}" for name, kind in kinds.items() if kind != _ANY]


def _value(value: object) -> str:
    return code(_plain(value))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
