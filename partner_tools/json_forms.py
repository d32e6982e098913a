"""How dataclasses become JSON objects and come back, and the digests of these. Pure.

A property is called as its field is, in camel case; a field that is as by default is left out. The
metadata of a field may say `property`, another name, or None for a field that is part of no form
(a hardware hash); `read`, how its value is read; and `inline`, that the properties of the
dataclass in it are those of its owner. Digests are taken over the canonical JSON of RFC 8785, so
that equal values have equal digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from partner_tools.homoglyphs import shown_name
from partner_tools.model import Customer, Registration, TenantId

T = TypeVar("T")
Spelling = Callable[[str], str]
"""How the name of a field is spelled as a property."""
Reader = Callable[[Any], Any]


def canonical(value: Any) -> bytes:
    """Serialize a JSON value by RFC 8785, so that equal values have equal bytes."""
    import rfc8785

    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the canonical JSON."""
    return digest_of_bytes(canonical(value))


def digest_of_bytes(content: bytes) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def camel(name: str) -> str:
    """A field's name as JSON spells it."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def json_form(value: Any, *, whole: bool = False) -> dict[str, Any]:
    """A dataclass as a JSON object; `whole` with the fields that are as by default."""
    form: dict[str, Any] = {}
    for name, key, default, inline in _written(type(value)):  # type: ignore[arg-type]  # a type is hashable
        each = getattr(value, name)
        if inline:
            form.update(json_form(each))
        elif whole or each != default:
            form[key] = each if type(each) is str else _plain(each)
    return form


def stated(**facts: Any) -> dict[str, Any]:
    """The facts that are known, as JSON."""
    return {
        name: value if type(value) is str else _plain(value)
        for name, value in facts.items()
        if value is not None
    }


@cache
def _written(kind: Any) -> tuple[tuple[str, str, Any, bool], ...]:
    """Each field of a dataclass that is written: its name, property and default, and if inline."""
    return tuple(
        (each.name, key, each.default, each.metadata.get("inline", False))
        for each in fields(kind)
        if (key := each.metadata.get("property", camel(each.name))) is not None
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return json_form(value) if is_dataclass(value) else value


def structure(kind: type[T], row: Mapping[str, Any], spelled: Spelling = camel, **given: Any) -> T:
    """The dataclass of an object that kept its schema, with the `given` fields as they are.

    Fields without a property have their default. Raises TypeError where one has none, ValueError
    for a value that an enumeration lacks.
    """
    as_in_json, readers = _read(kind, spelled)  # type: ignore[arg-type]  # a type is hashable
    stated = row.keys()
    values = {name: row[key] for name, key in as_in_json if key in stated}
    for name, key, read in readers:
        if name not in given and (key is None or key in stated):
            values[name] = read(row if key is None else row[key])
    values.update(given)
    return kind(**values)


@cache
def _read(
    kind: Any, spelled: Spelling
) -> tuple[list[tuple[str, str]], list[tuple[str, str | None, Reader]]]:
    """The fields of a dataclass with their properties: those as in JSON, and those to be read.

    The property is None for the fields of a dataclass whose properties are those of its owner.
    """
    hints = get_type_hints(kind)
    as_in_json: list[tuple[str, str]] = []
    readers: list[tuple[str, str | None, Reader]] = []
    for each in fields(kind):
        key = each.metadata.get("property", spelled(each.name))
        read = each.metadata.get("read") or _reader(hints[each.name], spelled)
        if key is not None and read:
            inline = each.metadata.get("inline")
            readers.append((each.name, None if inline else key, read))
        elif key is not None:
            as_in_json.append((each.name, key))
    return as_in_json, readers


def _reader(hint: Any, spelled: Spelling) -> Reader | None:
    """How a value of this type is read; None where it is as in JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if type(None) in inner:
        read = _reader(inner[0], spelled)
        return read and (lambda value: None if value is None else read(value))
    if origin is tuple and get_origin(inner[0]) is tuple:
        return _pairs_reader(get_args(inner[0])[1], spelled)
    if origin is tuple and inner[-1] is not ...:  # in a file, one number stands for all
        return lambda value: tuple(value) if isinstance(value, list) else (value,) * len(inner)
    if origin in (tuple, frozenset):  # in a file, one alone stands for a list of one
        each = _reader(inner[0], spelled) or _same
        alone = (str, int, Mapping)
        return lambda value: origin(map(each, [value] if isinstance(value, alone) else value))
    if origin is Mapping:
        inside = _reader(inner[1], spelled)
        return inside and (lambda value: {name: inside(one) for name, one in value.items()})
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(structure, hint, spelled=spelled)
    return hint if isinstance(hint, type) and issubclass(hint, Enum) else None


def _pairs_reader(hint: Any, spelled: Spelling) -> Reader:
    """Pairs of a name and a value of this type are an object, or a list of pairs."""
    read = _reader(hint, spelled) or _same
    return lambda value: tuple(
        (name, read(each))
        for name, each in (value.items() if isinstance(value, Mapping) else value)
    )


def _same(value: Any) -> Any:
    return value


def read_customer(document: Mapping[str, Any]) -> Customer:
    """Read the customer of a JSON object, ignoring other properties."""
    return Customer(
        tenant_id=TenantId(document["tenantId"]),
        domain=shown_name(document.get("domain")),
        name=shown_name(document.get("name")),
    )


def registration_document(found: Registration) -> dict[str, Any]:
    """A registration with the ids by which it is removed."""
    return {**json_form(found), **json_form(found.target)}
